/**
 * The guard: one per socket, between it and everything else. It frames the bytes, holds the limits before and after
 * CONNECT, and hands PUBLISH and PUBACK to the plugins, every other whole frame to control.ts. A frame is never copied
 * unless it was cut by the network.
 */
import type { Duplex } from 'node:stream'
import type { Ticket } from '../plugins/admission.ts'
import type { Connection } from '../plugins/connection.ts'
import { CONNECT, PUBLISH } from '../topics/frames.ts'
import { limits } from '../topics/limits.ts'
import { control } from './control.ts'
import { close, end, type Guard, type Guards, type Stage } from './guarded.ts'
import { join } from './join.ts'

/** A socket has its place. Nothing of it was read. */
export function accept(guards: Guards, stream: Duplex, ticket: Ticket): Guard {
  const guard: Guard = {
    stream,
    ticket,
    stage: 'fresh',
    parts: [],
    partBytes: 0,
    connectTimer: undefined,
    client: undefined,
    connection: undefined,
    isClean: false,
    clientId: '',
    controlSinceMs: 0,
    controlCount: 0,
    reason: undefined,
  }
  guard.connectTimer = setTimeout(end, guards.timeouts.connectMs, guards, guard, 'connect_timeout')
  guards.byStream.set(stream, guard)
  guards.open.add(guard)
  stream.on('data', (chunk: Buffer) => onData(guards, guard, chunk))
  stream.once('close', () => onClose(guards, guard))
  return guard
}

function onClose(guards: Guards, guard: Guard): void {
  close(guards, guard)
}

function onData(guards: Guards, guard: Guard, chunk: Buffer): void {
  // While draining nothing new is taken: it gets no PUBACK and is sent again elsewhere.
  if (guard.stage === 'closed' || guards.isDraining) return
  guards.metrics.socketBytesIn += chunk.length
  let bytes = chunk
  if (guard.partBytes > 0) {
    guard.parts.push(chunk)
    guard.partBytes += chunk.length
    if (guard.stage === 'joining') return capJoining(guards, guard)
    if (!isWhole(guard)) return checkPart(guards, guard)
    bytes = Buffer.concat(guard.parts, guard.partBytes)
    guard.parts = []
    guard.partBytes = 0
  }
  const rest = guard.stage === 'ready' ? scan(guards, guard, bytes) : connectOrWait(guards, guard, bytes)
  if (rest < bytes.length && (guard.stage as Stage) !== 'closed') {
    // A copy: a slice would keep the whole read alive for a few bytes.
    const part = Buffer.from(bytes.subarray(rest))
    guard.parts.push(part)
    guard.partBytes += part.length
    if (guard.stage === 'ready' || guard.stage === 'fresh') checkPart(guards, guard)
  }
  if (guard.connection !== undefined && (guard.stage as Stage) === 'ready') guards.plugins.turn(guard.connection)
}

/** Before CONNACK a client may already send; it may not send much. */
function capJoining(guards: Guards, guard: Guard): void {
  if (guard.partBytes > limits.heldBytesPerConnectionMax) end(guards, guard, 'overloaded')
}

/** The first five bytes of what was held: enough for a frame's length. */
function headOf(guard: Guard): Buffer {
  const first = guard.parts[0] as Buffer
  return first.length >= 5 || guard.parts.length === 1 ? first : Buffer.concat(guard.parts)
}

function isWhole(guard: Guard): boolean {
  const bytes = frameBytes(headOf(guard), 0)
  return bytes === MALFORMED || (bytes !== INCOMPLETE && guard.partBytes >= bytes)
}

/** A frame's length is judged when its header is there, not when its body is. */
function checkPart(guards: Guards, guard: Guard): void {
  const bytes = frameBytes(headOf(guard), 0)
  const max = guard.stage === 'ready' ? limits.frameBytesMax : limits.frameBeforeConnectBytesMax
  if (bytes === MALFORMED) end(guards, guard, 'malformed_packet')
  else if (bytes > max) end(guards, guard, 'frame_too_large')
}

