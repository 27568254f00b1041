/** What is known of a guarded socket, and the one way in which it ends. */
import type { Duplex } from 'node:stream'
import { countBy, type Metrics } from '../core/metrics.ts'
import type { Log } from '../core/ports.ts'
import type { Ticket } from '../plugins/admission.ts'
import type { Connection } from '../plugins/connection.ts'
import type { Plugins } from '../plugins/index.ts'
import type { Timeouts } from '../plugins/timeouts.ts'
import type { DisconnectReason } from '../topics/disconnects.ts'
import type { Engine, EngineClient } from './engine.ts'

/** fresh: before CONNECT. joining: CONNECT is being checked. ready: after CONNACK. */
export type Stage = 'fresh' | 'joining' | 'ready' | 'closed'

export interface Guard {
  readonly stream: Duplex
  readonly ticket: Ticket
  stage: Stage
  /** Bytes of a frame that is not whole yet, or that came before CONNACK. */
  parts: Buffer[]
  partBytes: number
  connectTimer: NodeJS.Timeout | undefined
  client: EngineClient | undefined
  connection: Connection | undefined
  isClean: boolean
  clientId: string
  controlSinceMs: number
  controlCount: number
  reason: DisconnectReason | undefined
}

export interface Guards {
  readonly timeouts: Timeouts
  readonly plugins: Plugins
  readonly engine: () => Engine
  readonly metrics: Metrics
  readonly log: Log
  readonly now: () => number
  readonly byStream: WeakMap<Duplex, Guard>
  /** By MQTT client id, as aedes knows it: the newest connection of each device. */
  readonly byClientId: Map<string, Guard>
  readonly open: Set<Guard>
  isDraining: boolean
}

/** Ends the socket for a reason of the catalogue. Nothing is read from it any more. */
export function end(guards: Guards, guard: Guard, reason: DisconnectReason): void {
  if (guard.stage === 'closed') return
  guard.reason ??= reason
  close(guards, guard)
  guard.stream.destroy()
}

/** Ends the connection once what was written to it has arrived: the peer closes, or `end` is called on it later. */
export function endGently(guard: Guard, reason: DisconnectReason): void {
  if (guard.stage === 'closed') return
  guard.reason ??= reason
  // Nothing more is written to it: that would be an error behind the end.
  if (guard.connection !== undefined) guard.connection.isOpen = false
  guard.stream.end()
  guard.stream.resume()
}

/** The socket has ended, or is about to: everything that counted it lets go. */
export function close(guards: Guards, guard: Guard): void {
  if (guard.stage === 'closed') return
  const { connection, client } = guard
  const wasReady = guard.stage === 'ready'
  guard.stage = 'closed'
  guard.parts = []
  clearTimeout(guard.connectTimer)
  guards.open.delete(guard)
  if (guards.byClientId.get(guard.clientId) === guard) guards.byClientId.delete(guard.clientId)
  guards.plugins.admission.leave(guard.ticket)
  const reason = guard.reason ?? 'client_closed'
  countBy(wasReady ? guards.metrics.disconnects : guards.metrics.rejected, reason)
  if (wasReady) guards.metrics.connections--
  if (wasReady && connection === undefined) guards.metrics.observers--
  if (connection !== undefined) {
    connection.isOpen = false
    guards.plugins.closed(connection, reason)
  }
  if (reason !== 'client_closed' && reason !== 'client_disconnect') {
    guards.log.info({ device: connection?.device, address: guard.ticket.address, reason }, 'connection ended')
  }
  client?.close()
}
