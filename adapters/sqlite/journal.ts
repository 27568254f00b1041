/**
 * The journal's bytes: what one tail entry holds. Ops follow each other without padding; numbers are little-endian.
 *
 *   1 envelope  device, dedupe u8, stamp f64, hash u32, seq f64, peer, expires f64, rows u16, then per row:
 *               device, kind u8, receiptTo, length u32, bytes
 *   2 ack       device, rows u16 × (seq f64, sub u8), stamps u16 × f64, marks u16 × (by, peer, upTo f64)
 *   3 state     device, subscribed u8, open u8, slot u8 (255 none), sentSeq f64
 *   4 drop      device
 *   5 marked    by, peer, upTo f64        a mark was appended; it is no longer pending
 *
 * Strings are one length byte and latin1. A change of this format is a new version of the database.
 */
import type { Envelope } from '../../core/envelope.ts'
import type { Mark, Row } from '../../core/ports.ts'

export const OP_ENVELOPE = 1
export const OP_ACK = 2
export const OP_STATE = 3
export const OP_DROP = 4
export const OP_MARKED = 5

export interface InboxFlags {
  subscribed: boolean
  open: boolean
  slot: number
  sentSeq: number
}

/** What a reader of the journal is told, in order. Offsets are into the entry. */
export interface JournalReader {
  envelope(
    device: string,
    dedupe: number,
    stamp: number,
    hash: number,
    seq: number,
    peer: string,
    rows: JournalRow[],
  ): void
  ack(device: string, seqs: number[], subs: number[], stamps: number[], marks: Mark[]): void
  state(device: string, flags: InboxFlags): void
  drop(device: string): void
  marked(mark: Mark): void
}
export interface JournalRow {
  device: string
  kind: Row['kind']
  receiptTo: string
  expiresMs: number
  start: number
  end: number
}

export function writeText(into: Buffer, at: number, text: string): number {
  const length = text.length
  into[at++] = length
  for (let i = 0; i < length; i++) into[at++] = text.charCodeAt(i)
  return at
}

/** Bytes of an envelope's op without its rows' bodies, at most. */
export function envelopeHeadBytesMax(rows: number): number {
  return 64 + 17 + rows * 40
}

export function writeEnvelopeHead(into: Buffer, at: number, envelope: Envelope): number {
  into[at++] = OP_ENVELOPE
  at = writeText(into, at, envelope.device)
  into[at++] = envelope.dedupe
  at = into.writeDoubleLE(envelope.stamp, at)
  at = into.writeUInt32LE(envelope.hash, at)
  at = into.writeDoubleLE(envelope.seq, at)
  at = writeText(into, at, envelope.peer)
  at = into.writeDoubleLE(envelope.expiresMs, at)
  return into.writeUInt16LE(envelope.targets.length, at)
}

export function ackBytesMax(rows: number, stamps: number, marks: number): number {
  return 20 + rows * 9 + stamps * 8 + marks * 42
}

export function writeAck(
  into: Buffer,
  at: number,
  device: string,
  rows: readonly Row[],
  stamps: readonly number[],
  marks: readonly Mark[],
): number {
  into[at++] = OP_ACK
  at = writeText(into, at, device)
  at = into.writeUInt16LE(rows.length, at)
  for (const row of rows) {
    at = into.writeDoubleLE(row.seq, at)
    into[at++] = row.sub
  }
  at = into.writeUInt16LE(stamps.length, at)
  for (const stamp of stamps) at = into.writeDoubleLE(stamp, at)
  at = into.writeUInt16LE(marks.length, at)
  for (const mark of marks) at = writeMark(into, at, mark)
  return at
}

function writeMark(into: Buffer, at: number, mark: Mark): number {
  return into.writeDoubleLE(mark.upTo, writeText(into, writeText(into, at, mark.by), mark.peer))
}

export function writeMarked(into: Buffer, at: number, mark: Mark): number {
  into[at++] = OP_MARKED
  return writeMark(into, at, mark)
}

export const STATE_BYTES_MAX = 28
export function writeState(into: Buffer, at: number, device: string, flags: InboxFlags): number {
  into[at++] = OP_STATE
  at = writeText(into, at, device)
  into[at++] = flags.subscribed ? 1 : 0
  into[at++] = flags.open ? 1 : 0
  into[at++] = flags.slot < 0 ? 255 : flags.slot
  return into.writeDoubleLE(flags.sentSeq, at)
}

export function writeDrop(into: Buffer, at: number, device: string): number {
  into[at++] = OP_DROP
  return writeText(into, at, device)
}

/** Reads a whole entry; throws RangeError when it is cut or not a journal. */
export function readJournal(entry: Buffer, reader: JournalReader): void {
  let at = 0
  const text = () => {
    const length = entry.readUInt8(at)
    if (at + 1 + length > entry.length) throw new RangeError('journal entry is cut')
    const found = entry.toString('latin1', at + 1, at + 1 + length)
    at += 1 + length
    return found
  }
  const u8 = () => entry.readUInt8(at++)
  const u16 = () => {
    at += 2
    return entry.readUInt16LE(at - 2)
  }
  const u32 = () => {
    at += 4
    return entry.readUInt32LE(at - 4)
  }
  const f64 = () => {
    at += 8
    return entry.readDoubleLE(at - 8)
  }
  const mark = (): Mark => ({ by: text(), peer: text(), upTo: f64() })
  const envelope = () => {
    const device = text()
    const dedupe = u8()
    const stamp = f64()
    const hash = u32()
    const seq = f64()
    const peer = text()
    const expiresMs = f64()
    const rows: JournalRow[] = []
    for (let left = u16(); left > 0; left--) {
      const target = text()
      const kind = u8() as Row['kind']
      const receiptTo = text()
      const start = at + 4
      const end = start + u32()
      if (end > entry.length) throw new RangeError('journal entry is cut')
      at = end
      rows.push({ device: target, kind, receiptTo, expiresMs, start, end })
    }
    reader.envelope(device, dedupe, stamp, hash, seq, peer, rows)
  }
  const ack = () => {
    const device = text()
    const seqs: number[] = []
    const subs: number[] = []
    for (let left = u16(); left > 0; left--) {
      seqs.push(f64())
      subs.push(u8())
    }
    const stamps = Array.from({ length: u16() }, f64)
    reader.ack(device, seqs, subs, stamps, Array.from({ length: u16() }, mark))
  }
  while (at < entry.length) {
    const op = u8()
    if (op === OP_ENVELOPE) envelope()
    else if (op === OP_ACK) ack()
    else if (op === OP_STATE) {
      const device = text()
      const subscribed = u8() === 1
      const open = u8() === 1
      const slot = u8()
      reader.state(device, { subscribed, open, slot: slot === 255 ? -1 : slot, sentSeq: f64() })
    } else if (op === OP_DROP) reader.drop(text())
    else if (op === OP_MARKED) reader.marked(mark())
    else throw new RangeError(`journal entry holds op ${op}`)
  }
}
