/**
 * PROXY protocol, version 2, as a receiver (haproxy.org, proxy-protocol.txt, 2.2): what a load balancer says in front
 * of a connection about whose it is. Version 1 is refused: it is text without a length. Whoever may open a connection
 * may say any address here, so only the balancer may reach such a port.
 */
import type { Socket } from 'node:net'
import type { DisconnectReason } from '../topics/disconnects.ts'
import { limits } from '../topics/limits.ts'

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
/** Signature, version and command, family, length of the rest. */
const FIXED_BYTES = 16
const LOCAL = 0x20
const PROXY = 0x21
const UNSPECIFIED = 0x00
const TCP4 = 0x11
const TCP6 = 0x21
/** Two addresses and two ports. */
const TCP4_BYTES = 12
const TCP6_BYTES = 36
const MAPPED = Buffer.from('00000000000000000000ffff', 'hex')

export interface ProxyHeader {
  /** Undefined: the balancer itself (LOCAL, a health check), or it does not say. */
  readonly address: string | undefined
  /** Of the whole header, with what it says beside the addresses: the stream begins behind it. */
  readonly bytes: number
}

function address6(bytes: Buffer): string {
  if (bytes.subarray(0, MAPPED.length).equals(MAPPED)) return [...bytes.subarray(MAPPED.length)].join('.')
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16))
  // In the one form that an address has, with `::` for its zeros.
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}

/** Bytes that are in the way of being a header are incomplete; others are malformed at the first that is wrong. */
export function parseProxyHeader(bytes: Buffer): ProxyHeader | 'incomplete' | 'malformed' {
  const begun = Math.min(bytes.length, SIGNATURE.length)
  if (!bytes.subarray(0, begun).equals(SIGNATURE.subarray(0, begun))) return 'malformed'
  const command = bytes[12]
  const family = bytes[13]
  if (command !== undefined && command !== LOCAL && command !== PROXY) return 'malformed'
  if (bytes.length < FIXED_BYTES) return 'incomplete'
  const length = bytes.readUInt16BE(14)
  const whole = FIXED_BYTES + length
  if (whole > limits.proxyHeaderBytesMax) return 'malformed'
  const isSilent = command === LOCAL || family === UNSPECIFIED
  if (!isSilent) {
    const needed = family === TCP4 ? TCP4_BYTES : family === TCP6 ? TCP6_BYTES : Number.POSITIVE_INFINITY
    if (length < needed) return 'malformed'
  }
  if (bytes.length < whole) return 'incomplete'
  if (isSilent) return { address: undefined, bytes: whole }
  const source = bytes.subarray(FIXED_BYTES)
  return {
    address: family === TCP4 ? [...source.subarray(0, 4)].join('.') : address6(source.subarray(0, 16)),
    bytes: whole,
  }
}

/**
 * Reads the header of a fresh socket and calls `done` once: with the address it says, or with why there is none. The
 * socket is paused then, what came behind the header is the first to be read, and nobody listens to it. When the socket
 * ends before, `done` gets `client_closed`.
 */
export function readProxyHeader(
  socket: Socket,
  timeoutMs: number,
  done: (found: Pick<ProxyHeader, 'address'> | DisconnectReason) => void,
): void {
  let held: Buffer = Buffer.alloc(0)
  const finish = (found: Pick<ProxyHeader, 'address'> | DisconnectReason): void => {
    clearTimeout(timer)
    socket.off('data', take)
    socket.off('close', closed)
    socket.pause()
    done(found)
  }
  const closed = (): void => finish('client_closed')
  const timer = setTimeout(finish, timeoutMs, 'connect_timeout')
  const take = (chunk: Buffer): void => {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk])
    const header = parseProxyHeader(held)
    if (header === 'incomplete') return
    if (header === 'malformed') return finish('bad_proxy_header')
    socket.pause()
    if (held.length > header.bytes) socket.unshift(held.subarray(header.bytes))
    finish(header)
  }
  socket.on('data', take)
  socket.once('close', closed)
}
