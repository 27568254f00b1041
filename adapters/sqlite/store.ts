/** What the parts of this adapter share: the tail in memory, the commits, a read connection, the refusal state. */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { Clock } from '../../core/ports.ts'
import type { Commits } from './commits.ts'
import {
  type Chunk,
  createDeviceState,
  type DeviceState,
  findRecord,
  LIVE,
  SETTLED,
  type Tail,
  type TailRecord,
} from './tail.ts'

export interface StoreLimits {
  inboxRowsMax: number
  tailRowsMax: number
  waitingRecordsMax: number
  /** Journal bytes kept in memory, so that live traffic is delivered without a read. */
  cacheBytesMax: number
  /** Rows older than this move from the tail to `settled`. */
  settleAfterMs: number
  moveRowsMax: number
  /** The mover looks so often. */
  moveEveryMs: number
  diskFreeBytesMin: number
  diskReserveBytes: number
}

export interface Store {
  readonly tail: Tail
  readonly commits: Commits
  /** Read-only connection on the event loop: WAL readers never wait for the writer or its fsync. */
  readonly reader: DatabaseSync
  readonly limits: StoreLimits
  readonly now: Clock
  /** The last seq of the process before: who had a connection open then may have been sent everything up to it. */
  readonly bootSeq: number
  refusal: 'disk_full' | 'corrupt_store' | undefined
  /** Batches that wait, in order, while the tail is at its bound (C1). */
  readonly waiting: (() => void)[]
  /** Called when rows were added, so that the mover looks at the bounds. */
  onGrowth: () => void
}

const statements = new WeakMap<DatabaseSync, Map<string, StatementSync>>()
/** A statement of the read connection, prepared once. */
export function prepared(reader: DatabaseSync, sql: string): StatementSync {
  let known = statements.get(reader)
  if (known === undefined) {
    known = new Map()
    statements.set(reader, known)
  }
  let found = known.get(sql)
  if (found === undefined) {
    found = reader.prepare(sql)
    known.set(sql, found)
  }
  return found
}

const INBOX = 'SELECT last_stamp, slot, subscribed, open, sent_seq FROM inboxes WHERE device = ?'
const RECORDS = 'SELECT stamp, hash, seq, peer FROM records WHERE device = ? ORDER BY stamp'
const SETTLED_MAX = 'SELECT seq FROM settled WHERE device = ? ORDER BY seq DESC LIMIT 1'
const SETTLED_COUNT = 'SELECT count(*) AS n FROM settled WHERE device = ?'
const ENTRY = 'SELECT entry FROM tail WHERE id = ?'

/** The device's state, merged from the tables on first use. A few primary-key reads, no write. */
export function stateOf(store: Store, id: string): DeviceState {
  let device = store.tail.devices.get(id)
  if (device === undefined) {
    device = createDeviceState(id)
    store.tail.devices.set(id, device)
  }
  if (!device.loaded) load(store, device)
  return device
}

function load(store: Store, device: DeviceState): void {
  device.loaded = true
  const { reader } = store
  const row = prepared(reader, INBOX).get(device.id) as Record<string, number> | undefined
  if (row !== undefined) {
    device.lastStamp = Math.max(device.lastStamp, row['last_stamp'] as number)
    if (!device.flagged) {
      device.slot = row['slot'] as number
      device.subscribed = row['subscribed'] === 1
      device.open = row['open'] === 1
      device.sentSeq = device.open ? store.bootSeq : (row['sent_seq'] as number)
    }
  }
  device.durableStamp = device.lastStamp
  if (row !== undefined) loadRecords(store, device)
  const max = prepared(reader, SETTLED_MAX).get(device.id)
  if (max === undefined) return
  device.settledMaxSeq = max['seq'] as number
  device.settledRows = prepared(reader, SETTLED_COUNT).get(device.id)?.['n'] as number
}

/** Who has records has an inbox row. Those of the table are older than any of the tail. */
function loadRecords(store: Store, device: DeviceState): void {
  const { reader } = store
  const older: TailRecord[] = []
  for (const record of prepared(reader, RECORDS).all(device.id) as Record<string, number | string>[]) {
    const stamp = record['stamp'] as number
    if (findRecord(device, stamp) !== undefined) continue
    older.push({
      device: device.id,
      stamp,
      hash: record['hash'] as number,
      seq: record['seq'] as number,
      peer: record['peer'] as string,
      chunk: undefined,
      state: SETTLED,
    })
  }
  device.records = [...older, ...device.records.slice(device.recordsHead)]
  device.recordsHead = 0
  device.recordsWaiting += older.length
}

const MARK = 'SELECT up_to FROM marks WHERE by_user = ? AND peer = ?'

/** The delivered mark of (by, peer) that was appended last; 0 for none. */
export function markUpTo(store: Store, by: string, peer: string): number {
  const known = store.tail.marks.get(by + peer)
  if (known !== undefined) return known.upTo
  return (prepared(store.reader, MARK).get(by, peer)?.['up_to'] as number | undefined) ?? 0
}

/** Bytes of a chunk: from the cache, or read back. Undefined when a move has taken its rows to `settled` meanwhile. */
export function bytesOf(store: Store, chunk: Chunk): Buffer | undefined {
  if (chunk.bytes !== undefined) return chunk.bytes
  const found = prepared(store.reader, ENTRY).get(chunk.id)
  return found && Buffer.from((found['entry'] as Uint8Array).buffer as ArrayBuffer)
}

/** Forgets the bytes of the oldest chunks beyond the cache's bound. */
export function trimCache(store: Store): void {
  let bytes = 0
  for (let i = store.tail.chunks.length - 1; i >= 0; i--) {
    const chunk = store.tail.chunks[i] as Chunk
    if (bytes > store.limits.cacheBytesMax) {
      if (chunk.bytes === undefined) return
      chunk.bytes = undefined
    }
    bytes += chunk.used
  }
}

/** Nothing in memory is needed beyond what the tables say. */
export function isIdle(store: Store, device: DeviceState): boolean {
  if (device.connected || store.tail.dirty.has(device) || device.head < device.rows.length) return false
  // A number that is on its way to the disk is known here alone.
  if (device.lastStamp !== device.durableStamp || device.leaving !== undefined) return false
  for (const record of device.records) if (record.state === LIVE) return false
  return true
}
