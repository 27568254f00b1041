/**
 * aedes, wrapped: the protocol engine for CONNECT, keepalive, SUBSCRIBE, UNSUBSCRIBE, PING and retained operator
 * topics. It is given packets, not bytes, and no will: admission judged that. The only file that imports it at run
 * time, and the only one that touches its private parts: `_parser`, `_nextBatch`, `_parsingBatch`, `_keepaliveTimer`,
 * `_keepaliveInterval`. Whoever raises its version reads their changes first.
 */
import { randomUUID } from 'node:crypto'
import { createRequire } from 'node:module'
import type { Duplex } from 'node:stream'
import { Aedes, type AedesOptions, type AedesPublishPacket, type Client } from 'aedes'
import mqemitter from 'mqemitter'
import type { Connect } from '../topics/frames.ts'
import { limits } from '../topics/limits.ts'
import { createSessions, type SessionRules } from './sessions.ts'

const require = createRequire(import.meta.url)
// 65,536 cached Buffers for two-byte numbers that the hot path writes by hand.
require('mqtt-packet').writeToStream.cacheNumbers = false

/** aedes' client with the private parts that the guard leans on. */
interface PrivateClient extends Client {
  _parser: { emit(event: 'packet', packet: object): void; _list: unknown }
  _nextBatch: (error?: Error) => void
  _parsingBatch: number
  _keepaliveTimer: NodeJS.Timeout | null
  _keepaliveInterval: number
}

/** Packets after CONNECT as aedes takes them from its parser. */
export type ControlPacket =
  | { cmd: 'subscribe'; messageId: number; subscriptions: { topic: string; qos: number }[] }
  | { cmd: 'unsubscribe'; messageId: number; unsubscriptions: string[] }
  | { cmd: 'pingreq' }
  | { cmd: 'disconnect' }

/** What the rest of broker/ may do with aedes' side of a connection. */
export interface EngineClient {
  /** A packet that the guard has read. */
  take(packet: ControlPacket): void
  /** aedes only sees the packets it is given: its keepalive timer is re-armed by hand. */
  touch(): void
  /** Stops the keepalive timer while the server itself does not read (A6). */
  suspend(): void
  /** The server reads again: a whole keepalive begins. */
  resume(): void
  close(): void
}

export interface EngineHooks extends SessionRules {
  /** CONNACK is sent; frames may follow. */
  ready(stream: Duplex): void
  /** SUBACK was written. */
  subscribed(stream: Duplex, filters: readonly string[]): void
  unsubscribed(stream: Duplex, filters: readonly string[]): void
  authorizeSubscribe(stream: Duplex, filter: string, qos: number): boolean
  authorizeForward(stream: Duplex, topic: string): boolean
  failed(stream: Duplex, error: Error): void
}

export interface Engine {
  /** Hands a stream over, whose CONNECT was read and judged. `clientId` replaces the one in it. */
  adopt(stream: Duplex, connect: Connect, clientId: string): EngineClient
  /** Publishes a retained operator topic. */
  retain(topic: string, payload: string): void
  close(): Promise<void>
}

const streamOf = (client: Client): Duplex => client.conn as unknown as Duplex

