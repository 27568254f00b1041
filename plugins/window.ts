/**
 * The window of a connection (B2): what was written and not acknowledged, as a ring. Packet ids are those of the
 * connection's slot, so that they never repeat between neighbouring connections. Bounded: window rows, and the
 * socket's buffer.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Metrics } from '../core/metrics.ts'
import { type InboxState, type Ports, type Row, StoreDownFault } from '../core/ports.ts'
import { limits } from '../topics/limits.ts'
import type { Connection, Pump, ReceiptsFrame } from './connection.ts'
import { storeRetryMs } from './timeouts.ts'

/** What the sending plugins share. */
export interface Flow {
  readonly ports: Ports
  readonly metrics: Metrics
  readonly windowRows: number
  /** Reads the inbox of a connection again. */
  readonly resume: (connection: Connection) => void
  /** Connections whose window or socket is full. */
  readonly stalled: Set<Connection>
}

/** Slots of the ring: the power of two above the window. */
export function ringRows(flow: Flow): number {
  return 2 ** Math.ceil(Math.log2(flow.windowRows + 1))
}

export function createPump(state: InboxState): Pump {
  return {
    state: 'stopped',
    isReading: false,
    base: 0,
    slot: undefined,
    cursorSeq: 0,
    cursorSub: 0,
    sentSeq: state.sentSeq,
    lastStamp: state.lastStamp,
    ring: [],
    next: 0,
    oldest: 0,
    held: undefined,
    open: 0,
    again: false,
    isCurrent: false,
    isBehind: false,
    fullSinceMs: 0,
    ackRows: [],
    ackStamps: [],
    ackMarks: [],
    unknownSinceMs: 0,
    unknownCount: 0,
  }
}

/** Every slot is taken, or the oldest row is so far behind that its place in the ring would be. */
export function isWindowFull(flow: Flow, pump: Pump): boolean {
  return pump.open >= flow.windowRows || (pump.ring.length > 0 && pump.next - pump.oldest >= pump.ring.length)
}

export function hasRoom(flow: Flow, connection: Connection): boolean {
  const pump = connection.pump as Pump
  const isSlow = connection.wire.bufferedBytes() > limits.socketBufferBytesMax
  if (!isSlow && !isWindowFull(flow, pump)) return true
  pump.state = 'full'
  pump.again = true
  if (pump.fullSinceMs === 0) pump.fullSinceMs = flow.ports.now()
  flow.stalled.add(connection)
  return false
}

/** Puts something into the window and returns its packet id. */
export function enterWindow(flow: Flow, pump: Pump, what: Row | ReceiptsFrame): number {
  if (pump.ring.length === 0) pump.ring = new Array(ringRows(flow)).fill(undefined)
  pump.ring[pump.next % pump.ring.length] = what
  const id = pump.base + (pump.next % limits.windowRowsMax)
  pump.next++
  pump.open++
  return id
}

/**
 * The connection has a slot: its packet ids differ from those of the connections before it (B2). A store that is away
 * ends no connection (D5): it is asked again until it is back, and a slot that was taken unheard is passed over.
 */
export async function openSlot(flow: Flow, connection: Connection): Promise<boolean> {
  const pump = connection.pump as Pump
  if (pump.base !== 0) return true
  while (connection.isOpen) {
    pump.state = 'opening'
    pump.slot ??= flow.ports.inbox.advanceSlot(connection.device)
    const asked = pump.slot
    try {
      pump.base = 1 + (await asked) * limits.windowRowsMax
    } catch (error) {
      if (pump.slot === asked) pump.slot = undefined
      if (error instanceof StoreDownFault) await sleep(storeRetryMs(), undefined, { ref: false })
      else if (connection.isOpen) connection.wire.end('storage_unavailable')
      continue
    }
    return connection.isOpen
  }
  return false
}

/** Highest position that was written to this connection. */
export function sentSeqOf(connection: Connection): number {
  const pump = connection.pump
  return pump === undefined ? 0 : Math.max(pump.sentSeq, pump.cursorSeq)
}