function connectOrWait(guards: Guards, guard: Guard, bytes: Buffer): number {
  if (guard.stage === 'joining') return 0
  if ((bytes[0] as number) >> 4 !== CONNECT) {
    end(guards, guard, 'not_connect')
    return bytes.length
  }
  const length = frameBytes(bytes, 0)
  if (length === MALFORMED || length > limits.frameBeforeConnectBytesMax) return 0
  if (length === INCOMPLETE || length > bytes.length) return 0
  guard.stage = 'joining'
  // The client has done its part; from here on the directory is waited for, which has a timeout of its own.
  clearTimeout(guard.connectTimer)
  const { connectMs, authenticateMs } = guards.timeouts
  guard.connectTimer = setTimeout(end, connectMs + authenticateMs, guards, guard, 'connect_timeout')
  const frame = bytes.subarray(0, length)
  if (bytes[0] !== 0x10) end(guards, guard, 'malformed_packet')
  else setImmediate(() => setImmediate(joinIfThere, guards, guard, frame))
  return length
}

/**
 * Asks nobody about a client that has gone: its end is seen in the turn of the loop behind its CONNECT. After a storm
 * many waited for longer than they cared to.
 */
function joinIfThere(guards: Guards, guard: Guard, frame: Buffer): void {
  if (guard.stage === 'joining') join(guards, guard, frame).catch(() => end(guards, guard, 'storage_unavailable'))
}

const INCOMPLETE = -1
const MALFORMED = -2

/** Bytes of the whole frame at `at`, header included. */
function frameBytes(bytes: Uint8Array, at: number): number {
  let length = 0
  let shift = 0
  for (let i = at + 1; i < at + 5; i++) {
    const byte = bytes[i]
    if (byte === undefined) return INCOMPLETE
    length |= (byte & 127) << shift
    if (byte < 128) return i + 1 - at + length
    shift += 7
  }
  return MALFORMED
}

/** aedes has sent CONNACK. */
export function onReady(guards: Guards, guard: Guard): void {
  if (guard.stage !== 'joining') return
  clearTimeout(guard.connectTimer)
  guard.connectTimer = undefined
  guard.stage = 'ready'
  const { metrics, plugins } = guards
  plugins.admission.established(guard.ticket)
  metrics.connects++
  metrics.connections++
  if (guard.connection === undefined) metrics.observers++
  metrics.connectionsMax = Math.max(metrics.connectionsMax, metrics.connections)
  if (guard.connection === undefined) plugins.admission.opened(guard.ticket)
  else void open(guards, guard, guard.connection)
  if (guard.partBytes === 0) return
  const early = Buffer.concat(guard.parts, guard.partBytes)
  guard.parts = []
  guard.partBytes = 0
  onData(guards, guard, early)
}

async function open(guards: Guards, guard: Guard, connection: Connection): Promise<void> {
  try {
    await guards.plugins.ready(connection, guard.isClean)
  } catch (error) {
    const facts = { device: connection.device, error: (error as Error).message }
    guards.log.error(facts, 'a connection could not be opened')
    end(guards, guard, 'storage_unavailable')
  }
  guards.plugins.admission.opened(guard.ticket)
}

/** Works off the whole frames in `bytes`; returns where the rest begins. */
function scan(guards: Guards, guard: Guard, bytes: Buffer): number {
  const { plugins } = guards
  const { connection } = guard
  let at = 0
  while (at < bytes.length && guard.stage === 'ready') {
    const first = bytes[at] as number
    let head = at + 1
    let length = bytes[head] as number
    if (length >= 128 || head >= bytes.length) {
      const whole = frameBytes(bytes, at)
      if (whole === INCOMPLETE) break
      if (whole === MALFORMED || whole > limits.frameBytesMax) {
        end(guards, guard, whole === MALFORMED ? 'malformed_packet' : 'frame_too_large')
        return bytes.length
      }
      while ((bytes[head] as number) >= 128) head++
      length = whole - (head + 1 - at)
    }
    const next = head + 1 + length
    if (next > bytes.length) break
    if (first >> 4 === PUBLISH && connection !== undefined) {
      const reason = plugins.publish(connection, bytes, at, head + 1, next)
      if (reason !== undefined) end(guards, guard, reason)
    } else if (first === 0x40 && length === 2 && connection !== undefined) {
      plugins.puback(connection, ((bytes[head + 1] as number) << 8) | (bytes[head + 2] as number))
    } else control(guards, guard, first, bytes.subarray(at, next))
    at = next
  }
  guard.client?.touch()
  return at
}
