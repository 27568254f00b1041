/**
 * Inboxes over the tail and `settled` (C1): pages merge both by position; acknowledgements ride on the next commit
 * (B3).
 */
import type { Inbox, Mark, RequestRecord, Row } from '../../core/ports.ts'
import { limits } from '../../topics/limits.ts'
import { ackBytesMax, STATE_BYTES_MAX, writeAck, writeDrop, writeState } from './journal.ts'
import { bytesOf, markUpTo, prepared, type Store, stateOf } from './store.ts'
import {
  ACKED,
  type DeviceState,
  endRecord,
  endRow,
  findRecord,
  firstAbove,
  GONE,
  LIVE,
  MOVING,
  SETTLED,
  type TailRecord,
  type TailRow,
} from './tail.ts'

const SETTLED_PAGE = `SELECT seq, sub, kind, peer, expires_ms, body FROM settled
  WHERE device = ? AND (seq > ? OR (seq = ? AND sub > ?)) AND seq >= ? ORDER BY seq, sub LIMIT ?`

function settledPage(store: Store, device: DeviceState, seq: number, sub: number, limit: number): TailRow[] {
  const rows: TailRow[] = []
  let bytes = 0
  for (const found of prepared(store.reader, SETTLED_PAGE).iterate(
    device.id,
    seq,
    seq,
    sub,
    seq,
    limit + (device.leaving?.size ?? 0),
  )) {
    if (device.leaving?.has(found['seq'] as number)) continue
    const source = found['body'] as Uint8Array
    rows.push({
      device: device.id,
      seq: found['seq'] as number,
      sub: found['sub'] as number,
      kind: found['kind'] as Row['kind'],
      peer: found['peer'] as string,
      expiresMs: found['expires_ms'] as number,
      source,
      start: 0,
      end: source.length,
      chunk: undefined,
      state: SETTLED,
    })
    bytes += source.length
    if (rows.length === limit || bytes > limits.pageBytesMax) break
  }
  return rows
}

function tailPage(store: Store, device: DeviceState, seq: number, sub: number, limit: number): Row[] {
  const rows: Row[] = []
  let bytes = 0
  for (let i = firstAbove(device, seq, sub); i < device.rows.length && rows.length < limit; i++) {
    const row = device.rows[i] as TailRow
    if ((row.state !== LIVE && row.state !== MOVING) || device.leaving?.has(row.seq)) continue
    const source = row.chunk && bytesOf(store, row.chunk)
    if (source === undefined) return rows
    row.source = source
    rows.push(row)
    bytes += row.end - row.start
    if (bytes > limits.pageBytesMax) break
  }
  return rows
}

function page(store: Store, id: string, seq: number, sub: number, limit: number): Row[] {
  const device = stateOf(store, id)
  if (device.settledMaxSeq > seq) {
    const rows = settledPage(store, device, seq, sub, limit)
    if (rows.length > 0) return rows
  }
  const rows = tailPage(store, device, seq, sub, limit)
  // The bytes of a row may have moved to `settled` in a commit that this thread has not heard of yet.
  return rows.length > 0 || firstAbove(device, seq, sub) === device.rows.length
    ? rows
    : settledPage(store, device, seq, sub, limit)
}

