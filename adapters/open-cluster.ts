/**
 * The cluster profile (DATA-PLANE.md, D): Redis takes in, remembers devices and wakes; workers write rows to Cassandra;
 * PostgreSQL knows the accounts. Any number of these processes share them.
 */
import { randomBytes } from 'node:crypto'
import type { Config, Secret } from '../core/config.ts'
import { createHearing } from '../core/hearing.ts'
import { createHeldRows } from '../core/held-rows.ts'
import { createInboxView } from '../core/inbox-view.ts'
import { createLowWatermark } from '../core/low-watermark.ts'
import { createNudges } from '../core/nudges.ts'
import type { Clock, Intake, Log } from '../core/ports.ts'
import { unknownRow } from '../core/row.ts'
import { seqToUnixMs } from '../topics/ids.ts'
import { createJobs } from './bullmq/jobs.ts'
import { openTurns } from './bullmq/turns.ts'
import { openCassandra } from './cassandra/index.ts'
import { createConsolePush } from './console/push.ts'
import { createConsoleSms } from './console/sms.ts'
import type { BreakerState, Opened } from './opened.ts'
import { openPostgres } from './postgres/index.ts'
import { type Hears, openRedis } from './redis/index.ts'
import { openOperatorTopics } from './redis/operator-topics.ts'

const BOOT_BYTES = 6

const reveal = (secret: Secret | undefined): string => secret?.reveal() ?? ''

type Close = () => unknown

/** Channels are heard in all databases of a server: names tell the deployments of two apart. */
function prefixOf({ redisUrl, redisPrefix }: Config): string {
  const database = Number(new URL(reveal(redisUrl)).pathname.slice(1))
  return database === 0 ? redisPrefix : `${redisPrefix}db${database}:`
}

/** The engines, each with how to close it; those that are open when one fails are closed by the caller. */
async function openEngines(config: Config, now: Clock, log: Log, onFatal: (error: Error) => void, closers: Close[]) {
  const warn = (text: string, facts: object = {}): void => log.warn(facts, text)
  const url = reveal(config.redisUrl)
  const { shards } = config
  const prefix = prefixOf(config)
  const heard: { -readonly [name in keyof Hears]: Hears[name] } = {
    onRows: () => undefined,
    onWatermark: () => undefined,
    onLost: () => undefined,
    onGap: () => undefined,
  }
  const node = `${config.nodeName}-${randomBytes(BOOT_BYTES).toString('hex')}`
  const redis = await openRedis(url, now, warn, {
    prefix,
    intake: { shards, shardBacklogMax: config.shardBacklogMax, replicasMin: config.redisReplicasMin },
    node,
    hears: {
      onRows: (rows) => heard.onRows(rows),
      onWatermark: (watermark) => heard.onWatermark(watermark),
      onLost: () => heard.onLost(),
      onGap: () => heard.onGap(),
    },
    // None but for who moves the clock of this process: codes and limits go by the server's otherwise.
    // In 10 ms: the two clocks are read one after the other.
    clockOffsetMs: () => Math.round((now() - Date.now()) / 10) * 10,
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
  const queue = openTurns({ url, prefix, shards })
  closers.push(() => queue.close())
  const jobs = createJobs({ url, prefix })
  closers.push(() => jobs.close())
  const operatorTopics = openOperatorTopics(url, prefix, node, now)
  closers.push(() => operatorTopics.close())
  return { redis, database, cassandra, queue, jobs, operatorTopics, heard }
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
  const { redis, database, cassandra, queue, jobs, heard } = engines
  const watermark = createLowWatermark(redis.entries)
  closers.push(() => watermark.stop())
  const view = createInboxView(cassandra.rows, redis.devices, watermark, log, (device) => {
    redis.claims.wake(device, unknownRow(device))
  })
  closers.push(() => view.stop())
  const { claims, wakes, entries, deadLetters, wakeAll, appendedSeq } = redis
  const held = createHeldRows()
  const hearing = createHearing({ held, watermark, claims, view, wakeAll, appendedSeq })
  closers.push(() => hearing.stop())
  Object.assign(heard, hearing)
  const nudges = createNudges(queue.turns, watermark)
  closers.push(() => nudges.stop())
  const intake: Intake = {
    ...redis.intake,
    async append(shard, batch) {
      await redis.intake.append(shard, batch)
      nudges.appended(
        shard,
        batch.reduce((highest, { seq }) => Math.max(highest, seq), 0),
      )
    },
  }
  const startedMs = now()
  /** How far what may be read is behind the clock; before a watermark is heard, since the start. */
  function ageS(): number {
    const atMs = watermark.value() === 0 ? startedMs : seqToUnixMs(watermark.value())
    return Math.max(0, now() - atMs) / 1_000
  }
  const { codes, links, limiter, counts, lost } = redis
  const { accounts, keys, directory } = database
  const { rows, backlog } = cassandra
  const breakers = () => ({ redis: redis.breaker(), cassandra: cassandra.breaker(), ...database.breakers() })
  const shared = { accounts, keys, directory, codes, links, limiter, claims, intake, inbox: view.inbox, backlog }
  return {
    ports: { ...shared, sms: createConsoleSms(config.dataDir, now, log), now, log },
    jobs,
    push: createConsolePush(log),
    storage: {
      ...{ entries, rows, wakes, lost, deadLetters, counts },
      ...{ turns: queue.turns, inboxRowsMax: config.inboxRowsMax, log },
    },
    operatorTopics: engines.operatorTopics,
    shareSecret: redis.shareSecret,
    pendingMarks: [],
    storeFacts: () => ({
      ...{ ...redis.facts(), ...database.facts(), nudges: queue.nudges(), ...jobs.facts() },
      watermarkAgeS: ageS(),
      ...{ heldRows: held.count(), devicesBehind: view.devicesBehind(), hearingLosses: hearing.losses() },
    }),
    backlogs: redis.backlogs,
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
