/**
 * Receipts (A5, A7, B3): `accepted` for the sending device, delivered marks for the sending user. Both linger, so
 * that an online peer's tick shares one frame with the acceptance; both end early at `receiptLingerRecordsMax`.
 */
import type { Envelope } from '../core/envelope.ts'
import { expireRows } from '../core/expiry.ts'
import { appendOwn, newReceipt, receiptEnvelope, userOfKey } from '../core/own-envelopes.ts'
import type { Mark, Ports, RequestRecord, Row } from '../core/ports.ts'
import { decodeDelivery, type Receipt, receiptsSize, writeReceiptsDelivery } from '../topics/codec.ts'
import { limits } from '../topics/limits.ts'
import type { Connection, Waiting } from './connection.ts'
import { createDueQueue, type DueQueue } from './due-queue.ts'
import { writePublish } from './outbound.ts'
import { enterWindow, type Flow, hasRoom, openSlot } from './window.ts'

/** Delivered marks are appended after this: well within the linger of `accepted`, so that both leave together. */
const MARK_LINGER_MS = 200
/** Marks of one append. Bounded, so that no commit is long. */
const MARKS_PER_APPEND_MAX = 2_000

interface Lingering {
  mark: Mark
  count: number
}

export interface Receipts {
  readonly ports: Ports
  /** By key of user and peer. */
  readonly lingering: Map<string, Lingering>
  /** The same keys: one mark of a conversation at a time, else a lower one may come behind a higher one. */
  readonly appending: Set<string>
  readonly marksDue: DueQueue<string>
  readonly framesDue: DueQueue<Connection>
  soon: Set<Connection>
  readonly flow: Flow
}

const NO_USER = new Uint8Array(0)

export function createReceipts(flow: Flow): Receipts {
  const receipts: Receipts = {
    ports: flow.ports,
    lingering: new Map(),
    appending: new Set(),
    marksDue: createDueQueue(MARK_LINGER_MS, MARKS_PER_APPEND_MAX, (keys) => appendMarks(receipts, keys)),
    framesDue: createDueQueue(limits.receiptLingerMs, MARKS_PER_APPEND_MAX, (due) => {
      for (const connection of due) flushDue(receipts, connection)
    }),
    soon: new Set(),
    flow,
  }
  return receipts
}

// ---------------------------------------------------------------- delivered marks, on the side of the recipient

/**
 * A device of `mark.by` has acknowledged up to `mark.upTo`; durable with the acknowledgement, appended after the
 * linger.
 */
export function noteMark(receipts: Receipts, mark: Mark): void {
  const key = markKey(mark)
  const known = receipts.lingering.get(key)
  if (known === undefined) {
    receipts.lingering.set(key, { mark, count: 1 })
    receipts.marksDue.add(key)
    return
  }
  if (mark.upTo > known.mark.upTo) known.mark = mark
  known.count++
  if (known.count === limits.receiptLingerRecordsMax) appendMarks(receipts, [key])
}

function appendMarks(receipts: Receipts, keys: string[]): void {
  const marks: Mark[] = []
  for (const key of keys) {
    const known = receipts.lingering.get(key)
    // It waits for the one before, which calls it up.
    if (known === undefined || receipts.appending.has(key)) continue
    receipts.lingering.delete(key)
    receipts.appending.add(key)
    marks.push(known.mark)
  }
  if (marks.length > 0) void makeMarks(receipts, marks)
}

const markKey = ({ by, peer }: Mark): string => by + peer

async function makeMarks(receipts: Receipts, marks: Mark[]): Promise<void> {
  const { appending, ports } = receipts
  const envelopes: Envelope[] = []
  try {
    for (const mark of marks) {
      // Per user, never per device (WIRE rule 6): what another device of the user already said is not said again, nor
      // less than it (P7).
      if (mark.upTo <= (await ports.inbox.markOf(mark.by, mark.peer))) continue
      const account = await ports.directory.account(userOfKey(mark.peer))
      const devices = account?.devices ?? []
      envelopes.push(receiptEnvelope(ports.intake.shards, mark, devices, { delivered: mark.upTo }, mark))
    }
    if (envelopes.length > 0) await appendOwn(ports, envelopes)
  } catch {
    // Still pending in the store: tried again until the store takes it (or at the next start).
    for (const mark of marks) noteMark(receipts, mark)
  } finally {
    for (const mark of marks) {
      appending.delete(markKey(mark))
      if (receipts.lingering.has(markKey(mark))) receipts.marksDue.add(markKey(mark))
    }
  }
}

/** It is too late for a row: it leaves, and its sender is told (core/expiry). Rows of one page are told together. */
export function expireRow(receipts: Receipts, connection: Connection, row: Row): void {
  row.source = undefined
  const { expired } = waitingOf(connection)
  expired.push(row)
  if (expired.length > 1) return
  queueMicrotask(() => {
    const { ports } = receipts
    const { device, principal } = connection
    expireRows(ports, principal.account.key, device, expired.splice(0)).catch((error: Error) => {
      // The rows are still there: the next connection or the retention job comes upon them again.
      ports.log.warn({ device, error: error.message }, 'expired rows could not be ended')
    })
  })
}

// ---------------------------------------------------------------- frames, on the side of the sender

function waitingOf(connection: Connection): Waiting {
  connection.waiting ??= { accepted: [], rows: [], expired: [], isDue: false }
  return connection.waiting
}

/**
 * Records of requests that were accepted before this connection, in the order of their stamps. Reading them takes time:
 * what this connection has sent meanwhile may be among them, and waits already.
 */
