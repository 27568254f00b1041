/**
 * The bytes of rows in a wake. Numbers are little-endian; strings are one length byte and latin1.
 *
 *   version u8, then per row: device, seq f64, sub u32, kind u8, peer, expires f64, body bytes u32, body
 *
 * A body that is too long is not carried (`NOT_CARRIED` in place of its length): the inbox is read then.
 */
import type { Row } from '../../core/ports.ts'

/** Another one is another layout: brokers of two versions run beside each other during an upgrade. */
const VERSION = 1
const CARRIED_BYTES_MAX = 16 * 1024
const NOT_CARRIED = 0xffff_ffff
const FIXED_BYTES = 1 + 8 + 4 + 1 + 1 + 8 + 4

const carriedBytes = ({ source, start, end }: Row): number =>
  source === undefined || end - start > CARRIED_BYTES_MAX ? 0 : end - start

export const rowBytes = (row: Row): number => FIXED_BYTES + row.device.length + row.peer.length + carriedBytes(row)

/** Rows as one message. */
export function encodeRows(rows: readonly Row[]): Buffer {
  let length = 1
  for (const row of rows) length += rowBytes(row)
  const into = Buffer.allocUnsafe(length)
  let at = into.writeUInt8(VERSION)
  for (const row of rows) {
    const bytes = carriedBytes(row)
    at = into.writeUInt8(row.device.length, at)
    at += into.write(row.device, at, 'latin1')
    at = into.writeDoubleLE(row.seq, at)
    at = into.writeUInt32LE(row.sub, at)
    at = into.writeUInt8(row.kind, at)
    at = into.writeUInt8(row.peer.length, at)
    at += into.write(row.peer, at, 'latin1')
    at = into.writeDoubleLE(row.expiresMs, at)
    at = into.writeUInt32LE(bytes === 0 ? NOT_CARRIED : bytes, at)
    if (bytes > 0) into.set((row.source as Uint8Array).subarray(row.start, row.end), at)
    at += bytes
  }
  return into
}

/** Rows that point into the message; undefined when it is cut, or of another version or stranger. */
export function decodeRows(from: Buffer): Row[] | undefined {
  if (from[0] !== VERSION) return undefined
  try {
    return rowsIn(from)
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

function rowsIn(from: Buffer): Row[] {
  const rows: Row[] = []
  let at = 1
  const text = (): string => {
    const length = from.readUInt8(at)
    at += 1 + length
    return from.toString('latin1', at - length, at)
  }
  while (at < from.length) {
    const device = text()
    const seq = from.readDoubleLE(at)
    const sub = from.readUInt32LE(at + 8)
    const kind = from.readUInt8(at + 12) as Row['kind']
    at += 13
    const peer = text()
    const expiresMs = from.readDoubleLE(at)
    const bytes = from.readUInt32LE(at + 8)
    at += 12
    const isCarried = bytes !== NOT_CARRIED
    const end = isCarried ? at + bytes : at
    if (end > from.length || !Number.isSafeInteger(seq)) throw new RangeError('a wake is cut')
    rows.push({ device, seq, sub, kind, peer, expiresMs, source: isCarried ? from : undefined, start: at, end })
    at = end
  }
  return rows
}
