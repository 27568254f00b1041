/**
 * A real Redis for a test: the one of REDIS_URL, under a prefix of its own, or a server of its own that may be killed
 * and set differently. Also a proxy that loses answers.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { type OpenedRedis, openRedis, type RedisOptions } from '../../adapters/redis/index.ts'
import type { Envelope } from '../../core/envelope.ts'
import type { Entry } from '../../core/ports.ts'

/** The server that most tests share. */
export function redisUrl(): string {
  const url = process.env['REDIS_URL']
  if (url === undefined) throw new Error('REDIS_URL is not set: start a Redis with appendonly yes, appendfsync always')
  return url
}

export async function connectPlain(url: string): Promise<Redis> {
  const redis = new Redis(url, { lazyConnect: true, retryStrategy: () => 20, maxRetriesPerRequest: null })
  redis.on('error', () => undefined)
  await redis.connect()
  return redis
}

export interface Scene {
  readonly url: string
  readonly prefix: string
  /** A connection beside those of the nodes. */
  readonly redis: Redis
  /** What the nodes have warned of. */
  readonly warnings: string[]
  /** One more node of the same deployment. */
  node(options?: RedisOptions, url?: string): Promise<OpenedRedis>
  /** Closes the nodes and removes their keys. */
  close(): Promise<void>
}

let scenes = 0

export async function openScene(url = redisUrl()): Promise<Scene> {
  const prefix = `test-${process.pid}-${Date.now()}-${++scenes}:`
  const redis = await connectPlain(url)
  const nodes: OpenedRedis[] = []
  const warnings: string[] = []
  return {
    url,
    prefix,
    redis,
    warnings,
    async node(options = {}, at = url) {
      const node = await openRedis(at, Date.now, (text) => warnings.push(text), { prefix, ...options })
      nodes.push(node)
      return node
    },
    async close() {
      for (const node of nodes) node.close()
      for await (const keys of redis.scanStream({ match: `${prefix}*`, count: 1_000 })) {
        if (keys.length > 0) await redis.unlink(keys)
      }
      redis.disconnect()
    },
  }
}

export interface OwnRedis {
  readonly url: string
  /** SIGSTOP: what it is sent waits in the kernel. */
  pause(): void
  resume(): void
  kill(): Promise<void>
  /** Of one that was killed: its append-only file ends in the middle of its last EXEC, as if the write was cut short. */
  tear(): void
  /** On the same port, with what the folder holds. */
  start(): Promise<void>
  stop(): Promise<void>
}

/**
 * A server of the test's own (`program`, REDIS_SERVER: another than redis-server); `settings` are those of redis.conf, on
 * top of what the promise needs.
 */
export async function startOwnRedis(
  settings: Record<string, string> = {},
  program = process.env['REDIS_SERVER'] ?? 'redis-server',
): Promise<OwnRedis> {
  const folder = mkdtempSync(join(tmpdir(), 'heliograph-redis-'))
  const port = await freePort()
  const url = `redis://127.0.0.1:${port}`
  const all = { port: `${port}`, bind: '127.0.0.1', dir: folder, save: '', appendonly: 'yes', appendfsync: 'always' }
  const args = Object.entries({ ...all, ...settings }).flatMap(([name, value]) => [`--${name}`, value])
  let child: ChildProcess | undefined
  const endWithUs = (): void => void child?.kill('SIGKILL')
  process.once('exit', endWithUs)
  const own: OwnRedis = {
    url,
    async start() {
      child = spawn(program, args, { stdio: 'ignore' })
      await once(child, 'spawn')
      const redis = new Redis(url, { retryStrategy: () => 20, maxRetriesPerRequest: null })
      redis.on('error', () => undefined)
      await redis.ping()
      redis.disconnect()
    },
    pause: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
    async kill() {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    },
    tear() {
      const place = join(folder, 'appendonlydir')
      const numberOf = (name: string) => Number(/\.(\d+)\.incr/.exec(name)?.[1] ?? 0)
      const name = readdirSync(place).reduce((last, each) => (numberOf(each) > numberOf(last) ? each : last))
      const at = readFileSync(join(place, name)).lastIndexOf('EXEC')
      if (at < 0) throw new Error(`no transaction is in ${name}`)
      truncateSync(join(place, name), at + 2)
    },
    async stop() {
      await own.kill()
      process.removeListener('exit', endWithUs)
      rmSync(folder, { recursive: true, force: true })
    },
  }
  await own.start()
  return own
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

export type Loss = 'cut' | 'mute' | 'drop'

export interface LossyProxy {
  readonly url: string
  /** How many answers were lost. */
  lost(): number
  /**
   * The answer to the next bytes that hold `marker` does not come: the server has them, and the connection ends
   * (`cut`) or stays silent (`mute`); or it ends before the server has them (`drop`).
   */
  loseAnswerTo(marker: string, how: Loss): void
  close(): Promise<void>
}

export async function startProxy(to: string): Promise<LossyProxy> {
  const target = new URL(to)
  const sockets = new Set<Socket>()
  let marker: string | undefined
  let how: Loss = 'cut'
  let lost = 0
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname)
    let isMuted = false
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    client.on('data', (bytes) => {
      if (marker !== undefined && bytes.includes(marker)) {
        marker = undefined
        isMuted = true
        if (how === 'drop') {
          lost++
          client.destroy()
          return
        }
      }
      upstream.write(bytes)
    })
    upstream.on('data', (bytes) => {
      if (!isMuted) return void client.write(bytes)
      lost++
      if (how === 'cut') client.destroy()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    lost: () => lost,
    loseAnswerTo(text, manner) {
      marker = text
      how = manner
    },
    async close() {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    },
  }
}

/** Resolves when `holds` does. */
export async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 15_000
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`it did not come to pass: ${what}`)
    await wait(10)
  }
}

/** All entries behind the done cursor. */
export async function allEntries(node: OpenedRedis, shard = 0): Promise<Entry[]> {
  return node.entries.read(shard, 1_000_000)
}

/** The bodies of an envelope as text. */
export const bodyText = ({ source, bodies }: Envelope): string =>
  bodies.map(({ start, end }) => Buffer.from(source.subarray(start, end)).toString()).join()

/** What waits in a shard, in its order. */
export async function allTexts(node: OpenedRedis, shard = 0): Promise<string[]> {
  return (await allEntries(node, shard)).flatMap(({ envelopes }) => envelopes.map(bodyText))
}