/** One journal op, and deletes for what is beyond the tail; rows leave the memory when it is durable. */
function acknowledge(
  store: Store,
  id: string,
  rows: readonly Row[],
  stamps: readonly number[],
  marks: readonly Mark[],
): void {
  const { commits, tail } = store
  const device = stateOf(store, id)
  const chunk = commits.reserve(ackBytesMax(rows.length, stamps.length, marks.length))
  chunk.used = writeAck(chunk.bytes as Buffer, chunk.used, id, rows, stamps, marks)
  const leaving: { seq: number; statement: number }[] = []
  for (const row of rows as readonly TailRow[]) {
    if (row.state === MOVING || row.state === SETTLED) {
      leaving.push({ seq: row.seq, statement: commits.run('deleteSettled', id, row.seq, row.sub) })
      device.leaving = (device.leaving ?? new Set()).add(row.seq)
    }
    if (row.state === LIVE) row.state = ACKED
  }
  const ended: TailRecord[] = []
  for (const stamp of stamps) {
    const record = findRecord(device, stamp)
    if (record === undefined) continue
    if (record.state !== LIVE) commits.run('deleteRecord', id, stamp)
    else record.state = ACKED
    ended.push(record)
  }
  for (const mark of marks) {
    const key = mark.by + mark.peer
    const pending = tail.pendingMarks.get(key)
    // What was said before, by another device of the user, is not said again: nothing has to wait for it.
    const isNews = pending === undefined ? mark.upTo > markUpTo(store, mark.by, mark.peer) : mark.upTo > pending.upTo
    if (isNews) tail.pendingMarks.set(key, { ...mark, chunk })
  }
  commits.after((fault, changes) => {
    for (const { seq, statement } of leaving) {
      device.leaving?.delete(seq)
      // A row may be acknowledged twice, from two pages: it counts once.
      device.settledRows -= changes[statement] ?? 0
    }
    if (device.leaving?.size === 0) device.leaving = undefined
    for (const row of rows as readonly TailRow[]) {
      if (fault === undefined) {
        endRow(tail, device, row, GONE)
      } else if (row.state === ACKED) row.state = LIVE
    }
    for (const record of ended) {
      if (fault === undefined) endRecord(device, record)
      else if (record.state === ACKED) record.state = LIVE
    }
  }, false)
}

/** Writes the device's flags as they are now. */
function saveFlags(store: Store, device: DeviceState, urgent: boolean): Promise<void> {
  store.tail.dirty.add(device)
  const chunk = store.commits.reserve(STATE_BYTES_MAX)
  chunk.used = writeState(chunk.bytes as Buffer, chunk.used, device.id, device)
  return new Promise((resolve, reject) => {
    store.commits.after((fault) => (fault ? reject(fault) : resolve()), urgent)
  })
}

/** Resolves when everything that was handed to the store before is durable; at once when it is. */
async function afterCommits({ commits }: Store): Promise<void> {
  if (!commits.pending()) return
  await new Promise<void>((resolve, reject) => {
    commits.after((fault) => (fault ? reject(fault) : resolve()), false)
  })
}

function recordsOf(device: DeviceState): RequestRecord[] {
  return device.records.filter((record) => record.state !== ACKED && record.state !== GONE)
}

async function drop(store: Store, id: string): Promise<void> {
  const device = stateOf(store, id)
  const chunk = store.commits.reserve(STATE_BYTES_MAX)
  chunk.used = writeDrop(chunk.bytes as Buffer, chunk.used, id)
  store.commits.run('dropSettled', id)
  store.commits.run('dropRecords', id)
  await new Promise<void>((resolve, reject) => {
    store.commits.after((fault) => (fault ? reject(fault) : resolve()), true)
  })
  for (const row of device.rows.slice(device.head)) endRow(store.tail, device, row, GONE)
  for (const record of [...device.records]) endRecord(device, record)
  device.settledMaxSeq = 0
  device.settledRows = 0
}

export function createInbox(store: Store): Inbox {
  return {
    async open(id) {
      const device = stateOf(store, id)
      device.connected = true
      const { subscribed, sentSeq, lastStamp } = device
      return { subscribed, sentSeq, lastStamp, records: recordsOf(device) }
    },
    async setSubscribed(id, subscribed) {
      const device = stateOf(store, id)
      // Said before, but maybe not durable yet: its SUBACK waits for that too (B1).
      if (device.subscribed === subscribed) return afterCommits(store)
      device.subscribed = subscribed
      await saveFlags(store, device, false).catch((fault: Error) => {
        device.subscribed = !subscribed
        throw fault
      })
    },
    async advanceSlot(id) {
      const device = stateOf(store, id)
      device.slot = (device.slot + 1) % limits.packetIdSlots
      device.open = true
      await saveFlags(store, device, true)
      return device.slot
    },
    page: async (id, seq, sub, limit) => page(store, id, seq, sub, limit),
    markOf: async (by, peer) => markUpTo(store, by, peer),
    acknowledge: (id, rows, stamps, marks) => acknowledge(store, id, rows, stamps, marks),
    close(id, sentSeq) {
      const device = stateOf(store, id)
      device.connected = false
      if (!device.open && sentSeq <= device.sentSeq) return
      device.open = false
      device.sentSeq = Math.max(device.sentSeq, sentSeq)
      saveFlags(store, device, false).catch(() => undefined)
    },
    drop: (id) => drop(store, id),
  }
}
