/**
 * May this socket, this CONNECT come in at all? Counted and decided synchronously, before anything is allocated for
 * it: frame and connection caps, half-open caps, connect rate of a device (flapping), id, will and keepalive rules.
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
  halfOpen: number
}
interface Attempts {
  count: number
  sinceMs: number
  bannedUntilMs: number
}

/** Ticket of one socket: what it counts for. */
export interface Ticket {
  readonly address: string
  isHalfOpen: boolean
}

export interface Admission {
  /** A socket was accepted. Reserves its places synchronously. */
  enter(address: string): Ticket | Rejection
  /** Its CONNECT was read. `device`: the client id, checked. */
  judge(connect: Connect): Rejection | undefined
  /**
   * The device proved who it is: does it connect too often? Asked only then, so that nobody can ban a stranger's
   * device.
   */
  judgeRate(device: string): Rejection | undefined
  /** CONNECT is done. */
  established(ticket: Ticket): void
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

export function createAdmission(
  now: Clock,
  caps: { connectionsMax: number; connectionsPerAddressMax: number },
): Admission {
  const addresses = new Map<string, Address>()
  const attempts = new Map<string, Attempts>()
  let connections = 0
  let halfOpen = 0

  function isFlapping(device: string): boolean {
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

  return {
    enter(address) {
      const known = addresses.get(address) ?? { connections: 0, halfOpen: 0 }
      if (connections >= caps.connectionsMax) return reject(CONNACK_UNAVAILABLE, 'too_many_connections')
      if (halfOpen >= limits.halfOpenMax) return reject(0, 'too_many_half_open')
      if (known.halfOpen >= limits.halfOpenPerAddressMax) return reject(0, 'too_many_half_open')
      if (known.connections >= caps.connectionsPerAddressMax) return reject(0, 'too_many_of_address')
      known.connections++
      known.halfOpen++
      connections++
      halfOpen++
      addresses.set(address, known)
      return { address, isHalfOpen: true }
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
    established(ticket) {
      if (!ticket.isHalfOpen) return
      ticket.isHalfOpen = false
      halfOpen--
      const known = addresses.get(ticket.address)
      if (known !== undefined) known.halfOpen--
    },
    leave(ticket) {
      this.established(ticket)
      connections--
      const known = addresses.get(ticket.address)
      if (known !== undefined && --known.connections === 0) addresses.delete(ticket.address)
    },
  }
}
