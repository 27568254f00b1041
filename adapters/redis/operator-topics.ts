/**
 * Operators' topics of all nodes (D6): kept by aedes-persistence-redis, told by mqemitter-redis, and nothing else goes
 * over them. This node answers from what it knows; Redis is only read in the background, by a stream that ends where
 * it would fail. So a Redis that is away ends no process and holds no CONNECT or SUBSCRIBE. A message that was lost is
 * made up for by the next read. Bounded: topics, their bytes, and how long those of a node that is gone are kept.
 */
import { createRequire } from 'node:module'
import { Redis, type RedisOptions } from 'ioredis'
import type { Clock } from '../../core/ports.ts'
import { limits } from '../../topics/limits.ts'
import { isSharedTopic, SHARED_FILTER } from '../../topics/topic.ts'
import type { OperatorTopics } from '../opened.ts'
import { connectionLimits, retryMs } from './connection.ts'

const READ_EVERY_MS = 10_000
/** A topic that nobody has published for so long belongs to a node that is gone. */
const KEPT_MS = 86_400_000
const TOPICS_MAX = 1_000
/** No topic that is published has a wildcard. */
const UNPUBLISHABLE = /[#+\0]/

interface Packet {
  readonly cmd: 'publish'
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0
  readonly retain: true
  readonly dup: false
  /** The process that published it, and when. */
  readonly node: string
  readonly atMs: number
}

/** What is used of the two libraries; the first has no types. */
interface Persistence {
  storeRetained(packet: Packet): Promise<void>
  createRetainedStreamCombi(filters: readonly string[]): AsyncIterable<Packet>
}
interface Emitter {
  readonly state: { on(event: 'error', listener: () => void): void }
  on(filter: string, listener: (packet: Packet, done: () => void) => void): void
  emit(packet: Packet, done: () => void): void
}
const require = createRequire(import.meta.url)
const RedisPersistence = require('aedes-persistence-redis/asyncPersistence.js') as new (options: {
  conn: Redis
}) => Persistence
const { MQEmitterRedisPrefix } = require('mqemitter-redis') as {
  MQEmitterRedisPrefix: new (prefix: string, options: object) => Emitter
}

function connect(url: string, options: RedisOptions): Redis {
  const redis = new Redis(url, {
    connectTimeout: connectionLimits.connectTimeoutMs,
    retryStrategy: (attempt) => retryMs(attempt, connectionLimits),
    noDelay: true,
    ...options,
  })
  // Whoever is away is told of by the links of this adapter.
  redis.on('error', () => undefined)
  return redis
}

/** Nothing queues for a server that is away, and every command has an end. */
const FAST: RedisOptions = {
  commandTimeout: connectionLimits.commandTimeoutMs,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
}
/** It has nothing to do but to listen, from whenever it is connected. */
const PATIENT: RedisOptions = { maxRetriesPerRequest: null }

/**
 * Whoever may publish in this Redis may send anything. What the library cannot read makes its listener throw, which
 * would end the process: it is left out.
 */
function leaveOutUnreadable(subConn: Redis): void {
  for (const event of ['messageBuffer', 'pmessageBuffer']) {
    for (const listener of subConn.listeners(event)) {
      subConn.off(event, listener as () => void)
      subConn.on(event, (...message: unknown[]) => {
        try {
          listener.apply(subConn, message)
        } catch {
          // The next one is read as if it had not come.
        }
      })
    }
  }
}

/** What was read has the shape of another node's; nothing else is looked at. */
function isPacket(found: Partial<Packet> | undefined): found is Packet {
  const { topic, payload, node, atMs } = found ?? {}
  const isNamed = typeof topic === 'string' && isSharedTopic(topic) && !UNPUBLISHABLE.test(topic)
  return isNamed && Buffer.isBuffer(payload) && typeof node === 'string' && Number.isFinite(atMs)
}

/** What others publish: this node's copy, told on where it changed. */
function createCopy(node: string, now: Clock, onTopic: (topic: string, payload: string) => void) {
  const known = new Map<string, string>()
  return {
    take(found: Partial<Packet> | undefined): void {
      if (!isPacket(found)) return
      const { topic, payload, node: from, atMs } = found
      if (from === node || payload.length > limits.operatorBytesMax) return
      const text = payload.toString()
      if (known.get(topic) === text || (!known.has(topic) && known.size >= TOPICS_MAX)) return
      if (now() - atMs > KEPT_MS) return
      known.set(topic, text)
      onTopic(topic, text)
    },
    /** All that there are now: the others are gone. */
    keepOnly(topics: ReadonlySet<string>): void {
      for (const topic of known.keys()) {
        if (topics.has(topic)) continue
        known.delete(topic)
        onTopic(topic, '')
      }
    },
  }
}

/** `node`: name of this process that no other one has. Connects in the background. */
export function openOperatorTopics(url: string, prefix: string, node: string, now: Clock): OperatorTopics {
  const conn = connect(url, { ...FAST, keyPrefix: `${prefix}ops:` })
  const pubConn = connect(url, FAST)
  const subConn = connect(url, PATIENT)
  const persistence = new RedisPersistence({ conn })
  const emitter = new MQEmitterRedisPrefix(prefix, { subConn, pubConn })
  leaveOutUnreadable(subConn)
  emitter.state.on('error', () => undefined)
  /** What this node has published: stored again when Redis is back. */
  const own = new Map<string, string>()
  let copy: ReturnType<typeof createCopy> | undefined
  let isReading = false

  const packetOf = (topic: string, text: string): Packet => {
    const payload = Buffer.from(text)
    return { cmd: 'publish', topic, payload, qos: 0, retain: true, dup: false, node, atMs: now() }
  }
  function store(topic: string, text: string): void {
    persistence.storeRetained(packetOf(topic, text)).catch(() => undefined)
  }

  async function readAll(): Promise<void> {
    const seen = new Set<string>()
    try {
      for await (const packet of persistence.createRetainedStreamCombi([SHARED_FILTER])) {
        if (now() - packet.atMs > KEPT_MS) store(packet.topic, '')
        else if (seen.add(packet.topic)) copy?.take(packet)
      }
    } catch {
      // It ends where it fails: what was read stands, and the next one reads the rest.
      return
    }
    copy?.keepOnly(seen)
  }
  function read(): void {
    if (isReading) return
    isReading = true
    void readAll().finally(() => {
      isReading = false
    })
  }
  conn.on('ready', () => {
    for (const [topic, text] of own) store(topic, text)
    read()
  })
  const timer = setInterval(read, READ_EVERY_MS)
  timer.unref()

  return {
    publish(topic, payload) {
      if (!isSharedTopic(topic)) return
      own.set(topic, payload)
      store(topic, payload)
      emitter.emit(packetOf(topic, payload), () => undefined)
    },
    listen(onTopic) {
      copy = createCopy(node, now, onTopic)
      emitter.on(SHARED_FILTER, (packet, done) => {
        // In a turn of its own: a mistake of ours is not taken for something unreadable.
        setImmediate(() => copy?.take(packet))
        done()
      })
      read()
    },
    close() {
      clearInterval(timer)
      for (const each of [conn, pubConn, subConn]) each.disconnect()
    },
  }
}
