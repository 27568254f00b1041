/**
 * Step 7: the pump of a connection (B1, B2). It reads the inbox behind its cursor, keeps a window of unacknowledged rows, and
 * follows live traffic by wakes once it is current. Rows leave in position order; a wake that does not fit is dropped, the
 * inbox is read instead. Bounded: window rows, one page, and the socket's buffer.
 */
import type { Metrics } from '../core/metrics.ts'
import { type InboxState, type Mark, type Ports, ROW_MARK, type Row } from '../core/ports.ts'
import { encodeDelivery } from '../topics/codec.ts'
import { publishQos0 } from '../topics/frames.ts'
import { limits } from '../topics/limits.ts'
import { type Connection, writeFrame, writeStored } from './connection.ts'
import { expireRow, flushReceipts, noteMark, type Receipts, takeMarkRow } from './receipts.ts'

/** A receipts frame in the window: its PUBACK acknowledges these rows and settles these stamps. */
export interface ReceiptsFrame {
  readonly kind: 2
  readonly rows: readonly Row[]
  readonly stamps: readonly number[]
}
type InFlight = (Row & { held?: boolean }) | (ReceiptsFrame & { held?: boolean })

/** stopped: no subscription. opening: the slot is being advanced. reading: a page is under way. full: window or socket full. */
export type PumpState = 'stopped' | 'idle' | 'opening' | 'reading' | 'full' | 'live'

export interface Pump {
  state: PumpState
  /** First packet id of this connection's slot; 0 until it has one. */
  base: number
  cursorSeq: number
  cursorSub: number
  /** Rows at or below it were written before: DUP. */
  sentSeq: number
  /** Window as a ring: frame n is at n % ring.length, its packet id is base + n % windowRowsMax. */
  ring: (InFlight | undefined)[]
  next: number
  oldest: number
  open: number
  /** Woken while it was not live: read once more. */
  again: boolean
  isCurrent: boolean
  /** When the window filled up, for the acknowledgement timeout; 0: it is not full. */
  fullSinceMs: number
  /** What was acknowledged in this turn. */
  ackRows: Row[]
  ackStamps: number[]
  ackMarks: { by: string; peer: string; upTo: number }[]
  unknownSinceMs: number
  unknownCount: number
}

export interface Delivery {
  readonly ports: Ports
  readonly metrics: Metrics
  readonly receipts: Receipts
  readonly windowRows: number
  /** Reads the inbox of a connection again. */
  readonly resume: (connection: Connection) => void
  /** Connections whose window or socket is full. */
  readonly stalled: Set<Connection>
}

const RING_ROWS = 2 ** Math.ceil(Math.log2(limits.windowRows + 1))

export function createPump(state: InboxState): Pump {
  return {
    state: 'stopped',
    base: 0,
    cursorSeq: 0,
    cursorSub: 0,
    sentSeq: state.sentSeq,
    ring: [],
    next: 0,
    oldest: 0,
    open: 0,
    again: false,
    isCurrent: false,
    fullSinceMs: 0,
    ackRows: [],
    ackStamps: [],
    ackMarks: [],
    unknownSinceMs: 0,
    unknownCount: 0,
  }
}

/** The device is ready and subscribed: read the inbox from its beginning. */
export function startPump(delivery: Delivery, connection: Connection): void {
  const pump = connection.pump
  if (pump === undefined || pump.state !== 'stopped') return
  pump.state = 'idle'
  pump.cursorSeq = 0
  pump.cursorSub = 0
  read(delivery, connection)
}

/** UNSUBSCRIBE: rows stay. What is in the window stays there until it is acknowledged. */
export function stopPump(connection: Connection): void {
  if (connection.pump !== undefined) connection.pump.state = 'stopped'
}

/** A row for this device is durable. Droppable. */
export function wakePump(delivery: Delivery, connection: Connection, row: Row): void {
  const pump = connection.pump
  if (pump === undefined || pump.state === 'stopped') return
  const fits = pump.base !== 0 && row.seq > pump.cursorSeq && row.source !== undefined
  if (pump.state === 'live' && fits && hasRoom(delivery, connection)) {
    send(delivery, connection, row)
  } else if (pump.state === 'live') {
    read(delivery, connection)
  } else pump.again = true
}

export function hasRoom(delivery: Delivery, connection: Connection): boolean {
  const pump = connection.pump as Pump
  const isFull = pump.open >= delivery.windowRows || pump.next - pump.oldest >= RING_ROWS
  const isSlow = connection.wire.bufferedBytes() > limits.socketBufferBytesMax
  if (!isFull && !isSlow) return true
  pump.state = 'full'
  pump.again = true
  if (pump.fullSinceMs === 0) pump.fullSinceMs = delivery.ports.now()
  delivery.stalled.add(connection)
  return false
}

