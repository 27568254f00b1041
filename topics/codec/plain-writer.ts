/**
 * Writes a plain object by its field table. It writes from the end to the front, last field first, so a length is
 * known when its turn comes and nothing is measured twice; read forwards, fields are in ascending order, as
 * protobufjs has them.
 */
import { pairDifferences } from './receipts.ts'
import type { Field, Schema } from './schema.ts'
import { varintSize, writeVarint } from './varint.ts'

interface Writer {
  bytes: Uint8Array
  /** Where the written part begins; it ends with `bytes`. */
  at: number
}
type Plain = Readonly<Record<string, unknown>>

const SCRATCH_BYTES = 8_192
const scratch = new Uint8Array(SCRATCH_BYTES)

const utf8 = new TextEncoder()

/**
 * The bytes of a message. Throws RangeError for a number that is negative, not whole or not below 2^53, and for a text
 * with half a surrogate pair, which UTF-8 cannot say.
 */
export function writePlain(schema: Schema, message: Plain): Uint8Array {
  const writer: Writer = { bytes: scratch, at: SCRATCH_BYTES }
  putMessage(writer, schema, message)
  return Uint8Array.from(writer.bytes.subarray(writer.at))
}

function reserve(writer: Writer, size: number): void {
  if (writer.at < size) {
    const used = writer.bytes.length - writer.at
    const grown = new Uint8Array((used + size) * 2)
    grown.set(writer.bytes.subarray(writer.at), grown.length - used)
    writer.bytes = grown
    writer.at = grown.length - used
  }
  writer.at -= size
}

function putVarint(writer: Writer, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is not a whole number below 2^53`)
  reserve(writer, varintSize(value))
  writeVarint(writer.bytes, writer.at, value)
}

function putBytes(writer: Writer, bytes: Uint8Array): void {
  reserve(writer, bytes.length)
  writer.bytes.set(bytes, writer.at)
}

function putFixed(writer: Writer, value: number | bigint): void {
  const size = typeof value === 'bigint' ? 8 : 4
  reserve(writer, size)
  const view = new DataView(writer.bytes.buffer, writer.bytes.byteOffset + writer.at, size)
  if (typeof value === 'bigint') view.setBigUint64(0, value, true)
  else view.setUint32(0, value, true)
}

function written(writer: Writer): number {
  return writer.bytes.length - writer.at
}

function putTag(writer: Writer, field: Field, wireType: number): void {
  putVarint(writer, field.number * 8 + wireType)
}

function putMessage(writer: Writer, schema: Schema, message: Plain): void {
  for (let i = schema.fields.length - 1; i >= 0; i -= 1) {
    const field = schema.fields[i] as Field
    const value = message[field.name]
    if (value !== undefined) putField(writer, field, value)
  }
}

/** A member of a oneof is written even when it is 0 or empty: that it is there says something. */
function putField(writer: Writer, field: Field, value: unknown): void {
  switch (field.type) {
    case 'fixed32':
    case 'fixed64':
      putFixedField(writer, field, value as number | bigint)
      break
    case 'double':
      putDouble(writer, field, value as number)
      break
    case 'string':
      if (value !== '' || field.isInOneof) putString(writer, field, value as string)
      break
    case 'bytes':
    case 'id':
      if ((value as Uint8Array).length > 0 || field.isInOneof) putBytesField(writer, field, value as Uint8Array)
      break
    case 'message':
      putNested(writer, field, value as Plain)
      break
    case 'messages':
      for (const entry of (value as readonly Plain[]).toReversed()) putNested(writer, field, entry)
      break
    case 'strings':
      for (const entry of (value as readonly string[]).toReversed()) putString(writer, field, entry)
      break
    case 'bytesList':
    case 'ids':
      for (const entry of (value as readonly Uint8Array[]).toReversed()) putBytesField(writer, field, entry)
      break
    case 'uint32s':
    case 'uint64s':
      putPacked(writer, field, value as readonly number[])
      break
    case 'pairs':
      putPacked(writer, field, pairDifferences(value as readonly number[]))
      break
    default:
      putNumber(writer, field, Number(value))
  }
}

function putNumber(writer: Writer, field: Field, value: number): void {
  if (value === 0 && !field.isInOneof) return
  putVarint(writer, value)
  putTag(writer, field, 0)
}

function putFixedField(writer: Writer, field: Field, value: number | bigint): void {
  if (Number(value) === 0 && !field.isInOneof) return
  putFixed(writer, value)
  putTag(writer, field, typeof value === 'bigint' ? 1 : 5)
}

/** Minus zero is written: it is not the same bits as the value that is left out. */
function putDouble(writer: Writer, field: Field, value: number): void {
  if (Object.is(value, 0) && !field.isInOneof) return
  reserve(writer, 8)
  new DataView(writer.bytes.buffer, writer.bytes.byteOffset + writer.at, 8).setFloat64(0, value, true)
  putTag(writer, field, 1)
}

function putString(writer: Writer, field: Field, text: string): void {
  if (!text.isWellFormed()) throw new RangeError(`${field.name} has half a surrogate pair`)
  putBytesField(writer, field, utf8.encode(text))
}

function putBytesField(writer: Writer, field: Field, bytes: Uint8Array): void {
  putBytes(writer, bytes)
  putVarint(writer, bytes.length)
  putTag(writer, field, 2)
}

function putNested(writer: Writer, field: Field, message: Plain): void {
  const before = written(writer)
  putMessage(writer, field.of as Schema, message)
  putVarint(writer, written(writer) - before)
  putTag(writer, field, 2)
}

function putPacked(writer: Writer, field: Field, list: readonly number[]): void {
  if (list.length === 0) return
  const before = written(writer)
  for (let i = list.length - 1; i >= 0; i -= 1) putVarint(writer, list[i] as number)
  putVarint(writer, written(writer) - before)
  putTag(writer, field, 2)
}
