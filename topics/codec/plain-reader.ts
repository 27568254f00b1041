/** Reads a message by its field table into a plain object that always has all its keys. Depth is that of the tables. */
import {
  BYTES,
  enter,
  FIXED32,
  FIXED64,
  leave,
  once,
  type Reader,
  readEnum,
  readId,
  readLength,
  readTag,
  readUint32,
  readVarint,
  refuse,
  skip,
  unexpected,
  VARINT,
} from './reader.ts'
import { pairsFromDifferences } from './receipts.ts'
import { type Field, type FieldType, LISTS, type Schema } from './schema.ts'

type Plain = Record<string, unknown>

/** `ignoreBOM` keeps a byte order mark, so that a text is written again as it was read. */
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Strict: an unknown field, a second occurrence, a list that is too long, an id of another length is refused.
 * Lenient: unknown fields are stepped over, the last occurrence counts. Bytes are views of the reader's bytes, not
 * copies.
 */
export function readPlain(reader: Reader, schema: Schema, isStrict: boolean): Plain {
  const message: Plain = { ...schema.empty }
  let seen = 0
  while (reader.at < reader.end) {
    const tag = readTag(reader)
    const field = schema.byNumber[tag >>> 3]
    if (field === undefined || !fits(field.type, tag & 7)) {
      if (isStrict) throw unexpected(reader, tag, schema.message)
      skip(reader, tag)
      continue
    }
    if (field.isInOneof) enterOneof(reader, schema, message, field, isStrict)
    else if (isStrict && !LISTS.has(field.type)) seen = once(reader, seen, field.number, schema.message)
    message[field.name] = readField(reader, field, tag & 7, message[field.name], isStrict)
  }
  for (const field of schema.fields) {
    if (field.type === 'pairs') message[field.name] = pairsFromDifferences(message[field.name] as number[])
  }
  return message
}

function enterOneof(reader: Reader, schema: Schema, message: Plain, field: Field, isStrict: boolean): void {
  const before = message[schema.oneof]
  if (before !== undefined) {
    if (isStrict) throw refuse(reader, 'malformed', `${schema.message.name} has two members of its oneof`)
    message[before as string] = undefined
  }
  message[schema.oneof] = field.name
}

/** May a field of this type come with this wire type? Numbers of a list may come packed or one by one. */
function fits(type: FieldType, wireType: number): boolean {
  switch (type) {
    case 'uint32s':
    case 'uint64s':
    case 'pairs':
      return wireType === BYTES || wireType === VARINT
    case 'uint32':
    case 'uint64':
    case 'bool':
    case 'enum':
      return wireType === VARINT
    case 'fixed32':
      return wireType === FIXED32
    case 'fixed64':
    case 'double':
      return wireType === FIXED64
    default:
      return wireType === BYTES
  }
}

function readField(reader: Reader, field: Field, wireType: number, before: unknown, isStrict: boolean): unknown {
  switch (field.type) {
    case 'uint64':
      return readVarint(reader)
    case 'uint32':
      return readUint32(reader)
    case 'enum':
      return isStrict ? readEnum(reader, field.max, field.name) : readUint32(reader)
    case 'bool':
      return readVarint(reader) !== 0
    case 'fixed32':
    case 'fixed64':
    case 'double':
      return readFixed(reader, field.type)
    case 'string':
      return readString(reader, field.name)
    case 'bytes':
      return readBytes(reader)
    case 'id':
      return isStrict ? readId(reader, field.name) : readBytes(reader)
    case 'message':
      return readNested(reader, field.of as Schema, isStrict)
    default:
      return readList(reader, field, wireType, before as readonly unknown[], isStrict)
  }
}

function readBytes(reader: Reader): Uint8Array {
  const end = readLength(reader)
  const bytes = reader.bytes.subarray(reader.at, end)
  reader.at = end
  return bytes
}

/** Text is UTF-8 or a fault: what a client would have to guess at is not shown. */
function readString(reader: Reader, name: string): string {
  const bytes = readBytes(reader)
  try {
    return utf8.decode(bytes)
  } catch {
    throw refuse(reader, 'malformed', `${name} is not UTF-8`)
  }
}

function readFixed(reader: Reader, type: 'fixed32' | 'fixed64' | 'double'): number | bigint {
  const size = type === 'fixed32' ? 4 : 8
  if (reader.at + size > reader.end) throw refuse(reader, 'malformed', 'a field is cut off')
  const view = new DataView(reader.bytes.buffer, reader.bytes.byteOffset + reader.at, size)
  reader.at += size
  if (type === 'double') return view.getFloat64(0, true)
  return type === 'fixed32' ? view.getUint32(0, true) : view.getBigUint64(0, true)
}

function readNested(reader: Reader, schema: Schema, isStrict: boolean): Plain {
  const outer = enter(reader)
  const message = readPlain(reader, schema, isStrict)
  leave(reader, outer)
  return message
}

/** The list with what this occurrence adds. The list of the empty message is shared and stays as it is. */
function readList(
  reader: Reader,
  field: Field,
  wireType: number,
  before: readonly unknown[],
  isStrict: boolean,
): readonly unknown[] {
  const list = before.length === 0 ? [] : (before as unknown[])
  const isNumbers = field.type === 'uint32s' || field.type === 'uint64s' || field.type === 'pairs'
  if (!isNumbers || wireType === VARINT) push(reader, field, list, isStrict, readEntry(reader, field, isStrict))
  else {
    const outer = enter(reader)
    while (reader.at < reader.end) push(reader, field, list, isStrict, readEntry(reader, field, isStrict))
    leave(reader, outer)
  }
  return list
}

function readEntry(reader: Reader, field: Field, isStrict: boolean): unknown {
  switch (field.type) {
    case 'messages':
      return readNested(reader, field.of as Schema, isStrict)
    case 'strings':
      return readString(reader, field.name)
    case 'bytesList':
      return readBytes(reader)
    case 'ids':
      return isStrict ? readId(reader, field.name) : readBytes(reader)
    case 'uint32s':
      return readUint32(reader)
    default:
      return readVarint(reader)
  }
}

function push(reader: Reader, field: Field, list: unknown[], isStrict: boolean, entry: unknown): void {
  if (isStrict && list.length === field.max) throw refuse(reader, 'too_large', `more than ${field.max} ${field.name}`)
  list.push(entry)
}