/** Puts something into the window and returns its packet id. */
export function enterWindow(pump: Pump, what: Row | ReceiptsFrame): number {
  if (pump.ring.length === 0) pump.ring = new Array(RING_ROWS).fill(undefined)
  pump.ring[pump.next % RING_ROWS] = what
  const id = pump.base + (pump.next % limits.windowRowsMax)
  pump.next++
  pump.open++
  return id
}

function send(delivery: Delivery, connection: Connection, row: Row): void {
  const pump = connection.pump as Pump
  pump.cursorSeq = row.seq
  pump.cursorSub = row.sub
  if (isExpired(delivery, row)) return expireRow(delivery.receipts, connection, row)
  if (row.kind === ROW_MARK) return takeMarkRow(delivery, connection, row)
  const id = enterWindow(pump, row)
  const isResend = row.seq <= pump.sentSeq
  if (isResend) delivery.metrics.resent++
  writeStored(connection, row.source as Uint8Array, row.start, row.end, id, isResend)
  delivery.metrics.publishesOut++
  delivery.metrics.bytesOut += row.end - row.start
  row.source = undefined
}

function isExpired(delivery: Delivery, row: Row): boolean {
  return row.expiresMs !== 0 && row.expiresMs < delivery.ports.now()
}

/** The connection has a slot: its packet ids differ from those of the connections before it (B2). */
export async function openSlot(delivery: Delivery, connection: Connection): Promise<boolean> {
  const pump = connection.pump as Pump
  if (pump.base !== 0) return true
  pump.state = 'opening'
  try {
    pump.base = 1 + (await delivery.ports.inbox.advanceSlot(connection.device)) * limits.windowRowsMax
    return connection.isOpen
  } catch {
    if (connection.isOpen) connection.wire.end('storage_unavailable')
    return false
  }
}

/** Reads pages until the inbox is exhausted or the window is full. One reader per pump. */
export function read(delivery: Delivery, connection: Connection): void {
  const pump = connection.pump as Pump
  if (pump.state === 'reading' || pump.state === 'opening' || pump.state === 'stopped') {
    pump.again = true
    return
  }
  pump.state = 'reading'
  readPages(delivery, connection).catch((error: Error) => {
    delivery.ports.log.error({ device: connection.device, error: error.message }, 'reading an inbox failed')
    if (connection.isOpen) connection.wire.end('storage_unavailable')
  })
}

async function readPages(delivery: Delivery, connection: Connection): Promise<void> {
  const pump = connection.pump as Pump
  for (;;) {
    pump.again = false
    const limit = Math.max(1, delivery.windowRows - pump.open)
    const rows = await delivery.ports.inbox.page(connection.device, pump.cursorSeq, pump.cursorSub, limit)
    if (!connection.isOpen || pump.state === 'stopped') return
    if (rows.length > 0 && !(await openSlot(delivery, connection))) return
    if ((pump.state as PumpState) === 'stopped') return
    pump.state = 'reading'
    for (const row of rows) {
      if (!hasRoom(delivery, connection)) return
      send(delivery, connection, row)
    }
    if (rows.length > 0) flushReceipts(delivery, connection)
    if (rows.length === 0 && !pump.again) break
    if (!hasRoom(delivery, connection)) return
  }
  pump.state = 'live'
  if (!pump.isCurrent) becomeCurrent(delivery, connection)
}

/** The backlog is written: persons are told so. Things need no marker. */
function becomeCurrent(delivery: Delivery, connection: Connection): void {
  const pump = connection.pump as Pump
  pump.isCurrent = true
  if (connection.principal.account.kind !== 'person') return
  const payload = encodeDelivery({ caughtUp: { serverMs: delivery.ports.now(), wire: 1 } })
  writeFrame(connection, publishQos0(connection.inTopic, payload))
}

