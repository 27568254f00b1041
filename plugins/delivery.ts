/**
 * Step 7: the pump of a connection (B1, B2). It reads the inbox behind its cursor, keeps a window of unacknowledged
 * rows, and follows live traffic by wakes once it is current. Rows leave in position order; a wake that does not fit
 * is dropped, the inbox is read instead. Bounded: window rows, one page, and the socket's buffer.
 */
import { isExpired } from '../core/expiry.ts'
import { type Mark, ROW_MARK, type Row, StoreDownFault } from '../core/ports.ts'
import { encodeDelivery } from '../topics/codec.ts'
import { publishQos0 } from '../topics/frames.ts'
import { limits } from '../topics/limits.ts'
import type { Connection, InFlight, Pump, PumpState } from './connection.ts'
import { writeFrame, writeStored } from './outbound.ts'
import { expireRow, flushReceipts, noteMark, type Receipts, takeMarkRow } from './receipts.ts'
import { storeRetryMs } from './timeouts.ts'
import { enterWindow, type Flow, hasRoom, isWindowFull, openSlot } from './window.ts'

export interface Delivery {
  readonly flow: Flow
  readonly receipts: Receipts
}

/** The device is ready and subscribed: read the inbox from its beginning. */
export function startPump(delivery: Delivery, connection: Connection): void {
  const pump = connection.pump
  if (pump === undefined || pump.state !== 'stopped') return
  pump.state = 'idle'
  read(delivery, connection)
}

/** UNSUBSCRIBE: rows stay. What is in the window stays there until it is acknowledged. */
export function stopPump(connection: Connection): void {
  if (connection.pump !== undefined) connection.pump.state = 'stopped'
}

/** A row for this device is durable. Droppable. True when it was sent. */
export function wakePump(delivery: Delivery, connection: Connection, row: Row): boolean {
  const pump = connection.pump
  if (pump === undefined || pump.state === 'stopped') return false
  if (pump.state !== 'live') {
    pump.again = true
    return false
  }
  if (pump.base !== 0 && row.source !== undefined && !pump.isBehind) {
    // Positions are read in order: two workers may have written it, and both said so.
    const isAbove = row.seq > pump.cursorSeq || (row.seq === pump.cursorSeq && row.sub > pump.cursorSub)
    if (!isAbove) return false
    if (hasRoom(delivery.flow, connection)) {
      send(delivery, connection, row)
      return true
    }
  }
  read(delivery, connection)
  return false
}

function send(delivery: Delivery, connection: Connection, row: Row): void {
  const pump = connection.pump as Pump
  pump.cursorSeq = row.seq
  pump.cursorSub = row.sub
  if (isExpired(row, delivery.flow.ports.now())) return expireRow(delivery.receipts, connection, row)
  if (row.kind === ROW_MARK) return takeMarkRow(delivery.receipts, connection, row)
  const id = enterWindow(delivery.flow, pump, row)
  const isResend = row.seq <= pump.sentSeq
  if (isResend) delivery.flow.metrics.resent++
  writeStored(connection, row.source as Uint8Array, row.start, row.end, id, isResend)
  delivery.flow.metrics.publishesOut++
  delivery.flow.metrics.bytesOut += row.end - row.start
  row.source = undefined
}

/** Reads pages until the inbox is exhausted or the window is full. One reader per pump. */
export function read(delivery: Delivery, connection: Connection): void {
  const pump = connection.pump as Pump
  if (pump.isReading || pump.state === 'opening' || pump.state === 'stopped') {
    pump.again = true
    return
  }
  pump.state = 'reading'
  readPages(delivery, connection).catch((error: Error) => {
    // The store says itself that it is away, once: not for every connection, again and again.
    if (error instanceof StoreDownFault) return readLater(delivery, connection)
    delivery.flow.ports.log.error({ device: connection.device, error: error.message }, 'reading an inbox failed')
    if (connection.isOpen) connection.wire.end('storage_unavailable')
  })
}

/** Connections that read again in a moment: one timer each, however often they are woken. */
const later = new WeakSet<Connection>()

/** A store that is away ends no connection (D5): its inbox is read when the store is back. */
function readLater(delivery: Delivery, connection: Connection): void {
  const pump = connection.pump as Pump
  if (!connection.isOpen || pump.state === 'stopped') return
  pump.isBehind = true
  pump.state = 'live'
  if (later.has(connection)) return
  later.add(connection)
  setTimeout(() => {
    later.delete(connection)
    if (connection.isOpen && pump.state === 'live') read(delivery, connection)
  }, storeRetryMs()).unref()
}

