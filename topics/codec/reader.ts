/**
 * A cursor over protobuf bytes. Every read is bounded by `end`; a read that cannot be done throws `refusal`, one
 * object made once, after writing the reason into the reader: bad input costs no stack trace. The `decode…` functions
 * catch it.
 */
import type { ErrorCode } from '../errors.ts'
import { ID_BYTES } from '../ids.ts'

export interface Reader {
  bytes: Uint8Array
  at: number
  end: number
  code: ErrorCode
  text: string
}

/** Why bytes were not understood. `stamp` is 0 when it could not be read. `text` names no content, only fields. */
export interface WireFault {
  readonly fault: true
  readonly code: ErrorCode
  readonly stamp: number
  readonly text: string
}

/** Name and field numbers of a message, as bit masks: no number is above 31. */
export interface MessageName {
  readonly name: string
  readonly known: number
  readonly reserved: number
}

export const VARINT = 0
export const FIXED64 = 1
export const BYTES = 2
export const FIXED32 = 5

const NOTHING = new Uint8Array(0)
const UINT32_MAX = 4_294_967_295
const VARINT_BYTES_MAX = 10
const TAG_BYTES_MAX = 5

const refusal = new Error('bytes refused')

export function newReader(): Reader {
  return { bytes: NOTHING, at: 0, end: 0, code: 'malformed', text: '' }
}

/** `throw refuse(...)`: the reader keeps the reason. */
export function refuse(reader: Reader, code: ErrorCode, text: string): Error {
  reader.code = code
  reader.text = text
  return refusal
}

/**
 * Runs `read` over `bytes[start..end)`; bytes that it refuses become a WireFault. Anything else that is thrown is a
 * bug and passes. The reader keeps no reference to the bytes. Not reentrant: `read` is synchronous.
 */
export function readAll<T>(
  reader: Reader,
  bytes: Uint8Array,
  start: number,
  end: number,
  read: (reader: Reader) => T,
): T | WireFault {
  if (start < 0 || start > end || end > bytes.length)
    throw new RangeError(`no bytes ${start}..${end} of ${bytes.length}`)
  reader.bytes = bytes
  reader.at = start
  reader.end = end
  try {
    return read(reader)
  } catch (error) {
    if (error !== refusal) throw error
    return { fault: true, code: reader.code, stamp: scanStamp(bytes, start, end), text: reader.text }
  } finally {
    reader.bytes = NOTHING
  }
}

/** A varint below 2^53 in at most ten bytes. */
export function readVarint(reader: Reader): number {
  const bytes = reader.bytes
  const end = reader.end
  let at = reader.at
  let value = 0
  let scale = 1
  for (let count = 0; count < VARINT_BYTES_MAX; count += 1) {
    if (at >= end) throw refuse(reader, 'malformed', 'a number is cut off')
    const byte = bytes[at++] as number
    value += (byte & 127) * scale
    if (byte < 128) {
      if (value > Number.MAX_SAFE_INTEGER) throw refuse(reader, 'malformed', 'a number is not below 2^53')
      reader.at = at
      return value
    }
    scale *= 128
  }
  throw refuse(reader, 'malformed', 'a number has more than ten bytes')
}

export function readUint32(reader: Reader): number {
  const value = readVarint(reader)
  if (value > UINT32_MAX) throw refuse(reader, 'malformed', 'a number is not below 2^32')
  return value
}

export function readEnum(reader: Reader, max: number, name: string): number {
  const value = readVarint(reader)
  if (value > max) throw refuse(reader, 'malformed', `${name} ${value} is not known`)
  return value
}

/** Field number and wire type in one, in at most five bytes. */
export function readTag(reader: Reader): number {
  const start = reader.at
  const tag = readUint32(reader)
  if (reader.at - start > TAG_BYTES_MAX) throw refuse(reader, 'malformed', 'a field number has more than five bytes')
  if (tag < 8) throw refuse(reader, 'malformed', 'field 0 does not exist')
  return tag
}

/** Reads the length of a field and returns where the field ends; `reader.at` is where it starts. */
export function readLength(reader: Reader): number {
  const length = readVarint(reader)
  const end = reader.at + length
  if (end > reader.end) throw refuse(reader, 'malformed', 'a field is longer than what is left')
  return end
}