/** PUBACK from the device. Unknown ids are counted and ignored: they may belong to a connection before (B2). */
export function onPuback(delivery: Delivery, connection: Connection, packetId: number): void {
  const pump = connection.pump
  const k = pump === undefined || pump.base === 0 ? -1 : packetId - pump.base
  if (pump === undefined || k < 0 || k >= limits.windowRowsMax) return unknownPuback(delivery, connection)
  const n = pump.oldest + ((k - (pump.oldest % limits.windowRowsMax) + limits.windowRowsMax) % limits.windowRowsMax)
  const found = n < pump.next ? pump.ring[n % RING_ROWS] : undefined
  if (found === undefined || found.held === true) return unknownPuback(delivery, connection)
  pump.open--
  if (pump.fullSinceMs !== 0) pump.fullSinceMs = delivery.ports.now()
  delivery.metrics.acknowledged++
  if (n === pump.oldest || found.kind === 2 || found.peer === '' || !isBlocked(pump, n, found.peer)) {
    pump.ring[n % RING_ROWS] = undefined
    take(connection, found)
    if (n !== pump.oldest || hasHeld(pump)) releaseHeld(pump, connection)
  } else found.held = true
  while (pump.oldest < pump.next && pump.ring[pump.oldest % RING_ROWS] === undefined) pump.oldest++
}

/** An earlier row of the same conversation is not acknowledged: a mark above it would be a lie (B3). */
function isBlocked(pump: Pump, n: number, peer: string): boolean {
  for (let i = pump.oldest; i < n; i++) {
    const earlier = pump.ring[i % RING_ROWS]
    if (earlier !== undefined && earlier.kind !== 2 && earlier.peer === peer && earlier.held !== true) return true
  }
  return false
}

function hasHeld(pump: Pump): boolean {
  return pump.next - pump.oldest - 1 > pump.open
}

function releaseHeld(pump: Pump, connection: Connection): void {
  for (let i = pump.oldest; i < pump.next; i++) {
    const held = pump.ring[i % RING_ROWS]
    if (held?.held !== true || held.kind === 2 || isBlocked(pump, i, held.peer)) continue
    pump.ring[i % RING_ROWS] = undefined
    take(connection, held)
  }
}

function take(connection: Connection, found: InFlight): void {
  const pump = connection.pump as Pump
  if (found.kind === 2) {
    pump.ackRows.push(...found.rows)
    pump.ackStamps.push(...found.stamps)
    return
  }
  pump.ackRows.push(found)
  if (found.peer === '') return
  const by = connection.principal.account.key
  for (const mark of pump.ackMarks) {
    if (mark.peer !== found.peer) continue
    mark.upTo = Math.max(mark.upTo, found.seq)
    return
  }
  pump.ackMarks.push({ by, peer: found.peer, upTo: found.seq })
}

function unknownPuback(delivery: Delivery, connection: Connection): void {
  delivery.metrics.unknownPubacks++
  const pump = connection.pump
  if (pump === undefined) return
  const now = delivery.ports.now()
  if (now - pump.unknownSinceMs > 10_000) {
    pump.unknownSinceMs = now
    pump.unknownCount = 0
  }
  if (++pump.unknownCount > limits.unknownPubacksPer10SMax) connection.wire.end('flood')
}

/** End of a read from the socket: its acknowledgements become one op, and the window is filled again. */
export function settleTurn(delivery: Delivery, connection: Connection): void {
  const pump = connection.pump
  if (pump === undefined || pump.ackRows.length + pump.ackStamps.length === 0) return
  const marks: Mark[] = pump.ackMarks
  delivery.ports.inbox.acknowledge(connection.device, pump.ackRows, pump.ackStamps, marks)
  for (const mark of marks) noteMark(delivery.receipts, mark)
  pump.ackRows = []
  pump.ackStamps = []
  pump.ackMarks = []
  if (pump.state === 'full' && pump.open <= delivery.windowRows / 2) unstall(delivery, connection)
}

/** There is room again. */
export function unstall(delivery: Delivery, connection: Connection): void {
  const pump = connection.pump
  if (pump?.state !== 'full') return
  pump.fullSinceMs = 0
  delivery.stalled.delete(connection)
  pump.state = 'live'
  read(delivery, connection)
}

/** Often, while somebody is stalled: who has not acknowledged a full window, or not read from its socket, for too long is ended (B2). */
export function sweepStalled(delivery: Delivery): void {
  const now = delivery.ports.now()
  for (const connection of delivery.stalled) {
    const pump = connection.pump
    if (!connection.isOpen || pump?.state !== 'full') delivery.stalled.delete(connection)
    else if (connection.wire.bufferedBytes() > limits.socketBufferBytesMax) {
      if (now - pump.fullSinceMs > limits.slowReaderTimeoutMs) connection.wire.end('slow_reader')
    } else if (pump.open < delivery.windowRows / 2) unstall(delivery, connection)
    else if (now - pump.fullSinceMs > limits.ackTimeoutMs) connection.wire.end('no_puback')
  }
}

/** Highest position that was written to this connection. */
export function sentSeqOf(connection: Connection): number {
  const pump = connection.pump
  return pump === undefined ? 0 : Math.max(pump.sentSeq, pump.cursorSeq)
}