export function takeRecords(receipts: Receipts, connection: Connection, records: readonly RequestRecord[]): void {
  if (records.length === 0) return
  const waiting = waitingOf(connection)
  const first = waiting.accepted[0]?.stamp ?? Number.POSITIVE_INFINITY
  const before = records.filter(({ stamp }) => stamp < first)
  waiting.accepted.unshift(...before.map(({ stamp, seq, peer }) => ({ stamp, seq, peer })))
  receipts.framesDue.add(connection)
}

/** The connection's request is stored. */
export function noteAccepted(receipts: Receipts, connection: Connection, envelope: Envelope): void {
  const waiting = waitingOf(connection)
  waiting.accepted.push({ stamp: envelope.stamp, seq: envelope.seq, peer: envelope.peer })
  if (waiting.accepted.length === limits.receiptLingerRecordsMax) flushSoon(receipts, connection)
  else if (waiting.accepted.length === 1) receipts.framesDue.add(connection)
}

/** A mark row came to the sender's device: if it covers all that waits, nothing else is to come. */
export function takeMarkRow(receipts: Receipts, connection: Connection, row: Row): void {
  const decoded = decodeDelivery((row.source as Uint8Array).subarray(row.start, row.end))
  row.source = undefined
  const waiting = waitingOf(connection)
  const items = decoded.fault ? [] : (decoded.receipts?.items ?? [])
  waiting.rows.push({ row, items })
  const delivered = items[0]?.delivered ?? 0
  if (waiting.accepted.every((record) => record.seq <= delivered)) flushSoon(receipts, connection)
  else if (waiting.rows.length === 1 && waiting.accepted.length === 0) receipts.framesDue.add(connection)
}

function flushSoon(receipts: Receipts, connection: Connection): void {
  if (receipts.soon.size === 0) setImmediate(flushAllSoon, receipts)
  receipts.soon.add(connection)
}

/**
 * Writes the frames that need not linger. At the end of the turn; earlier, they share a write with what else leaves.
 */
export function flushAllSoon(receipts: Receipts): void {
  if (receipts.soon.size === 0) return
  const now = receipts.soon
  receipts.soon = new Set()
  for (const due of now) flushDue(receipts, due)
}

function flushDue(receipts: Receipts, connection: Connection): void {
  const pump = connection.pump
  if (!connection.isOpen || pump === undefined) return
  if (pump.state === 'live' || pump.state === 'idle') flushReceipts(receipts, connection)
  // The inbox is being read, the window is full, or there is no subscription yet: the reader flushes at its end.
  else waitingOf(connection).isDue = true
}

/**
 * Writes one frame with all that waits, if there is room for it. Its PUBACK settles the stamps and acknowledges the
 * rows.
 */
export function flushReceipts(receipts: Receipts, connection: Connection): void {
  const { flow } = receipts
  const { waiting, pump } = connection
  if (waiting === undefined || pump === undefined || waiting.accepted.length + waiting.rows.length === 0) return
  if (pump.base === 0) {
    waiting.isDue = true
    if (pump.state === 'opening') return
    void openSlot(flow, connection).then((isOpen) => {
      if (!isOpen || pump.state === 'stopped') return
      // A reader that waited for the same slot says itself when it is done.
      if (pump.isReading) return
      pump.state = 'live'
      flushReceipts(receipts, connection)
      if (pump.again) flow.resume(connection)
    })
    return
  }
  waiting.isDue = !hasRoom(flow, connection)
  if (waiting.isDue) return
  const accepted = waiting.accepted.splice(0, limits.seqsPerListMax / 2)
  const rows = waiting.rows.splice(0, rowsOfFrame(waiting.rows))
  const items = mergeReceipts(accepted, rows)
  const payload = new Uint8Array(receiptsSize(items))
  writeReceiptsDelivery(payload, 0, items)
  const stamps = accepted.map((record) => record.stamp)
  const id = enterWindow(flow, pump, { kind: 2, rows: rows.map((entry) => entry.row), stamps })
  writePublish(connection, connection.inTopic, payload, id)
  flow.metrics.publishesOut++
  if (waiting.accepted.length + waiting.rows.length > 0) flushReceipts(receipts, connection)
}

/** How many of them go into one frame: bounded by their number and by the seqs that they list one by one. */
function rowsOfFrame(rows: Waiting['rows']): number {
  let seqs = 0
  for (let n = 0; n < rows.length; n++) {
    for (const { played, expired } of (rows[n] as Waiting['rows'][number]).items) seqs += played.length + expired.length
    if (n === limits.receiptsPerRequestMax || (n > 0 && seqs > limits.seqsPerListMax)) return n
  }
  return rows.length
}

/** Filled here, then only read. */
type Draft = { -readonly [key in keyof Receipt]: Receipt[key] } & {
  played: number[]
  expired: number[]
  accepted: number[]
}

/** One receipt per conversation, every mark at its maximum. */
function mergeReceipts(accepted: Waiting['accepted'], rows: Waiting['rows']): Receipt[] {
  const byPeer = new Map<string, Draft>()
  const draftOf = (key: string, own: boolean): Draft => {
    const name = own ? `own:${key}` : key
    let draft = byPeer.get(name)
    if (draft === undefined) {
      draft = { ...newReceipt({ peer: userOfKey(key), own }), played: [], expired: [], accepted: [] }
      byPeer.set(name, draft)
    }
    return draft
  }
  for (const { stamp, seq, peer } of accepted) draftOf(peer, false).accepted.push(stamp, seq)
  for (const { items } of rows) {
    for (const said of items) {
      const draft = draftOf(Buffer.from(said.peer ?? NO_USER).toString('latin1'), said.own)
      draft.delivered = Math.max(draft.delivered, said.delivered)
      draft.read = Math.max(draft.read, said.read)
      draft.played.push(...said.played)
      draft.expired.push(...said.expired)
    }
  }
  return [...byPeer.values()]
}
