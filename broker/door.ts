/**
 * Between the listeners and the guard: whoever comes gets a place or is refused, counted and logged. Listeners ask
 * here before a socket is MQTT.
 */
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { countBy } from '../core/metrics.ts'
import type { Rejection, Ticket } from '../plugins/admission.ts'
import type { DisconnectReason } from '../topics/disconnects.ts'
import { connack } from '../topics/frames.ts'
import { accept } from './guard.ts'
import { end, type Guards } from './guarded.ts'
import { REFUSED_LINGER_MS } from './join.ts'
import type { Door } from './listeners.ts'

export interface WideDoor extends Door {
  /** Takes an MQTT byte stream from another listener (WebSocket). Gives how to end it for a reason of that listener. */
  take(stream: Duplex, address: string): (reason: DisconnectReason) => void
  /** It goes another way (HTTP): its place is free again. */
  leave(ticket: Ticket): void
}

const STOPPING: Rejection = { returnCode: 0, reason: 'shutting_down' }

function refuse(guards: Guards, stream: Duplex, address: string | undefined, rejection: Rejection, isPlain: boolean) {
  const { reason, returnCode } = rejection
  countBy(guards.metrics.rejected, reason)
  // Balancers look whether a port is open, and say nothing.
  if (reason !== 'client_closed') guards.log.info({ address, reason }, 'connection refused')
  if (returnCode === 0 || !isPlain) return void stream.destroy()
  // The CONNACK is to leave, but nobody waits for who does not take it.
  stream.end(connack(returnCode), () => stream.destroy())
  setTimeout(() => stream.destroy(), REFUSED_LINGER_MS).unref()
}

export function doorOf(guards: Guards): WideDoor {
  const { plugins, timeouts } = guards
  const { admission } = plugins

  function begin(stream: Duplex, address: string | undefined): Ticket | undefined {
    const ticket = guards.isDraining ? STOPPING : admission.begin()
    if (!('reason' in ticket)) return ticket
    refuse(guards, stream, address, ticket, false)
    return undefined
  }
  function enter(stream: Duplex, ticket: Ticket, address: string, isPlain: boolean): boolean {
    const rejection = guards.isDraining ? STOPPING : admission.enter(ticket, address)
    if (rejection === undefined) return true
    admission.leave(ticket)
    refuse(guards, stream, address, rejection, isPlain)
    return false
  }
  return {
    headerMs: timeouts.connectMs,
    begin: (socket) => begin(socket, socket.remoteAddress),
    enter: (socket: Socket, ticket, address, isPlain) => enter(socket, ticket, address, isPlain),
    end(socket, ticket, reason) {
      const address = ticket.address ?? socket.remoteAddress
      admission.leave(ticket)
      refuse(guards, socket, address, { returnCode: 0, reason }, false)
    },
    accept: (socket, ticket) => void accept(guards, socket, ticket),
    leave: (ticket) => admission.leave(ticket),
    take(stream, address) {
      stream.on('error', () => stream.destroy())
      const ticket = begin(stream, address)
      if (ticket === undefined || !enter(stream, ticket, address, true)) return () => undefined
      const guard = accept(guards, stream, ticket)
      return (reason) => end(guards, guard, reason)
    },
  }
}
