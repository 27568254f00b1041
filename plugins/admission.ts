/**
 * May this socket, this CONNECT come in at all? Counted and decided synchronously, before anything is allocated for
 * it: connection caps, handshake caps, connect rate of a device (flapping), id, will and keepalive rules. A handshake
 * lasts until the device's inbox is open, so that the cap also bounds what the stores are asked at one time.
 */
import type { Clock } from '../core/ports.ts'
import type { DisconnectReason } from '../topics/disconnects.ts'
import { CONNACK_FORBIDDEN, CONNACK_IDENTIFIER, CONNACK_UNAVAILABLE, type Connect } from '../topics/frames.ts'
import { isDeviceId } from '../topics/ids.ts'
import { limits } from '../topics/limits.ts'
import { OBSERVER } from './authenticate.ts'
import { authorizeWill } from './authorize.ts'

export interface Rejection {
  /** CONNACK return code; 0: close without one. */
  readonly returnCode: number
  readonly reason: DisconnectReason
}

interface Address {
  connections: number
  handshakes: number
}
interface Attempts {
  count: number
  sinceMs: number
  bannedUntilMs: number
}

/** Ticket of one socket: what it counts for. */
export interface Ticket {
  /** Undefined: not known yet. */
  address: string | undefined
  /** Counts among the connections of the node and of its address. */
  isInside: boolean
  /** Counts among the handshakes of its address, until CONNACK. */
  isConnecting: boolean
  /** Counts among those of the node, until its inbox is open. */
  isOpening: boolean
  /** It has its turn at the stores. */
  hasTurn: boolean
}

export interface AdmissionCaps {
  readonly connectionsMax: number
  readonly connectionsPerAddressMax: number
  readonly handshakesMax: number
  readonly handshakesPerAddressMax: number
}

export interface Admission {
  /** A socket was accepted. Reserves its place synchronously; whoever gets a ticket has to leave with it. */
  begin(): Ticket | Rejection
  /** It is known whose it is. A rejected one has to leave. */
  enter(ticket: Ticket, address: string): Rejection | undefined
  /** Its CONNECT was read. `device`: the client id, checked. */
  judge(connect: Connect): Rejection | undefined
  /**
   * The device proved who it is: does it connect too often? Asked only then, so that nobody can ban a stranger's
   * device.
   */
  judgeRate(device: string): Rejection | undefined
  /**
   * Resolves when it may ask the stores: at most openingsMax do at one time, the others wait in the order in which they
   * came. Undefined: at once.
   */
  turn(ticket: Ticket): Promise<void> | undefined
  /** CONNACK is sent. */
  established(ticket: Ticket): void
  /** Its inbox is open: the handshake is over. */
  opened(ticket: Ticket): void
  leave(ticket: Ticket): void
}

const MINUTE_MS = 60_000
const ATTEMPTS_KNOWN_MAX = 100_000
const reject = (returnCode: number, reason: DisconnectReason): Rejection => ({ returnCode, reason })

function judgeDevice(connect: Connect): Rejection | undefined {
  if (!isDeviceId(connect.clientId)) return reject(CONNACK_IDENTIFIER, 'bad_client_id')
  const { will } = connect
  if (will !== undefined) {
    const isFine =
      will.bytes <= limits.willBytesMax && authorizeWill(connect.clientId, will.topic, will.qos, will.retain)
    if (!isFine) return reject(CONNACK_FORBIDDEN, 'bad_will')
  }
  return undefined
}

/** Counts the connects of devices: true for one too many, and while it is banned for it. */
function watchFlapping(now: Clock): (device: string) => boolean {
  const attempts = new Map<string, Attempts>()
  return (device) => {
    const at = now()
    let known = attempts.get(device)
    if (known === undefined) {
      if (attempts.size >= ATTEMPTS_KNOWN_MAX) attempts.delete(attempts.keys().next().value as string)
      known = { count: 0, sinceMs: at, bannedUntilMs: 0 }
      attempts.set(device, known)
    }
    if (known.bannedUntilMs > at) return true
    if (at - known.sinceMs > MINUTE_MS) {
      known.count = 0
      known.sinceMs = at
    }
    if (++known.count <= limits.connectsPerDevicePerMinuteMax) return false
    known.bannedUntilMs = at + limits.flappingBanMs
    return true
  }
}

interface Turns {
  take(ticket: Ticket): Promise<void> | undefined
  /** Whoever had a turn passes it on; whoever waits for one waits no more. */
  pass(ticket: Ticket): void
}

/** Turns at the stores, in the order in which they were asked for. */
function createTurns(): Turns {
  let taken = 0
  /** In their order; at most handshakesMax. */
  const waiting = new Map<Ticket, () => void>()
  const give = (ticket: Ticket): void => {
    ticket.hasTurn = true
    taken++
  }
  return {
    take(ticket) {
      if (taken < limits.openingsMax) return void give(ticket)
      return new Promise((resolve) => void waiting.set(ticket, resolve))
    },
    pass(ticket) {
      waiting.delete(ticket)
      if (!ticket.hasTurn) return
      ticket.hasTurn = false
      taken--
      for (const [next, begin] of waiting) {
        waiting.delete(next)
        give(next)
        return begin()
      }
    },
  }
}

export function createAdmission(now: Clock, caps: AdmissionCaps): Admission {
  const addresses = new Map<string, Address>()
  const isFlapping = watchFlapping(now)
  let connections = 0
  let handshakes = 0
  const turns = createTurns()

  return {
    begin() {
      if (handshakes >= caps.handshakesMax) return reject(0, 'too_many_handshakes')
      handshakes++
      return { address: undefined, isInside: false, isConnecting: false, isOpening: true, hasTurn: false }
    },
    enter(ticket, address) {
      const known = addresses.get(address) ?? { connections: 0, handshakes: 0 }
      if (connections >= caps.connectionsMax) return reject(CONNACK_UNAVAILABLE, 'too_many_connections')
      if (known.handshakes >= caps.handshakesPerAddressMax) return reject(0, 'too_many_handshakes')
      if (known.connections >= caps.connectionsPerAddressMax) return reject(0, 'too_many_of_address')
      known.connections++
      known.handshakes++
      connections++
      addresses.set(address, known)
      ticket.address = address
      ticket.isInside = true
      ticket.isConnecting = true
      return undefined
    },
    judge(connect) {
      if (connect.keepaliveS === 0 || connect.keepaliveS > limits.keepaliveSMax) {
        return reject(CONNACK_FORBIDDEN, 'bad_keepalive')
      }
      if (connect.username !== OBSERVER) return judgeDevice(connect)
      if (!connect.clean) return reject(CONNACK_FORBIDDEN, 'bad_client_id')
      return connect.will === undefined ? undefined : reject(CONNACK_FORBIDDEN, 'bad_will')
    },
    judgeRate: (device) => (isFlapping(device) ? reject(CONNACK_FORBIDDEN, 'flapping') : undefined),
    turn: (ticket) => turns.take(ticket),
    established(ticket) {
      if (!ticket.isConnecting) return
      ticket.isConnecting = false
      const known = addresses.get(ticket.address as string)
      if (known !== undefined) known.handshakes--
    },
    opened(ticket) {
      if (!ticket.isOpening) return
      ticket.isOpening = false
      handshakes--
      turns.pass(ticket)
    },
    leave(ticket) {
      this.opened(ticket)
      if (!ticket.isInside) return
      this.established(ticket)
      ticket.isInside = false
      connections--
      const address = ticket.address as string
      const known = addresses.get(address)
      if (known !== undefined && --known.connections === 0) addresses.delete(address)
    },
  }
}
