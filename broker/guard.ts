/**
 * The guard: one per socket, between it and everything else. It frames the bytes, holds the limits before and after CONNECT, and
 * hands PUBLISH and PUBACK to the plugins, everything else in whole frames to aedes. A frame is never copied unless it was cut
 * by the network.
 */
import type { Duplex } from 'node:stream'
import { countBy, type Metrics } from '../core/metrics.ts'
import type { Log } from '../core/ports.ts'
import type { Rejection, Ticket } from '../plugins/admission.ts'
import type { Connection } from '../plugins/connection.ts'
import type { Plugins } from '../plugins/index.ts'
import type { DisconnectReason } from '../topics/disconnects.ts'
import { CONNECT, connack, DISCONNECT, PINGREQ, PUBACK, PUBLISH, parseConnect, parseFilters, SUBSCRIBE, UNSUBSCRIBE } from '../topics/frames.ts'
import { limits } from '../topics/limits.ts'
import { isValidFilter } from '../topics/topic.ts'
import type { Engine, EngineClient } from './engine.ts'

/** fresh: before CONNECT. joining: CONNECT is being checked. ready: after CONNACK. */
type Stage = 'fresh' | 'joining' | 'ready' | 'closed'

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

/** A socket was accepted. Gives its guard, or undefined when it was refused and closed. */
export function accept(guards: Guards, stream: Duplex, address: string): Guard | undefined {
  stream.on('error', () => stream.destroy())
  const ticket = guards.plugins.admission.enter(address)
  if ('reason' in ticket) {
    countBy(guards.metrics.rejected, ticket.reason)
    if (ticket.returnCode !== 0) stream.write(connack(ticket.returnCode))
    stream.destroy()
    return undefined
  }
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
  guard.connectTimer = setTimeout(end, limits.connectTimeoutMs, guards, guard, 'connect_timeout')
  guards.byStream.set(stream, guard)
  guards.open.add(guard)
  stream.on('data', (chunk: Buffer) => onData(guards, guard, chunk))
  stream.once('close', () => onClose(guards, guard))
  return guard
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

function close(guards: Guards, guard: Guard): void {
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
  if (connection !== undefined) {
    connection.isOpen = false
    guards.plugins.closed(connection)
  }
  if (reason !== 'client_closed' && reason !== 'client_disconnect') {
    guards.log.info({ device: connection?.device, address: guard.ticket.address, reason }, 'connection ended')
  }
  client?.close()
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

// ---------------------------------------------------------------- CONNECT

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
  const frame = bytes.subarray(0, length)
  if (bytes[0] !== 0x10) end(guards, guard, 'malformed_packet')
  else void join(guards, guard, frame).catch(() => end(guards, guard, 'storage_unavailable'))
  return length
}

async function join(guards: Guards, guard: Guard, frame: Buffer): Promise<void> {
  const { plugins } = guards
  const connect = parseConnect(frame)
  if ('reason' in connect) return refuse(guards, guard, connect)
  if (guards.isDraining) return refuse(guards, guard, { returnCode: 3, reason: 'shutting_down' })
  const rejection = plugins.admission.judge(connect)
  if (rejection !== undefined) return refuse(guards, guard, rejection)
  const login = await plugins.login(connect)
  if (guard.stage !== 'joining') return
  if (login.who === 'refused') return refuse(guards, guard, login)
  let clientId = `observer/${connect.clientId}`
  if (login.who === 'device') {
    const limited = plugins.admission.judgeRate(connect.clientId)
    if (limited !== undefined) return refuse(guards, guard, limited)
    clientId = connect.clientId
    guard.connection = plugins.connect(login.principal, wireOf(guards, guard))
  }
  guard.isClean = connect.clean
  guard.clientId = clientId
  // The newer connection wins; what the older one has sent is worked off, its PUBACKs are true (B4).
  const older = guards.byClientId.get(clientId)
  if (older !== undefined) end(guards, older, 'takeover')
  guards.byClientId.set(clientId, guard)
  guard.client = guards.engine().adopt(guard.stream, Buffer.from(frame), clientId)
}

function refuse(guards: Guards, guard: Guard, rejection: Rejection): void {
  guard.reason ??= rejection.reason
  if (rejection.returnCode !== 0) guard.stream.write(connack(rejection.returnCode))
  // The CONNACK is to arrive: end, and destroy when it did or when the peer does not close.
  close(guards, guard)
  guard.stream.end()
  setTimeout(() => guard.stream.destroy(), 1_000).unref()
}

function wireOf(guards: Guards, guard: Guard): Connection['wire'] {
  const { stream } = guard
  return {
    write(bytes, sent) {
      guards.metrics.socketBytesOut += bytes.length
      stream.write(bytes, sent)
    },
    bufferedBytes: () => stream.writableLength,
    pauseReading() {
      stream.pause()
      guard.client?.suspend()
    },
    resumeReading() {
      guard.client?.touch()
      stream.resume()
    },
    end: (reason) => end(guards, guard, reason),
  }
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
  metrics.connectionsMax = Math.max(metrics.connectionsMax, metrics.connections)
  if (guard.connection !== undefined) {
    plugins.ready(guard.connection, guard.isClean).catch((error: Error) => {
      guards.log.error({ device: guard.connection?.device, error: error.message }, 'a connection could not be opened')
      end(guards, guard, 'storage_unavailable')
    })
  }
  if (guard.partBytes === 0) return
  const early = Buffer.concat(guard.parts, guard.partBytes)
  guard.parts = []
  guard.partBytes = 0
  onData(guards, guard, early)
}

// ---------------------------------------------------------------- after CONNECT

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

/** Everything that is neither PUBLISH nor PUBACK: rare, checked strictly, then aedes' business. */
function control(guards: Guards, guard: Guard, first: number, frame: Buffer): void {
  guards.metrics.controlsIn++
  const now = guards.now()
  if (now - guard.controlSinceMs > 10_000) {
    guard.controlSinceMs = now
    guard.controlCount = 0
  }
  if (++guard.controlCount > limits.controlPacketsPer10SMax) return end(guards, guard, 'flood')
  const type = first >> 4
  if (type === CONNECT) return end(guards, guard, 'second_connect')
  if (type === SUBSCRIBE || type === UNSUBSCRIBE) return onFilters(guards, guard, type, first, frame)
  const isEmpty = frame.length === 2 && (first & 15) === 0
  if (type === PINGREQ && isEmpty) return guard.client?.parse(frame)
  if (type === DISCONNECT && isEmpty) {
    guard.reason ??= 'client_disconnect'
    guard.client?.parse(frame)
    return end(guards, guard, 'client_disconnect')
  }
  // An observer's PUBACK for retained packets that were sent with QoS 0 does not exist; it publishes nothing either.
  if (type === PUBLISH) return end(guards, guard, 'foreign_topic')
  if (type === PUBACK && guard.connection === undefined && frame.length === 4) return
  end(guards, guard, 'malformed_packet')
}

function onFilters(guards: Guards, guard: Guard, type: number, first: number, frame: Buffer): void {
  const filters = (first & 15) === 2 ? parseFilters(frame, type === SUBSCRIBE) : undefined
  if (filters === undefined) return end(guards, guard, 'malformed_packet')
  if (filters.length > limits.filtersPerSubscribeMax || !filters.every(({ topic }) => isValidFilter(topic))) {
    return end(guards, guard, 'bad_subscribe')
  }
  // QoS 2 is granted as 1 (B1): aedes answers with what it reads.
  const copy = Buffer.from(frame)
  for (const { qos, qosAt } of filters) if (qos === 2) copy[qosAt] = 1
  guard.client?.parse(copy)
}