/** Narrows the reader to the field that follows; returns the end to give back to `leave`. */
export function enter(reader: Reader): number {
  const outer = reader.end
  reader.end = readLength(reader)
  return outer
}

export function leave(reader: Reader, outer: number): void {
  reader.at = reader.end
  reader.end = outer
}

/** A user or group id, copied: a view of 16 bytes costs more than they do, and would keep the frame alive. */
export function readId(reader: Reader, what: string): Uint8Array {
  const end = readLength(reader)
  if (end - reader.at !== ID_BYTES) throw refuse(reader, 'malformed', `${what} has not ${ID_BYTES} bytes`)
  const id = new Uint8Array(ID_BYTES)
  const { bytes, at } = reader
  for (let i = 0; i < ID_BYTES; i += 1) id[i] = bytes[at + i] as number
  reader.at = end
  return id
}

/** `peer` and `group` exclude each other, and one is needed. */
export function checkOneParty(
  reader: Reader,
  peer: Uint8Array | undefined,
  group: Uint8Array | undefined,
  what: string,
): void {
  if ((peer === undefined) === (group === undefined)) {
    throw refuse(reader, 'malformed', `${what} needs a peer or a group, and not both`)
  }
}

/** Marks field `number` as seen in `seen`; a second time is refused. */
export function once(reader: Reader, seen: number, number: number, message: MessageName): number {
  const bit = 1 << number
  if ((seen & bit) !== 0) throw refuse(reader, 'malformed', `${message.name} field ${number} occurs twice`)
  return seen | bit
}

/** Says why a tag was not expected in a message. */
export function unexpected(reader: Reader, tag: number, message: MessageName): Error {
  const number = tag >>> 3
  const bit = number < 32 ? 1 << number : 0
  if ((message.known & bit) !== 0) {
    return refuse(reader, 'malformed', `${message.name} field ${number} cannot have wire type ${tag & 7}`)
  }
  const what = (message.reserved & bit) === 0 ? 'not known' : 'reserved'
  return refuse(reader, 'unknown_field', `${message.name} field ${number} is ${what}`)
}

export function messageName(name: string, known: readonly number[], reserved: readonly number[] = []): MessageName {
  const mask = (numbers: readonly number[]): number => numbers.reduce((bits, number) => bits | (1 << number), 0)
  return { name, known: mask(known), reserved: mask(reserved) }
}

/** Steps over the value of a field. Groups (wire types 3 and 4) are not part of the format. */
export function skip(reader: Reader, tag: number): void {
  const type = tag & 7
  if (type === VARINT) skipVarint(reader)
  else if (type === BYTES) reader.at = readLength(reader)
  else if (type === FIXED64 || type === FIXED32) skipFixed(reader, type === FIXED64 ? 8 : 4)
  else throw refuse(reader, 'malformed', `wire type ${type} is not used`)
}

function skipFixed(reader: Reader, bytes: number): void {
  if (reader.at + bytes > reader.end) throw refuse(reader, 'malformed', 'a field is cut off')
  reader.at += bytes
}

/** An unknown number may be anything that ten bytes can say. */
function skipVarint(reader: Reader): void {
  for (let count = 0; count < VARINT_BYTES_MAX; count += 1) {
    if (reader.at >= reader.end) throw refuse(reader, 'malformed', 'a number is cut off')
    if ((reader.bytes[reader.at++] as number) < 128) return
  }
  throw refuse(reader, 'malformed', 'a number has more than ten bytes')
}

/** The first stamp (field 1) of a SendRequest that is not sound otherwise, to answer it by; 0 when there is none. */
export function scanStamp(bytes: Uint8Array, start: number, end: number): number {
  const reader: Reader = { bytes, at: start, end, code: 'malformed', text: '' }
  try {
    while (reader.at < end) {
      const tag = readTag(reader)
      if (tag === 8) return readVarint(reader)
      skip(reader, tag)
    }
  } catch (error) {
    if (error !== refusal) throw error
  }
  return 0
}
