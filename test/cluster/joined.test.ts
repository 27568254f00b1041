/**
 * The conformance suites on the adapters of the cluster as they are joined: Redis takes in, turns write the rows to
 * Cassandra, and the inbox is read up to the watermark. Which suite runs on what: test/ports/README.md.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { type Cassandra, openCassandra } from '../../adapters/cassandra/index.ts'
import { type OpenedRedis, openRedis } from '../../adapters/redis/index.ts'
import { createInboxView, type InboxView } from '../../core/inbox-view.ts'
import { createLowWatermark, type LowWatermark } from '../../core/low-watermark.ts'
import type { Backlog, Claims, Inbox, Intake, Log } from '../../core/ports.ts'
import { takeTurn } from '../../workers/storage.ts'
import { backlogSuite } from '../ports/backlog.ts'
import { claimsSuite } from '../ports/claims.ts'
import { inboxSuite } from '../ports/inbox.ts'
import { intakeSuite } from '../ports/intake.ts'
import type { Bounds, Opening } from '../ports/opener.ts'
import { storeClock } from '../world/store-clock.ts'
import { freshKeyspace, rawClient, settingsFor } from './cassandra-scene.ts'
import { connectPlain, redisUrl } from './redis-scene.ts'

interface Given {
  readonly intake: Intake
  readonly inbox: Inbox
  readonly backlog: Backlog
  readonly claims: Claims
}

/** One process of the deployment, with its worker. */
interface Process {
  readonly ports: Given
  readonly redis: OpenedRedis
  readonly cassandra: Cassandra
  readonly watermark: LowWatermark
  readonly view: InboxView
}

const SHARDS = 8
const STOPPED_MS_MAX = 5_000
const quiet: Log = { info: () => undefined, warn: () => undefined, error: () => undefined }
const fatal = (error: Error): void => {
  throw error
}

/** Applies what was appended, as a worker does, before the caller goes on: the suites look for their rows at once. */
function applied({ redis, cassandra }: Pick<Process, 'redis' | 'cassandra'>, watermark: LowWatermark): Intake {
  const { intake, entries, wakes, deadLetters } = redis
  const storage = {
    entries,
    wakes,
    deadLetters,
    rows: cassandra.rows,
    log: quiet,
    written: () => undefined,
    bury: async () => undefined,
  }
  const turns = new Map<number, Promise<void>>()

  async function turn(shard: number): Promise<void> {
    while ((await entries.backlog(shard)) > 0) {
      let looks = 0
      await takeTurn(storage, shard, () => looks++ > 0)
    }
  }
  return {
    ...intake,
    async append(shard, batch) {
      await intake.append(shard, batch)
      // Those that were appended together share a turn; it begins behind the one that is under way.
      const before = turns.get(shard) ?? Promise.resolve()
      const mine = before.then(() => turn(shard))
      turns.set(shard, mine)
      await mine
      const last = Math.max(0, ...batch.map(({ seq }) => seq))
      await new Promise<void>((resolve) => watermark.onceReadable(last, resolve))
    },
  }
}

async function openProcess(prefix: string, keyspace: string, bounds: Bounds): Promise<Process> {
  const { waitingRecordsMax } = bounds
  const intake = { shards: SHARDS, ...(waitingRecordsMax === undefined ? {} : { waitingRecordsMax }) }
  let hear = (_: number): void => undefined
  const nothing = (): void => undefined
  const hears = { onRows: nothing, onWatermark: (upTo: number) => hear(upTo), onLost: nothing, onGap: nothing }
  const [redis, cassandra] = await Promise.all([
    openRedis(redisUrl(), Date.now, () => undefined, { prefix, intake, hears }),
    openCassandra(settingsFor(keyspace), quiet, fatal),
  ])
  const watermark = createLowWatermark(redis.entries)
  hear = watermark.hear
  const view = createInboxView(cassandra.rows, redis.devices, watermark, quiet, () => undefined)
  const { backlog } = cassandra
  const ports = { intake: applied({ redis, cassandra }, watermark), inbox: view.inbox, backlog, claims: redis.claims }
  // As after its first second: what was written before it began can be read.
  await redis.entries.publish().then((upTo) => new Promise<void>((resolve) => watermark.onceReadable(upTo, resolve)))
  return { ports, redis, cassandra, watermark, view }
}

/** Saves what is acknowledged, then goes. */
async function stop({ view, watermark, redis, cassandra }: Process): Promise<void> {
  await view.stop()
  watermark.stop()
  await cassandra.close()
  redis.close()
}

/** The stores first: what the process would still say comes to nothing, as after a kill -9. */
async function kill({ view, watermark, redis, cassandra }: Process): Promise<void> {
  redis.close()
  watermark.stop()
  await cassandra.close()
  await Promise.race([view.stop(), wait(STOPPED_MS_MAX, undefined, { ref: false })])
}

let openings = 0

describe('the adapters of the cluster, joined', () => {
  const keyspace = freshKeyspace('joined')
  const client = rawClient(settingsFor(keyspace))
  before(async () => {
    await (await openCassandra(settingsFor(keyspace), quiet, fatal)).close()
    await client.connect()
  })
  after(async () => {
    await client.execute(`DROP KEYSPACE ${keyspace}`, [], { prepare: false, readTimeout: 60_000 })
    await client.shutdown()
  })

  async function openJoined(bounds: Bounds = {}): Promise<Opening<Given>> {
    const prefix = `joined-${process.pid}-${Date.now().toString(36)}-${++openings}:`
    const plain = await connectPlain(redisUrl())
    const states = Array.from({ length: SHARDS }, (_, shard) => `${prefix}{s${shard}}:state`)
    const { clock, told, stop: stopClock } = await storeClock({ REDIS_URL: redisUrl(), REDIS_PREFIX: prefix })
    let opened = await openProcess(prefix, keyspace, bounds)
    return {
      get ports() {
        const { intake } = opened.ports
        const append: Intake['append'] = async (...args) => {
          await told()
          await intake.append(...args)
        }
        return { ...opened.ports, intake: { ...intake, append } }
      },
      pendingMarks: [],
      clock,
      facts: () => opened.redis.facts(),
      commit: () => opened.view.save(),
      async age() {
        // As trimming does a minute later.
        for (const [shard, state] of states.entries()) {
          const done = await plain.hget(state, 'done')
          if (done === null) continue
          const stream = `${prefix}{s${shard}}:stream`
          await plain.xtrim(stream, 'MINID', done)
          await plain.xdel(stream, done)
        }
      },
      async reopen() {
        await stop(opened)
        opened = await openProcess(prefix, keyspace, bounds)
      },
      async crash() {
        await kill(opened)
        opened = await openProcess(prefix, keyspace, bounds)
      },
      async close() {
        await stop(opened)
        stopClock()
        for await (const keys of plain.scanStream({ match: `${prefix}*`, count: 1_000 })) {
          if (keys.length > 0) await plain.unlink(keys)
        }
        plain.disconnect()
        for (const table of ['inbox_rows', 'inboxes']) await client.execute(`TRUNCATE ${keyspace}.${table}`)
      },
    }
  }

  intakeSuite(openJoined)
  inboxSuite(openJoined)
  backlogSuite(openJoined)
  claimsSuite(openJoined)
})
