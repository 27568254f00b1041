/**
 * What the generator writes into every payload to recognise it again, and what it reads from protobuf payloads without
 * decoding them: offsets only, nothing is allocated per message.
 *
 * A mark is 12 bytes, big endian: run u16, slot u16, pair u32, counter u32.
 */
export const MARK_BYTES = 12

/** All stamps take this many varint bytes (unix ms from 1971 to 2109 do), so patching one keeps the frame's length. */
export const STAMP_BYTES = 6
const STAMP_MIN = 2 ** 35
const STAMP_MAX = 2 ** 42 - 1

export function writeMark(
  target: Uint8Array,
  at: number,
  run: number,
  slot: number,
  pair: number,
  counter: number,
): void {
  writeU16(target, at, run)
  writeU16(target, at + 2, slot)
  writeU32(target, at + 4, pair)
  writeU32(target, at + 8, counter)
}

export function writeU16(target: Uint8Array, at: number, value: number): void {
  target[at] = value >>> 8
  target[at + 1] = value
}

export function writeU32(target: Uint8Array, at: number, value: number): void {
  target[at] = value >>> 24
  target[at + 1] = value >>> 16
  target[at + 2] = value >>> 8
  target[at + 3] = value
}

export function readU16(source: Uint8Array, at: number): number {
  return ((source[at] as number) << 8) | (source[at + 1] as number)
}

export function readU32(source: Uint8Array, at: number): number {
  return readU16(source, at) * 65536 + readU16(source, at + 2)
}

/** Writes a stamp as a varint of exactly STAMP_BYTES. Throws for a stamp that takes another length. */
export function writeStamp(target: Uint8Array, at: number, stamp: number): void {
  if (stamp < STAMP_MIN || stamp > STAMP_MAX) throw new RangeError(`stamp ${stamp} is not ${STAMP_BYTES} bytes long`)
  const low = stamp % 0x10000000
  const high = (stamp - low) / 0x10000000
  target[at] = low | 128
  target[at + 1] = (low >>> 7) | 128
  target[at + 2] = (low >>> 14) | 128
  target[at + 3] = (low >>> 21) | 128
  target[at + 4] = high | 128
  target[at + 5] = high >>> 7
}

/** Where the last `findBytes` or `findVarint` stood: one shared object instead of one per message. */
export const found = { start: 0, end: 0, value: 0 }

/** Finds a length-delimited top-level field of a protobuf message: its bytes are `found.start` to `found.end`. */
export function findBytes(source: Uint8Array, from: number, to: number, field: number): boolean {
  return find(source, from, to, field, 2)
}

/** Finds the varint top-level field of a protobuf message; its value is then `found.value`. */
export function findVarint(source: Uint8Array, from: number, to: number, field: number): boolean {
  return find(source, from, to, field, 0)
}

function find(source: Uint8Array, from: number, to: number, field: number, wireType: number): boolean {
  let at = from
  while (at < to) {
    at = readVarint(source, at, to)
    const tag = found.value
    const type = tag & 7
    if (type === 1 || type === 5) {
      at += type === 1 ? 8 : 4
      continue
    }
    at = readVarint(source, at, to)
    const hit = tag >>> 3 === field && type === wireType
    if (type === 2) {
      found.start = at
      at += found.value
      found.end = at
      if (hit) return at <= to
    } else if (hit) {
      return true
    } else if (type !== 0) {
      return false
    }
  }
  return false
}

/** Reads one varint into `found.value` and returns the offset behind it. Past `to` it reads as zero bytes. */
function readVarint(source: Uint8Array, from: number, to: number): number {
  let at = from
  let value = 0
  let scale = 1
  while (at < to) {
    const byte = source[at++] as number
    value += (byte & 127) * scale
    if (byte < 128) break
    scale *= 128
  }
  found.value = value
  return at
}

/**
 * How many requests a Delivery with receipts (field 14) reports as accepted: half the number of varints in
 * Receipts.items[].accepted (1, then 8, pairs of stamp and seq). Zero when it is not a receipts frame.
 */
export function countAccepted(source: Uint8Array, from: number, to: number): number {
  if (!findBytes(source, from, to, 14)) return 0
  let at = found.start
  const end = found.end
  let varints = 0
  while (at < end && findBytes(source, at, end, 1)) {
    const itemEnd = found.end
    if (findBytes(source, found.start, itemEnd, 8)) {
      for (let i = found.start; i < found.end; i++) if ((source[i] as number) < 128) varints++
    }
    at = itemEnd
  }
  return varints / 2
}
