/**
 * One MQTT connection of a device, over mqtt.js: connects, subscribes to the inbox and carries bytes until it ends. It
 * has an MqttClient of its own, so none of mqtt.js' stores and queues meets another connection.
 *
 * A delivery is acknowledged when the caller has committed it, not when it came (DATA-PLANE B3): mqtt.js sends PUBACK
 * only when `handleMessage` calls back without an error, and goes on with the next packet either way, so it is given
 * an error always, and the PUBACKs are written here, many in one write. PUBLISHes are written here too: mqtt.js would
 * clone and store each one for a resend that never comes. test/client/mqtt-connection.test.ts holds mqtt.js to it.
 */
import mqtt, { type IPublishPacket, type MqttClient, type Packet } from 'mqtt'
import { publishQos0 } from '../../topics/frames.ts'
import { limits } from '../../topics/limits.ts'
import { inboxFilterOf, inboxTopicOf, topicOf } from '../../topics/topic.ts'
import { ClientFault } from '../faults.ts'
import { type Ack, pubackFrames, publishFrame } from './mqtt-frames.ts'

/** Why there is no connection. */
export type EndReason =
  /** It was there and ended. */
  | 'closed'
  /** There was none: no address, no answer, no TLS. */
  | 'unreachable'
  /** Nothing was heard in time. */
  | 'timeout'
  /** The server cannot take it now, or not the subscription. */
  | 'refused'
  /** The server does not know the device or its token. */
  | 'unauthorized'
  /** Again and again it ended soon after it was there: somebody else connects as this device. */
  | 'taken_over'

export interface Cause {
  readonly reason: EndReason
  /** For people. */
  readonly text: string
}

export interface ConnectionSettings {
  readonly url: string
  readonly device: string
  readonly token: string
  readonly keepaliveS: number
  /** Of this connection: every one has another. */
  readonly number: number
}

export interface ConnectionHandlers {
  onOnline(): void
  onDelivery(payload: Uint8Array, ack: Ack, isRepeat: boolean): void
  onPuback(stamp: number): void
  onNow(payload: Uint8Array): void
  /** Once, and the last one. `onlineMs` undefined: it never was. */
  onEnd(cause: Cause, onlineMs: number | undefined): void
}

export interface MqttConnection {
  isOnline(): boolean
  publish(payload: Uint8Array, stamp: number): void
  publishNow(payload: Uint8Array): void
  acknowledge(acks: readonly Ack[]): void
  /** No callback comes any more. Resolves when the socket is gone. */
  end(): Promise<void>
  /** No callback comes any more. */
  destroy(): void
}

/** From the first byte to the subscribed inbox. */
const ONLINE_TIMEOUT_MS = 10_000
const END_TIMEOUT_MS = 2_000
/** The outbox keeps clientPublishesMax in flight; this only keeps packet ids from meeting. */
const IN_FLIGHT_MAX = 1_024
const PACKET_ID_MAX = 65_535
/** Bytes that may come without being a whole packet: some of the longest frames, since sockets read ahead. */
const UNREAD_BYTES_MAX = 8 * limits.frameBytesMax
const HELD = new Error('held')

const CONNACK_TEXTS: Record<number, string> = {
  3: 'The server cannot take connections now.',
  4: 'The server does not know this device or its token; register or link it again.',
  5: 'The server does not let this device in; register or link it again, or wait some minutes.',
}

interface Connection {
  readonly settings: ConnectionSettings
  /** Undefined: nobody wants to hear of it any more. */
  handlers: ConnectionHandlers | undefined
  readonly client: MqttClient
  readonly topics: { readonly in: string; readonly live: string; readonly out: Uint8Array; readonly now: Uint8Array }
  /** Packet id → stamp of what was published and has no PUBACK. */
  readonly inFlight: Map<number, number>
  readonly deadline: NodeJS.Timeout
  readonly ids: { last: number }
  onlineAtMs: number | undefined
  isCorked: boolean
  /** Bytes since the last whole packet. */
  unreadBytes: number
  cause: Cause | undefined
}

