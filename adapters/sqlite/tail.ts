/**
 * The tail in memory: chunks (one per commit and arena, each a row of `tail`), rows, records and per-device state.
 * Bounded: rows by `tailRowsMax`, cached bytes by `cacheBytesMax`; a chunk goes when everything in it is dead or
 * settled.
 */
import type { Mark, RequestRecord, Row } from '../../core/ports.ts'

export const LIVE = 0
/** Acknowledged, the commit is under way. */
export const ACKED = 1
/** Copied to `settled` by a move that is under way. */
export const MOVING = 2
export const SETTLED = 3
export const GONE = 4

export interface Chunk {
  readonly id: number
  readonly bornMs: number
  /** The entry as it is in `tail`; undefined once it fell out of the cache. */
  bytes: Buffer | undefined
  used: number
  readonly rows: TailRow[]
  readonly records: TailRecord[]
  /** Rows and records that are neither dead nor settled. */
  live: number
}

export interface TailRow extends Row {
  readonly chunk: Chunk | undefined
  state: number
}
export interface TailRecord extends RequestRecord {
  readonly device: string
  readonly chunk: Chunk | undefined
  state: number
}

export interface DeviceState {
  readonly id: string
  /** The `inboxes` row and `records` were merged in. */
  loaded: boolean
  lastStamp: number
  /** `lastStamp` as of the last commit, to fall back to. */
  durableStamp: number
  slot: number
  subscribed: boolean
  /** `slot`, `subscribed`, `open` and `sentSeq` were read from the tail: what the table says of them is older. */
  flagged: boolean
  /** A connection was given a slot and did not close yet. */
  open: boolean
  sentSeq: number
  settledMaxSeq: number
  settledRows: number
  /** Rows of `settled` that are acknowledged, by seq; the commit is under way. */
  leaving: Set<number> | undefined
  /** Rows in position order; those before `head` are dead or settled. */
  rows: TailRow[]
  head: number
  /** Waiting records by rising stamp; those before `recordsHead` have ended, others may have. */
  records: TailRecord[]
  recordsHead: number
  recordsWaiting: number
  connected: boolean
}

export interface PendingMark extends Mark {
  readonly chunk: Chunk | undefined
}

export interface Tail {
  readonly chunks: Chunk[]
  readonly devices: Map<string, DeviceState>
  readonly pendingMarks: Map<string, PendingMark>
  /** Marks that were appended lately, to say none twice; those in `dirtyMarks` are not in the table yet. */
  readonly marks: Map<string, Mark>
  readonly dirtyMarks: Set<string>
  lastSeq: number
  liveRows: number
  /** Rows of all chunks, dead ones too: what the memory holds. */
  heldRows: number
  /** Devices whose state is not in the table as it is. */
  readonly dirty: Set<DeviceState>
  nextChunkId: number
}

export function createTail(): Tail {
  return {
    chunks: [],
    devices: new Map(),
    pendingMarks: new Map(),
    marks: new Map(),
    dirtyMarks: new Set(),
    lastSeq: 0,
    liveRows: 0,
    heldRows: 0,
    dirty: new Set(),
    nextChunkId: 1,
  }
}

export function createDeviceState(id: string): DeviceState {
  return {
    id,
    loaded: false,
    lastStamp: 0,
    durableStamp: 0,
    slot: -1,
    subscribed: false,
    flagged: false,
    open: false,
    sentSeq: 0,
    settledMaxSeq: 0,
    settledRows: 0,
    leaving: undefined,
    rows: [],
    head: 0,
    records: [],
    recordsHead: 0,
    recordsWaiting: 0,
    connected: false,
  }
}

export function createChunk(id: number, bornMs: number, bytes: Buffer): Chunk {
  return { id, bornMs, bytes, used: 0, rows: [], records: [], live: 0 }
}

/** The mark of `key` was appended. It only grows: another device of the user may have outrun this one. */
export function raiseMark(tail: Tail, key: string, mark: Mark): void {
  if ((tail.marks.get(key)?.upTo ?? 0) >= mark.upTo) return
  tail.marks.set(key, mark)
  tail.dirtyMarks.add(key)
}

/** Puts a durable row at the end of its device's tail. */
export function addRow(tail: Tail, device: DeviceState, row: TailRow): void {
  device.rows.push(row)
  if (row.chunk === undefined) return
  row.chunk.rows.push(row)
  row.chunk.live++
  tail.liveRows++
  tail.heldRows++
}

/** A record from here on; stamps only rise. */
export function pushRecord(device: DeviceState, record: TailRecord): void {
  device.records.push(record)
  device.recordsWaiting++
}

/** The record is durable: its chunk has to stay until it has ended. */
export function holdRecord(record: TailRecord): void {
  if (record.chunk === undefined) return
  record.chunk.records.push(record)
  record.chunk.live++
}

/** The waiting record with this stamp. */
export function findRecord(device: DeviceState, stamp: number): TailRecord | undefined {
  const { records } = device
  let low = device.recordsHead
  let high = records.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((records[middle] as TailRecord).stamp < stamp) low = middle + 1
    else high = middle
  }
  const found = records[low]
  return found?.stamp === stamp && found.state !== GONE ? found : undefined
}

/** The row is acknowledged durably, or settled. Idempotent. */
export function endRow(tail: Tail, device: DeviceState, row: TailRow, state: typeof GONE | typeof SETTLED): void {
  const wasInTail = row.state !== GONE && row.state !== SETTLED
  row.state = state
  if (!wasInTail || row.chunk === undefined) return
  row.chunk.live--
  tail.liveRows--
  const rows = device.rows
  let head = device.head
  while (head < rows.length && (rows[head] as TailRow).state >= SETTLED) head++
  device.head = head
  if (head === rows.length) {
    if (head > 64) device.rows = []
    else rows.length = 0
    device.head = 0
  } else if (head > 1024 && head * 2 > rows.length) {
    device.rows = rows.slice(head)
    device.head = 0
  }
}

export function endRecord(device: DeviceState, record: TailRecord): void {
  if (record.state === GONE) return
  if (record.state < SETTLED && record.chunk !== undefined) record.chunk.live--
  record.state = GONE
  device.recordsWaiting--
  const { records } = device
  let head = device.recordsHead
  while (head < records.length && (records[head] as TailRecord).state === GONE) head++
  device.recordsHead = head
  if (head === records.length || head > 64) {
    records.splice(0, head)
    device.recordsHead = 0
  }
}

/** Index of the first tail row above (seq, sub); rows are in position order. */
export function firstAbove(device: DeviceState, seq: number, sub: number): number {
  const rows = device.rows
  let low = device.head
  let high = rows.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const row = rows[middle] as TailRow
    if (row.seq < seq || (row.seq === seq && row.sub <= sub)) low = middle + 1
    else high = middle
  }
  return low
}
