/**
 * The bytes of a cursor and the timestamps of statements.
 *
 * A save carries the time of its position as timestamp, so a later position wins whichever arrives last. Positions of
 * the same microsecond have one timestamp; of two values with one timestamp Cassandra keeps the greater bytes. So the
 * bytes begin with the position and the number of what is above it, most significant byte first: they order as cursors
 * do.
 */
import type { InboxCursor, Position } from '../../core/ports.ts'
import { SEQ_PER_MS, seqToUnixMs } from '../../topics/ids.ts'

/** Positions of a cursor's `above`: as many as a window has rows. */
export const ABOVE_MAX = 1_024
const HEAD_BYTES = 14
const POSITION_BYTES = 12
const DAY_MS = 86_400_000

/** Unix microseconds of the server time at which `seq` was given: never falls when seq rises. */
export function seqToUnixUs(seq: number): number {
  return seqToUnixMs(seq) * 1_000 + Math.floor(((seq % SEQ_PER_MS) * 1_000) / SEQ_PER_MS)
}

/** Days since 1970 of the server time of `seq`. */
export function dayOf(seq: number): number {
  return Math.floor(seqToUnixMs(seq) / DAY_MS)
}

/** Below 0 when `a` is in front of `b`. */
export function comparePositions(a: Position, b: Position): number {
  return a.seq - b.seq || a.sub - b.sub
}

export function encodeCursor(cursor: InboxCursor): Buffer {
  const above = cursor.above
    .filter((position) => comparePositions(position, cursor) > 0)
    .sort(comparePositions)
    .slice(0, ABOVE_MAX)
  const bytes = Buffer.alloc(HEAD_BYTES + above.length * POSITION_BYTES)
  bytes.writeBigUInt64BE(BigInt(cursor.seq), 0)
  bytes.writeUInt32BE(cursor.sub, 8)
  bytes.writeUInt16BE(above.length, 12)
  for (const [i, { seq, sub }] of above.entries()) {
    const at = HEAD_BYTES + i * POSITION_BYTES
    bytes.writeBigUInt64BE(BigInt(seq), at)
    bytes.writeUInt32BE(sub, at + 8)
  }
  return bytes
}

export function decodeCursor(bytes: Buffer | null | undefined): InboxCursor {
  if (!bytes) return { seq: 0, sub: 0, above: [] }
  const above = Array.from({ length: bytes.readUInt16BE(12) }, (_, i) => {
    const at = HEAD_BYTES + i * POSITION_BYTES
    return { seq: Number(bytes.readBigUInt64BE(at)), sub: bytes.readUInt32BE(at + 8) }
  })
  return { seq: Number(bytes.readBigUInt64BE(0)), sub: bytes.readUInt32BE(8), above }
}