function connectMqtt(settings: ConnectionSettings, ids: { last: number }): MqttClient {
  const { url, device, token, keepaliveS } = settings
  return mqtt.connect(url, {
    clientId: device,
    username: device,
    password: token,
    clean: false,
    keepalive: keepaliveS,
    protocolVersion: 4,
    reconnectPeriod: 0,
    resubscribe: false,
    queueQoSZero: false,
    // The deadline here covers the subscription too and comes first.
    connectTimeout: 2 * ONLINE_TIMEOUT_MS,
    // The id of SUBSCRIBE and those of what is published here come from one counter.
    messageIdProvider: {
      allocate: () => ++ids.last,
      getLastAllocated: () => ids.last,
      register: () => true,
      deallocate: () => undefined,
      clear: () => undefined,
    },
    // Ciphertext does not get smaller.
    wsOptions: { perMessageDeflate: false },
  })
}

function breakOff(connection: Connection, reason: EndReason, text: string): void {
  connection.cause ??= { reason, text }
  connection.client.stream.destroy()
}

/** Begins to connect. */
export function openConnection(settings: ConnectionSettings, handlers: ConnectionHandlers): MqttConnection {
  const { device } = settings
  const ids = { last: 0 }
  const client = connectMqtt(settings, ids)
  const late = () => breakOff(connection, 'timeout', 'The server did not answer in time.')
  const connection: Connection = {
    settings,
    handlers,
    client,
    topics: {
      in: inboxTopicOf(device),
      live: topicOf('live', { device }),
      out: Buffer.from(topicOf('out', { device })),
      now: Buffer.from(topicOf('now', { device })),
    },
    inFlight: new Map(),
    deadline: setTimeout(late, ONLINE_TIMEOUT_MS),
    ids,
    onlineAtMs: undefined,
    isCorked: false,
    unreadBytes: 0,
    cause: undefined,
  }
  listen(connection)
  const forget = () => {
    connection.handlers = undefined
    clearTimeout(connection.deadline)
  }
  return {
    isOnline: () => connection.onlineAtMs !== undefined && connection.cause === undefined,
    publish: (payload, stamp) => publish(connection, payload, stamp),
    publishNow(payload) {
      if (payload.length > limits.nowBytesMax) throw new ClientFault('too_large')
      write(connection, publishQos0(connection.topics.now, payload))
    },
    acknowledge: (acks) => acknowledge(connection, acks),
    end() {
      forget()
      return end(connection)
    },
    destroy() {
      forget()
      client.stream.destroy()
    },
  }
}

function listen(connection: Connection): void {
  const { client } = connection
  client.handleMessage = (packet, next) => {
    deliver(connection, packet)
    next(HELD)
  }
  client.on('packetreceive', (packet: Packet) => {
    connection.unreadBytes = 0
    if (packet.cmd === 'puback') resolvePuback(connection, packet.messageId ?? 0)
  })
  client.stream.on('data', (chunk: Uint8Array) => {
    connection.unreadBytes += chunk.length
    if (connection.unreadBytes > UNREAD_BYTES_MAX) breakOff(connection, 'closed', 'The server sent too long a packet.')
  })
  client.on('connect', ({ sessionPresent }) => {
    if (sessionPresent) goOnline(connection)
    else subscribe(connection)
  })
  client.on('error', (error) => noteError(connection, error))
  client.on('close', () => {
    clearTimeout(connection.deadline)
    const { handlers, onlineAtMs } = connection
    connection.handlers = undefined
    handlers?.onEnd(causeOf(connection), onlineAtMs === undefined ? undefined : performance.now() - onlineAtMs)
  })
}

