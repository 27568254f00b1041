/**
 * The cluster profile (DATA-PLANE.md, D): Redis takes in, remembers devices and wakes; workers write rows to Cassandra;
 * PostgreSQL knows the accounts. Any number of these processes share them.
 */
import { randomBytes } from 'node:crypto'
import type { Config, Secret } from '../core/config.ts'
import { createInboxView } from '../core/inbox-view.ts'
import { createLowWatermark } from '../core/low-watermark.ts'
import { type Clock, type Intake, type Log, ROW_FRAME, type Row } from '../core/ports.ts'
import { openTurns } from './bullmq/turns.ts'
import { openCassandra } from './cassandra/index.ts'
import { createConsoleSms } from './console/sms.ts'
import type { BreakerState, Opened } from './opened.ts'
import { openPostgres } from './postgres/index.ts'
import { openRedis } from './redis/index.ts'
import { openOperatorTopics } from './redis/operator-topics.ts'

const BOOT_BYTES = 6

const reveal = (secret: Secret | undefined): string => secret?.reveal() ?? ''

/** Wakes a device at once when its rows can be read, else as soon as they can; one waiting call for each device. */
function createWaker(watermark: ReturnType<typeof createLowWatermark>, wake: (device: string, seq: number) => void) {
  const wanted = new Map<string, number>()
  function look(device: string): void {
    watermark.onceReadable(wanted.get(device) ?? 0, () => {
      const seq = wanted.get(device) ?? 0
      wake(device, seq)
      // More came meanwhile: what could be read is on its way, the rest follows.
      if (seq > watermark.value()) look(device)
      else wanted.delete(device)
    })
  }
  return (device: string, seq: number): void => {
    const before = wanted.get(device)
    if (before === undefined && seq <= watermark.value()) return wake(device, seq)
    wanted.set(device, Math.max(before ?? 0, seq))
    if (before === undefined) look(device)
  }
}

type Close = () => unknown

/** The engines, each with how to close it; those that are open when one fails are closed by the caller. */
async function openEngines(config: Config, now: Clock, log: Log, onFatal: (error: Error) => void, closers: Close[]) {
  const warn = (text: string, facts: object = {}): void => log.warn(facts, text)
  const url = reveal(config.redisUrl)
  const { shards, redisPrefix: prefix } = config
  const heard: { wake: (device: string, seq: number) => void } = { wake: () => undefined }
  const node = `${config.nodeName}-${randomBytes(BOOT_BYTES).toString('hex')}`
  const redis = await openRedis(url, now, warn, {
    prefix,
    intake: { shards, shardBacklogMax: config.shardBacklogMax },
    node,
    onWake: (device, seq) => heard.wake(device, seq),
  })
  closers.push(() => redis.close())
  const database = await openPostgres(reveal(config.databaseUrl), {
    now,
    onNotice: warn,
    mayForget: config.databaseMayForget,
  })
  closers.push(() => database.close())
  const settings = {
    contactPoints: config.cassandraContactPoints.split(',').map((each) => each.trim()),
    localDataCenter: config.cassandraLocalDataCenter,
    keyspace: config.cassandraKeyspace,
    replication: config.cassandraReplicas === 1 ? 1 : 3,
    migrate: config.cassandraMigrate,
  } as const
  const cassandra = await openCassandra(settings, log, onFatal, undefined, now)
  closers.push(() => cassandra.close())
  const queue = openTurns({ url, prefix, shards }, log)
  closers.push(() => queue.close())
  const operatorTopics = openOperatorTopics(url, prefix, node, now)
  closers.push(() => operatorTopics.close())
  return { redis, database, cassandra, queue, operatorTopics, heard }
}

/** Stores that do not do what they are asked, each with its breaker; `isAway` also while that has not noticed. */
function missingOf(breakers: Readonly<Record<string, BreakerState>>, isAway: Readonly<Record<string, boolean>>) {
  return Object.entries(breakers)
    .filter(([what, breaker]) => breaker !== 'closed' || isAway[what] === true)
    .map(([what, breaker]) => ({ what, why: 'storage_unavailable', breaker }))
}

function openedOf(
  config: Config,
  now: Clock,
  log: Log,
  engines: Awaited<ReturnType<typeof openEngines>>,
  closers: Close[],
): Omit<Opened, 'close'> {
  const { redis, database, cassandra, queue, heard } = engines
  const watermark = createLowWatermark(redis.entries, config.shards)
  closers.push(() => watermark.stop())
  const view = createInboxView(cassandra.rows, redis.devices, watermark, log)
  closers.push(() => view.stop())
  heard.wake = createWaker(watermark, (device, seq) => {
    const kind = ROW_FRAME as Row['kind']
    const row = { device, seq, sub: 0, kind, peer: '', expiresMs: 0, source: undefined, start: 0, end: 0 }
    redis.claims.wake(device, row)
  })
  const intake: Intake = {
    ...redis.intake,
    async append(shard, batch) {
      await redis.intake.append(shard, batch)
      queue.turns.nudge(shard)
    },
  }
  const { codes, links, limiter, claims, wakes, entries, deadLetters } = redis
  const { accounts, keys, directory } = database
  const { rows, backlog } = cassandra
  const breakers = () => ({ redis: redis.breaker(), cassandra: cassandra.breaker(), ...database.breakers() })
  const shared = { accounts, keys, directory, codes, links, limiter, claims, intake, inbox: view.inbox, backlog }
  return {
    ports: { ...shared, sms: createConsoleSms(config.dataDir, now, log), now, log },
    storage: { entries, rows, wakes, deadLetters, turns: queue.turns, log },
    operatorTopics: engines.operatorTopics,
    pendingMarks: [],
    storeFacts: () => ({ ...redis.facts(), ...database.facts(), nudges: queue.nudges() }),
    breakers,
    missing: () => missingOf(breakers(), { redis: !redis.isUsable(), cassandra: cassandra.down() !== undefined }),
    promise: () => `${redis.promise}; ${cassandra.promise()}; ${database.promise}`,
  }
}

/** Opens everything, or nothing: rejects with a sentence that says what to do. */
export async function openCluster(
  config: Config,
  now: Clock,
  log: Log,
  onFatal: (error: Error) => void,
): Promise<Opened> {
  const closers: Close[] = []
  const close = async (): Promise<void> => {
    for (const each of closers.splice(0).reverse()) await each()
  }
  try {
    const engines = await openEngines(config, now, log, onFatal, closers)
    return { ...openedOf(config, now, log, engines, closers), close }
  } catch (error) {
    await close()
    throw error
  }
}
