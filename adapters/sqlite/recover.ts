/** Start (C1): the tail's entries are read in order and applied to the memory. Applying is idempotent (A2). */
import type { DatabaseSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'
import { DEDUPE_NONE, DEDUPE_RECORD } from '../../core/envelope.ts'
import { type JournalReader, readJournal } from './journal.ts'
import {
  addRow,
  type Chunk,
  createChunk,
  createDeviceState,
  type DeviceState,
  endRecord,
  endRow,
  findRecord,
  GONE,
  holdRecord,
  LIVE,
  pushRecord,
  raiseMark,
  type Tail,
  type TailRow,
} from './tail.ts'

function deviceOf(tail: Tail, id: string): DeviceState {
  let device = tail.devices.get(id)
  if (device === undefined) {
    device = createDeviceState(id)
    tail.devices.set(id, device)
  }
  return device
}

function rowAt(device: DeviceState, seq: number, sub: number): TailRow | undefined {
  for (let i = device.head; i < device.rows.length; i++) {
    const row = device.rows[i] as TailRow
    if (row.seq === seq && row.sub === sub) return row
    if (row.seq > seq) return undefined
  }
  return undefined
}

function applier(tail: Tail, chunk: Chunk): JournalReader {
  return {
    envelope(device, dedupe, stamp, hash, seq, peer, rows) {
      tail.lastSeq = Math.max(tail.lastSeq, seq)
      for (const row of rows) {
        const { kind, receiptTo, expiresMs, start, end } = row
        const base = {
          device: row.device,
          seq,
          sub: 0,
          kind,
          peer: receiptTo,
          expiresMs,
          source: undefined,
          start,
          end,
        }
        addRow(tail, deviceOf(tail, row.device), { ...base, chunk, state: LIVE })
      }
      if (dedupe === DEDUPE_NONE || device === '') return
      const sender = deviceOf(tail, device)
      sender.lastStamp = Math.max(sender.lastStamp, stamp)
      sender.durableStamp = sender.lastStamp
      tail.dirty.add(sender)
      if (dedupe !== DEDUPE_RECORD) return
      const record = { device, stamp, hash, seq, peer, chunk, state: LIVE }
      pushRecord(sender, record)
      holdRecord(record)
    },
    ack(id, seqs, subs, stamps, marks) {
      const device = deviceOf(tail, id)
      seqs.forEach((seq, i) => {
        const row = rowAt(device, seq, subs[i] as number)
        if (row !== undefined) endRow(tail, device, row, GONE)
      })
      for (const stamp of stamps) {
        const record = findRecord(device, stamp)
        if (record !== undefined) endRecord(device, record)
      }
      for (const mark of marks) {
        const key = mark.by + mark.peer
        const pending = tail.pendingMarks.get(key)
        if (pending === undefined || pending.upTo < mark.upTo) tail.pendingMarks.set(key, { ...mark, chunk })
      }
    },
    state(id, flags) {
      const device = Object.assign(deviceOf(tail, id), flags, { flagged: true })
      tail.dirty.add(device)
    },
    drop(id) {
      const device = deviceOf(tail, id)
      for (const row of device.rows.slice(device.head)) endRow(tail, device, row, GONE)
      for (const record of [...device.records]) endRecord(device, record)
    },
    marked(mark) {
      const key = mark.by + mark.peer
      const pending = tail.pendingMarks.get(key)
      if (pending !== undefined && pending.upTo <= mark.upTo) tail.pendingMarks.delete(key)
      raiseMark(tail, key, mark)
    },
  }
}

/**
 * Fills `tail` from the database. Returns the ids of entries that are damaged: they are left alone, and the caller
 * must refuse new work, since what they said is not known.
 */
export function recoverTail(reader: DatabaseSync, tail: Tail, cacheBytesMax: number): number[] {
  const damaged: number[] = []
  const last = reader.prepare("SELECT value FROM meta WHERE name = 'last_seq'").get()
  tail.lastSeq = Number(last?.['value'] ?? 0)
  let cached = 0
  try {
    for (const row of reader.prepare('SELECT id, crc, entry FROM tail ORDER BY id').iterate()) {
      const id = row['id'] as number
      const raw = row['entry'] as Uint8Array
      const entry = Buffer.from(raw.buffer as ArrayBuffer, raw.byteOffset, raw.byteLength)
      tail.nextChunkId = id + 1
      const chunk = createChunk(id, 0, entry)
      chunk.used = entry.length
      try {
        if (crc32(entry) !== row['crc']) throw new RangeError('checksum differs')
        readJournal(entry, applier(tail, chunk))
      } catch {
        damaged.push(id)
      }
      cached += entry.length
      if (cached > cacheBytesMax) chunk.bytes = undefined
      tail.chunks.push(chunk)
    }
  } catch {
    // A page of the table itself is damaged: what was read before it is served.
    damaged.push(tail.nextChunkId)
    tail.nextChunkId += 1_000_000
  }
  // Whoever had a connection may have been sent everything that there was (B2: DUP on a resend).
  for (const device of tail.devices.values()) if (device.open) device.sentSeq = Math.max(device.sentSeq, tail.lastSeq)
  return damaged
}
