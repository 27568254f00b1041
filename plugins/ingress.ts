/**
 * Step 3: from PUBLISH to the group commit and back to PUBACK, in the sender's order. A frame takes its place
 * synchronously; what has to wait (for the directory) holds those behind it. Refusals take a place too. Bounded: held
 * bytes per connection and node (A6); beyond, the socket is not read.
 */
import { type Envelope, type IntakeFault, NO_ROWS, type Target, VERDICT_NEW } from '../core/envelope.ts'
import { countBy, type Metrics } from '../core/metrics.ts'
import type { Ports } from '../core/ports.ts'
import { byShard } from '../core/shards.ts'
import { limits } from '../topics/limits.ts'
import type { Connection, Sending } from './connection.ts'
import { refusalOf } from './dedupe.ts'
import { createGaps, type Gaps, noteSkipped } from './gaps.ts'
import { flushConnections, writePuback } from './outbound.ts'
import { flushAllSoon, noteAccepted, type Receipts } from './receipts.ts'
import { isTemporary, RETRY_IN_S, type Refusal, refusal, writeRefusal } from './refuse.ts'

const ANSWERS_PER_FLUSH = 256
const NO_FAULTS: readonly (IntakeFault | undefined)[] = []

/** A place in the sender's order: either an envelope or a refusal. */
export interface Item {
  readonly connection: Connection
  /** 0: nobody is to be answered. */
  readonly packetId: number
  readonly bytes: number
  readonly envelope: Envelope | undefined
  readonly refused: Refusal | undefined
}

export interface Ingress {
  readonly ports: Ports
  readonly metrics: Metrics
  readonly receipts: Receipts
  readonly gaps: Gaps
  /** A thing whose publish could not be stored is held for so long, then closed (A4). */
  readonly refusedHoldMs: number
  items: Item[]
  envelopes: Envelope[]
  /** All batches before the one that is appended now are answered. For more than one shard. */
  answered: Promise<void>
  /** Connections with unanswered PUBLISHes; of these the newest is closed at the node's bound. */
  readonly senders: Set<Connection>
}

export function createIngress(ports: Ports, metrics: Metrics, receipts: Receipts, refusedHoldMs: number): Ingress {
  return {
    ports,
    metrics,
    receipts,
    gaps: createGaps(ports),
    refusedHoldMs,
    items: [],
    envelopes: [],
    answered: Promise.resolve(),
    senders: new Set(),
  }
}

/**
 * The targets whose inbox is not full; those that are will be told of the gap. Undefined when all of the recipient's
 * are full: then nothing is sent (B6).
 */
export function deliverable(ingress: Ingress, targets: readonly Target[]): readonly Target[] | undefined {
  const { intake } = ingress.ports
  let full = 0
  for (const target of targets) if (intake.isFull(target.device)) full++
  if (full === 0) return targets
  const open = targets.filter(({ device }) => !intake.isFull(device))
  const isToOthers = targets.some(({ own }) => !own)
  if (!open.some(({ own }) => !isToOthers || !own)) return undefined
  for (const target of targets) if (!open.includes(target)) noteSkipped(ingress.gaps, target.device)
  return open
}

export function sendingOf(connection: Connection): Sending {
  connection.sending ??= {
    routes: new Map(),
    held: [],
    isResolving: false,
    pendingBytes: 0,
    isPaused: false,
    inFlight: new Set(),
    later: undefined,
    isStopped: false,
    logged: undefined,
  }
  return connection.sending
}

/** Takes the frame's bytes into account; false when the packet id is in flight already. */
export function enter(ingress: Ingress, connection: Connection, packetId: number, bytes: number): boolean {
  const sending = sendingOf(connection)
  const { inFlight } = sending
  if (inFlight.has(packetId)) return false
  inFlight.add(packetId)
  if (sending.pendingBytes === 0) ingress.senders.add(connection)
  sending.pendingBytes += bytes
  ingress.metrics.heldBytes += bytes
  ingress.metrics.publishesIn++
  ingress.metrics.bytesIn += bytes
  if (!sending.isPaused && sending.pendingBytes > limits.heldBytesPerConnectionMax) {
    sending.isPaused = true
    connection.wire.pauseReading()
  }
  if (ingress.metrics.heldBytes > limits.heldBytesPerNodeMax) closeNewest(ingress)
  return true
}

function closeNewest(ingress: Ingress): void {
  let newest: Connection | undefined
  for (const connection of ingress.senders) {
    // What an ended one has sent is in a commit that is under way.
    if (connection.isOpen && connection.sinceMs >= (newest?.sinceMs ?? 0)) newest = connection
  }
  newest?.wire.end('overloaded')
}

/** The frame is answered, or will not be. */
export function leave(ingress: Ingress, connection: Connection, packetId: number, bytes: number): void {
  const sending = connection.sending as Sending
  sending.inFlight.delete(packetId)
  sending.pendingBytes -= bytes
  ingress.metrics.heldBytes -= bytes
  if (sending.pendingBytes === 0) ingress.senders.delete(connection)
  if (sending.isPaused && sending.pendingBytes <= limits.heldBytesPerConnectionMax / 2) {
    sending.isPaused = false
    connection.wire.resumeReading()
  }
}

/** The frame makes no sense and the connection ends for it: its place is given back, and nothing behind it is taken. */
export function giveUp(ingress: Ingress, connection: Connection, packetId: number, bytes: number): void {
  sendingOf(connection).isStopped = true
  leave(ingress, connection, packetId, bytes)
}

