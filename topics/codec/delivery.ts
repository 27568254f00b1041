/**
 * A Delivery with a body, written into the caller's buffer: the body's bytes are copied as they stand (WIRE rule 7).
 */
import { ID_BYTES } from '../ids.ts'
import { varintSize, writeVarint } from './varint.ts'

/** Field number of a body in Delivery: raw, whisper, prekey, sender_key, plaintext. */
export type BodyField = 1 | 2 | 3 | 7 | 8

/**
 * What a Delivery with a body says. The body is `source[start..end)`. Numbers that are 0, `own` when false and ids
 * that are undefined are left out. May be reused for the next one: nothing keeps it.
 */
export interface DeliveryHead {
  field: BodyField
  source: Uint8Array
  start: number
  end: number
  /** 16 bytes: the other user of the conversation. */
  peer: Uint8Array | undefined
  /** 16 bytes. */
  group: Uint8Array | undefined
  /** Number of the sending device, 1..127. */
  device: number
  seq: number
  member: number
  own: boolean
}

/** Exact bytes that `writeDelivery` writes. */
export function deliverySize(d: DeliveryHead): number {
  const body = d.end - d.start
  return (
    1 +
    varintSize(body) +
    body +
    (d.peer === undefined ? 0 : 2 + ID_BYTES) +
    (d.group === undefined ? 0 : 2 + ID_BYTES) +
    (d.device === 0 ? 0 : 1 + varintSize(d.device)) +
    (d.seq === 0 ? 0 : 1 + varintSize(d.seq)) +
    (d.member === 0 ? 0 : 1 + varintSize(d.member)) +
    (d.own ? 2 : 0)
  )
}

/** Writes at `at`, fields in ascending order; `target` has room for `deliverySize(d)` bytes. Returns the end. */
export function writeDelivery(target: Uint8Array, at: number, d: DeliveryHead): number {
  if (d.field <= 3) at = writeBody(target, at, d)
  if (d.peer !== undefined) at = writeId(target, at, 34, d.peer)
  if (d.group !== undefined) at = writeId(target, at, 42, d.group)
  if (d.field > 3) at = writeBody(target, at, d)
  if (d.device !== 0) {
    target[at++] = 72
    at = writeVarint(target, at, d.device)
  }
  if (d.seq !== 0) {
    target[at++] = 80
    at = writeVarint(target, at, d.seq)
  }
  if (d.member !== 0) {
    target[at++] = 96
    at = writeVarint(target, at, d.member)
  }
  if (d.own) {
    target[at++] = 104
    target[at++] = 1
  }
  return at
}

/** Below this many bytes a loop beats `set`, which has to make a view first. */
const LOOP_BYTES_MAX = 32

function writeBody(target: Uint8Array, at: number, d: DeliveryHead): number {
  const { source, start, end } = d
  const bytes = end - start
  target[at++] = (d.field << 3) | 2
  at = writeVarint(target, at, bytes)
  if (bytes <= LOOP_BYTES_MAX) {
    for (let i = 0; i < bytes; i += 1) target[at + i] = source[start + i] as number
  } else target.set(source.subarray(start, end), at)
  return at + bytes
}

function writeId(target: Uint8Array, at: number, tag: number, id: Uint8Array): number {
  target[at++] = tag
  target[at++] = ID_BYTES
  for (let i = 0; i < ID_BYTES; i += 1) target[at + i] = id[i] as number
  return at + ID_BYTES
}