async function readPages(delivery: Delivery, connection: Connection): Promise<void> {
  const pump = connection.pump as Pump
  pump.isReading = true
  try {
    for (;;) {
      pump.again = false
      const limit = Math.max(1, delivery.flow.windowRows - pump.open)
      const rows = await delivery.flow.ports.inbox.page(connection.device, pump.cursorSeq, pump.cursorSub, limit)
      if (!connection.isOpen || pump.state === 'stopped') return
      const isDue = rows.length > 0 || connection.waiting?.isDue === true
      if (isDue && !(await openSlot(delivery.flow, connection))) return
      if ((pump.state as PumpState) === 'stopped') return
      pump.state = 'reading'
      for (const row of rows) {
        if (!hasRoom(delivery.flow, connection)) return
        send(delivery, connection, row)
      }
      if (isDue) flushReceipts(delivery.receipts, connection)
      if (rows.length === 0 && !pump.again) break
      if (!hasRoom(delivery.flow, connection)) return
    }
    pump.isBehind = false
    pump.state = 'live'
  } finally {
    // In one step with the state: what wakes the pump next finds either this reader or none.
    pump.isReading = false
  }
  if (!pump.isCurrent) becomeCurrent(delivery, connection)
}

/** The backlog is written: persons are told so. Things need no marker. */
function becomeCurrent(delivery: Delivery, connection: Connection): void {
  const pump = connection.pump as Pump
  pump.isCurrent = true
  if (connection.principal.account.kind !== 'person') return
  const payload = encodeDelivery({
    caughtUp: { serverMs: delivery.flow.ports.now(), wire: 1, lastStamp: pump.lastStamp },
  })
  writeFrame(connection, publishQos0(connection.inTopic, payload))
}

/** PUBACK from the device. Unknown ids are counted and ignored: they may belong to a connection before (B2). */
export function onPuback(delivery: Delivery, connection: Connection, packetId: number): void {
  const pump = connection.pump
  const k = pump === undefined || pump.base === 0 ? -1 : packetId - pump.base
  if (pump === undefined || k < 0 || k >= limits.windowRowsMax) return unknownPuback(delivery, connection)
  const n = pump.oldest + ((k - (pump.oldest % limits.windowRowsMax) + limits.windowRowsMax) % limits.windowRowsMax)
  const found = n < pump.next ? pump.ring[n % pump.ring.length] : undefined
  if (found === undefined || pump.held?.has(n)) return unknownPuback(delivery, connection)
  pump.open--
  if (pump.fullSinceMs !== 0) pump.fullSinceMs = delivery.flow.ports.now()
  delivery.flow.metrics.acknowledged++
  if (n === pump.oldest || found.kind === 2 || found.peer === '' || !isBlocked(pump, n, found.peer)) {
    pump.ring[n % pump.ring.length] = undefined
    take(connection, found)
    if (pump.held !== undefined) releaseHeld(pump, pump.held, connection)
  } else pump.held = (pump.held ?? new Set()).add(n)
  while (pump.oldest < pump.next && pump.ring[pump.oldest % pump.ring.length] === undefined) pump.oldest++
}

/** An earlier row of the same conversation is not acknowledged: a mark above it would be a lie (B3). */
function isBlocked(pump: Pump, n: number, peer: string): boolean {
  for (let i = pump.oldest; i < n; i++) {
    const earlier = pump.ring[i % pump.ring.length]
    if (earlier !== undefined && earlier.kind !== 2 && earlier.peer === peer && !pump.held?.has(i)) return true
  }
  return false
}

/** Oldest first: one may have waited for another. */
function releaseHeld(pump: Pump, held: Set<number>, connection: Connection): void {
  for (const n of [...held].sort((a, b) => a - b)) {
    const row = pump.ring[n % pump.ring.length] as Row
    if (isBlocked(pump, n, row.peer)) continue
    held.delete(n)
    pump.ring[n % pump.ring.length] = undefined
    take(connection, row)
  }
  if (held.size === 0) pump.held = undefined
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
  delivery.flow.metrics.unknownPubacks++
  const pump = connection.pump
  if (pump === undefined) return
  const now = delivery.flow.ports.now()
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
  delivery.flow.ports.inbox.acknowledge(connection.device, pump.ackRows, pump.ackStamps, marks)
  for (const mark of marks) noteMark(delivery.receipts, mark)
  pump.ackRows = []
  pump.ackStamps = []
  pump.ackMarks = []
  if (pump.state === 'full' && pump.open <= delivery.flow.windowRows / 2) unstall(delivery, connection)
}

/** There is room again. */
export function unstall(delivery: Delivery, connection: Connection): void {
  const pump = connection.pump
  if (pump?.state !== 'full') return
  pump.fullSinceMs = 0
  delivery.flow.stalled.delete(connection)
  pump.state = 'live'
  read(delivery, connection)
}

/**
 * Often, while somebody is stalled: who has not acknowledged a full window, or not read from its socket, for too long
 * is ended (B2).
 */
export function sweepStalled(delivery: Delivery): void {
  const now = delivery.flow.ports.now()
  for (const connection of delivery.flow.stalled) {
    const pump = connection.pump
    if (!connection.isOpen || pump?.state !== 'full') delivery.flow.stalled.delete(connection)
    else if (connection.wire.bufferedBytes() > limits.socketBufferBytesMax) {
      if (now - pump.fullSinceMs > limits.slowReaderTimeoutMs) connection.wire.end('slow_reader')
    } else if (!isWindowFull(delivery.flow, pump)) unstall(delivery, connection)
    else if (now - pump.fullSinceMs > limits.ackTimeoutMs) connection.wire.end('no_puback')
  }
}