function subscribe(connection: Connection): void {
  const { client, settings } = connection
  client.subscribe(inboxFilterOf(settings.device, 'person'), { qos: 1 }, (error) => {
    if (error === null) goOnline(connection)
    else breakOff(connection, 'refused', `The server does not let the inbox be read (${error.message}).`)
  })
}

function goOnline(connection: Connection): void {
  if (connection.onlineAtMs !== undefined || connection.cause !== undefined) return
  clearTimeout(connection.deadline)
  connection.onlineAtMs = performance.now()
  connection.handlers?.onOnline()
}

function deliver(connection: Connection, packet: IPublishPacket): void {
  const { topic, qos, dup, messageId = 0 } = packet
  const payload = packet.payload as Buffer
  if (topic === connection.topics.in && qos < 2) {
    // Deliveries come to who has subscribed: they may be here before mqtt.js tells of CONNACK or SUBACK.
    goOnline(connection)
    const ack = { connection: connection.settings.number, packetId: qos === 0 ? 0 : messageId }
    connection.handlers?.onDelivery(payload, ack, dup)
  } else if (topic === connection.topics.live && qos === 0 && connection.onlineAtMs !== undefined) {
    connection.handlers?.onNow(payload)
  }
}

function resolvePuback(connection: Connection, packetId: number): void {
  const stamp = connection.inFlight.get(packetId)
  if (stamp === undefined) return
  connection.inFlight.delete(packetId)
  connection.handlers?.onPuback(stamp)
}

/** The first error says why the connection ends, which it does also when mqtt.js would go on. */
function noteError(connection: Connection, error: Error & { code?: unknown }): void {
  const { code } = error
  const text = error.message === '' ? String(code) : error.message
  if (code === 4 || code === 5) breakOff(connection, 'unauthorized', CONNACK_TEXTS[code] as string)
  else if (typeof code === 'number') breakOff(connection, 'refused', CONNACK_TEXTS[code] ?? text)
  else if (text === 'Keepalive timeout') breakOff(connection, 'timeout', 'The server has gone silent.')
  else {
    const reason = connection.onlineAtMs === undefined ? 'unreachable' : 'closed'
    breakOff(connection, reason, `The connection failed (${text}).`)
  }
}

function causeOf({ cause, onlineAtMs }: Connection): Cause {
  if (cause !== undefined) return cause
  if (onlineAtMs !== undefined) return { reason: 'closed', text: 'The server closed the connection.' }
  return { reason: 'unreachable', text: 'The server closed the connection before it answered.' }
}

/** Whatever is written in one turn of the event loop leaves in one write. */
function write(connection: Connection, bytes: Uint8Array): void {
  const { stream } = connection.client
  if (!connection.isCorked) {
    connection.isCorked = true
    stream.cork()
    process.nextTick(() => {
      connection.isCorked = false
      stream.uncork()
    })
  }
  stream.write(bytes)
}

function publish(connection: Connection, payload: Uint8Array, stamp: number): void {
  const { inFlight, ids, topics } = connection
  if (payload.length > limits.envelopeBytesMax) throw new ClientFault('too_large')
  if (inFlight.size >= IN_FLIGHT_MAX) throw new ClientFault('outbox_full')
  do ids.last = (ids.last % PACKET_ID_MAX) + 1
  while (inFlight.has(ids.last))
  inFlight.set(ids.last, stamp)
  write(connection, publishFrame(topics.out, ids.last, payload))
}

function acknowledge({ settings, client }: Connection, acks: readonly Ack[]): void {
  const bytes = pubackFrames(acks.filter(({ connection }) => connection === settings.number))
  if (bytes.length > 0) client.stream.write(bytes)
}

function end({ client, onlineAtMs }: Connection): Promise<void> {
  return new Promise((resolve) => {
    const late = setTimeout(() => client.stream.destroy(), END_TIMEOUT_MS)
    client.once('close', () => {
      clearTimeout(late)
      resolve()
    })
    if (onlineAtMs === undefined) client.stream.destroy()
    else client.end()
  })
}