/** The frame's place in the order. The batch leaves at the end of the turn. */
export function join(ingress: Ingress, item: Item): void {
  const { connection, packetId, bytes, envelope } = item
  const code = envelope === undefined || packetId === 0 ? undefined : ingress.ports.intake.refusal()
  if (code !== undefined && envelope !== undefined) {
    // Not held for a store that takes nothing; what is in flight behind it is refused as well.
    if (envelope.peer !== '') refuseLater(ingress, connection, envelope.peer)
    return joinRefusal(ingress, connection, packetId, bytes, refusal(code, envelope.stamp))
  }
  if (ingress.items.length === 0) setImmediate(appendBatch, ingress)
  ingress.items.push(item)
  if (item.envelope !== undefined) ingress.envelopes.push(item.envelope)
}

export function joinRefusal(
  ingress: Ingress,
  connection: Connection,
  packetId: number,
  bytes: number,
  refused: Refusal,
): void {
  // At once, not when the batch is answered: what a thing sent behind it must not be stored before it (A4).
  if (isTemporary(refused.code) && connection.principal.account.kind !== 'person') holdThenClose(ingress, connection)
  join(ingress, { connection, packetId, bytes, envelope: undefined, refused })
}

/** Appends what gathered in this turn. Ordered: batches are answered in the order they were appended. */
function appendBatch(ingress: Ingress): void {
  const { items, envelopes } = ingress
  ingress.items = []
  ingress.envelopes = []
  const { intake } = ingress.ports
  if (intake.shards === 1) {
    intake.append(0, envelopes).then(
      () => answer(ingress, items, NO_FAULTS),
      (fault: IntakeFault) => answer(ingress, items, [fault]),
    )
    return
  }
  const faults: (IntakeFault | undefined)[] = []
  const appends = [...byShard(envelopes)].map(([shard, batch]) =>
    intake.append(shard, batch).catch((fault: IntakeFault) => {
      faults[shard] = fault
    }),
  )
  // In the order of the turns, though a shard may be slower than the others.
  ingress.answered = ingress.answered.then(() => Promise.all(appends)).then(() => answer(ingress, items, faults))
}

function wake(ingress: Ingress, envelope: Envelope): void {
  for (const row of envelope.rows) if (ingress.ports.claims.wake(row.device, row) === 'away') row.source = undefined
  envelope.rows = NO_ROWS
}

function answer(ingress: Ingress, items: readonly Item[], faults: readonly (IntakeFault | undefined)[]): void {
  let untilFlush = ANSWERS_PER_FLUSH
  for (const item of items) {
    const { connection, envelope } = item
    const fault = envelope && faults[envelope.shard]
    // The other side works on the first answers of a long batch while the rest is written.
    if (--untilFlush === 0) {
      untilFlush = ANSWERS_PER_FLUSH
      flushAllSoon(ingress.receipts)
      flushConnections()
    }
    if (item.packetId === 0) {
      if (fault === undefined && envelope !== undefined) wake(ingress, envelope)
      continue
    }
    leave(ingress, connection, item.packetId, item.bytes)
    if (envelope === undefined) answerRefusal(ingress, item, item.refused)
    else if (fault !== undefined) answerRefusal(ingress, item, refusal(fault.code, envelope.stamp))
    else if (envelope.verdict === VERDICT_NEW) {
      ingress.metrics.stored++
      writePuback(connection, item.packetId)
      wake(ingress, envelope)
      if (envelope.peer !== '' && connection.isOpen) noteAccepted(ingress.receipts, connection, envelope)
    } else answerRefusal(ingress, item, refusalOf(envelope))
  }
  flushAllSoon(ingress.receipts)
  flushConnections()
}

function answerRefusal(ingress: Ingress, item: Item, refused: Refusal | undefined): void {
  const { connection, packetId, envelope } = item
  if (refused === undefined) {
    ingress.metrics.repeated++
    return writePuback(connection, packetId)
  }
  countBy(ingress.metrics.refused, refused.code)
  const isTemporaryRefusal = isTemporary(refused.code)
  if (!isTemporaryRefusal) logRefusal(ingress, connection, refused)
  if (isTemporaryRefusal && connection.principal.account.kind !== 'person') return holdThenClose(ingress, connection)
  if (isTemporaryRefusal && envelope !== undefined) refuseLater(ingress, connection, envelope.peer)
  writeRefusal(connection, refused)
  writePuback(connection, packetId)
}

/** Once per connection and code, so that nobody fills the log by being wrong often. */
function logRefusal(ingress: Ingress, connection: Connection, refused: Refusal): void {
  const sending = sendingOf(connection)
  sending.logged ??= new Set()
  if (sending.logged.has(refused.code)) return
  sending.logged.add(refused.code)
  ingress.ports.log.info({ device: connection.device, reason: refused.code }, 'refused')
}

/** WIRE rule 8: requests in flight behind it are refused too. */
function refuseLater(ingress: Ingress, connection: Connection, peer: string): void {
  const sending = sendingOf(connection)
  sending.later ??= new Map()
  sending.later.set(peer, ingress.ports.now() + RETRY_IN_S * 1_000)
}

/** Is this conversation under RETRY_LATER? */
export function isLater(ingress: Ingress, connection: Connection, peer: string): boolean {
  const until = connection.sending?.later?.get(peer)
  if (until === undefined) return false
  if (until > ingress.ports.now()) return true
  connection.sending?.later?.delete(peer)
  return false
}

function holdThenClose(ingress: Ingress, connection: Connection): void {
  const sending = sendingOf(connection)
  if (sending.isStopped) return
  sending.isStopped = true
  setTimeout(() => {
    if (connection.isOpen) connection.wire.end('append_failed')
  }, ingress.refusedHoldMs).unref()
}