export async function createEngine(hooks: EngineHooks): Promise<Engine> {
  const { persistence, isOperatorTopic } = createSessions(hooks)
  const adopted = new WeakSet<Duplex>()
  const options: AedesOptions = {
    // Fresh at every boot: a fixed one lets a restarted broker overwrite what an earlier one stored.
    id: `heliograph-${randomUUID()}`,
    concurrency: 0,
    mq: mqemitter({ concurrency: 0, matchEmptyLevels: true }),
    persistence,
    connectTimeout: limits.connectTimeoutMs,
    // How long a full socket is waited for; SIGTERM has nothing to do with it.
    drainTimeout: limits.drainTimeoutMs,
    queueLimit: 8,
    keepaliveLimit: limits.keepaliveSMax,
    // The guard has checked the token before aedes saw the stream.
    authenticate: (client, _user, _password, done) => done(null, adopted.has(streamOf(client))),
    // The guard takes every PUBLISH, and of a will only that there is one matters (workers/presence).
    authorizePublish: (_client, _packet, done) => done(new Error('nobody publishes through aedes')),
    authorizeSubscribe(client, subscription, done) {
      const isAllowed = hooks.authorizeSubscribe(streamOf(client), subscription.topic, subscription.qos)
      done(null, isAllowed ? subscription : null)
    },
    authorizeForward: (client, packet) =>
      hooks.authorizeForward(streamOf(client), packet.topic) ? (packet as AedesPublishPacket) : null,
  }
  const broker = await Aedes.createBroker({ ...options, maxTopicLevels: limits.topicLevelsMax } as AedesOptions)

  keepQuiet(broker, hooks, isOperatorTopic)
  listen(broker, hooks)
  return {
    adopt(stream, connect, clientId) {
      adopted.add(stream)
      const client = broker.handle(stream as never) as unknown as PrivateClient
      // The guard reads and frames the bytes; aedes gets packets. Its parser's buffer would be a stream per connection.
      stream.removeListener('readable', client._nextBatch)
      client._nextBatch = (error) => void (error && client.emit('error', error))
      client._parsingBatch = 0
      client._parser._list = undefined
      const { clean, keepaliveS: keepalive } = connect
      client._parser.emit('packet', { cmd: 'connect', protocolVersion: 4, clientId, clean, keepalive })
      return engineClient(client)
    },
    retain(topic, payload) {
      broker.publish(
        { cmd: 'publish', topic, payload: Buffer.from(payload), qos: 0, retain: true, dup: false },
        () => undefined,
      )
    },
    close: () => new Promise((resolve) => broker.close(resolve)),
  }
}

/** Takes away what aedes does by itself and must not do here. */
function keepQuiet(broker: Aedes, hooks: EngineHooks, isOperatorTopic: (topic: string) => boolean): void {
  // aedes tells everybody's business on `$SYS/<id>/…`; only our own operator topics are published.
  const publish = broker.publish.bind(broker)
  broker.publish = ((packet: AedesPublishPacket, client: unknown, done?: (error?: Error) => void) => {
    const callback = (typeof client === 'function' ? client : done) as ((error?: Error) => void) | undefined
    if (isOperatorTopic(packet.topic)) publish(packet, (error) => callback?.(error))
    else callback?.()
  }) as typeof broker.publish
  // An inbox needs no trie: its subscription is one flag.
  const subscribe = broker.subscribe.bind(broker)
  const unsubscribe = broker.unsubscribe.bind(broker)
  broker.subscribe = (topic, deliver, done) => (hooks.isInboxFilter(topic) ? done?.() : subscribe(topic, deliver, done))
  broker.unsubscribe = (topic, deliver, done) =>
    hooks.isInboxFilter(topic) ? done?.() : unsubscribe(topic, deliver, done)
}

function listen(broker: Aedes, hooks: EngineHooks): void {
  broker.on('clientReady', (client) => hooks.ready(streamOf(client)))
  broker.on('subscribe', (subscriptions, client) => {
    const granted = subscriptions.filter((subscription) => (subscription.qos as number) !== 128)
    hooks.subscribed(
      streamOf(client),
      granted.map((subscription) => subscription.topic),
    )
  })
  broker.on('unsubscribe', (filters, client) => hooks.unsubscribed(streamOf(client), filters))
  broker.on('clientError', (client, error) => hooks.failed(streamOf(client), error))
  broker.on('connectionError', (client, error) => hooks.failed(streamOf(client), error))
}

function engineClient(client: PrivateClient): EngineClient {
  return {
    take: (packet) => client._parser.emit('packet', packet),
    touch() {
      if (client._keepaliveInterval > 0) client._keepaliveTimer?.refresh()
    },
    suspend() {
      if (client._keepaliveTimer !== null) clearTimeout(client._keepaliveTimer)
    },
    resume() {
      // A cleared timer cannot be refreshed: aedes' own is made again. Its interval is -1 once the client is closed.
      if (client._keepaliveInterval <= 0) return
      const onTimeout = () => client.emit('error', new Error('keep alive timeout'))
      client._keepaliveTimer = setTimeout(onTimeout, client._keepaliveInterval)
    },
    close: () => client.close(),
  }
}
