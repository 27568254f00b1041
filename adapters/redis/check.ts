/**
 * Does this server keep the promise of PUBACK (P1)? Asked at start and after every reconnect. Each refusal says what
 * to set.
 */
import type { Redis } from 'ioredis'
import type { Clock } from '../../core/ports.ts'
import { shardCountKey } from './keys.ts'
import { doubtTail, infoOf, makeTailWhole } from './tail.ts'

export interface Demands {
  readonly prefix: string
  readonly shards: number
  /** Replicas that must have a batch on their disk as well before it is acknowledged; 0: none. */
  readonly replicasMin: number
}

/** How far the clocks of this process and of the server may be apart: numbers are times. */
const CLOCK_SKEW_MS_MAX = 60_000
/** Scripts with flags. */
const VERSION_MIN = [7, 0]
/** WAITAOF. */
const VERSION_MIN_FOR_REPLICAS = [7, 2]

function isAtLeast(version: string, [major = 0, minor = 0]: number[]): boolean {
  const [ofMajor = 0, ofMinor = 0] = version.split('.').map(Number)
  return ofMajor > major || (ofMajor === major && ofMinor >= minor)
}

/** What CONFIG GET is asked for, and what it answers: names and values in turn. */
export const SETTINGS = ['maxmemory-policy', 'appendonly', 'appendfsync'] as const

/** Why a server that is set like this does not keep what it acknowledges. */
export function faultOfSettings(found: readonly string[]): string | undefined {
  const [policy, appendOnly, fsync] = SETTINGS.map((name) => found[found.indexOf(name) + 1])
  if (policy !== 'noeviction') {
    return `Redis may evict what it acknowledged: set maxmemory-policy noeviction (it is ${policy})`
  }
  if (appendOnly !== 'yes') {
    return `Redis would lose everything in a crash: set appendonly yes (it is ${appendOnly})`
  }
  if (fsync === 'always') return undefined
  return `Redis would lose its last second in a crash: set appendfsync always (it is ${fsync})`
}

async function checkSettings(redis: Redis, info: string): Promise<void> {
  const found = await redis.config('GET', ...SETTINGS).catch((error: Error) => {
    throw new Error('Redis does not say how it is set: let this user run CONFIG GET', { cause: error })
  })
  const fault = faultOfSettings(found as string[])
  if (fault === undefined) return
  doubtTail(info)
  throw new Error(fault)
}

/** Rights that are needed late, when nobody looks; without the others nothing starts. */
async function checkRights(redis: Redis): Promise<void> {
  try {
    await redis.pubsub('NUMSUB')
  } catch (error) {
    throw new Error('Redis does not say who listens: let this user run PUBSUB NUMSUB', { cause: error })
  }
}

async function checkShards(redis: Redis, { prefix, shards }: Demands): Promise<void> {
  const key = shardCountKey(prefix)
  // Written once: a server that is full when we come back to it takes no write, and must be drained.
  if ((await redis.exists(key)) === 0) await redis.set(key, shards, 'NX')
  const stored = Number(await redis.get(key))
  if (stored !== shards) {
    throw new Error(`this Redis was begun with ${stored} shards, and conversations stay where they are: set ${stored}`)
  }
}

async function checkClock(redis: Redis, now: Clock): Promise<void> {
  const before = now()
  const [seconds, micros] = await redis.time()
  const skewMs = Number(seconds) * 1_000 + Number(micros) / 1_000 - before
  if (Math.abs(skewMs) <= CLOCK_SKEW_MS_MAX) return
  const apartS = Math.round(Math.abs(skewMs) / 1_000)
  const way = skewMs > 0 ? 'ahead of' : 'behind'
  throw new Error(`the clock of Redis is ${apartS} s ${way} this machine's: let both follow NTP, then start again`)
}

/** Throws an Error that says what to set; resolves with what a PUBACK rests on, in a sentence. */
export async function checkServer(redis: Redis, demands: Demands, now: Clock): Promise<string> {
  const info = await redis.info()
  const version = infoOf(info, 'redis_version') ?? '0'
  if (!isAtLeast(version, VERSION_MIN)) throw new Error(`Redis ${version} is too old: 7.0 or later is needed`)
  if ((infoOf(info, 'redis_mode') ?? infoOf(info, 'server_mode')) === 'cluster') {
    throw new Error('Redis Cluster is not supported: give REDIS_URL of one server, with replicas if you like')
  }
  if (infoOf(info, 'role') !== 'master') {
    throw new Error('this Redis is a replica and takes no writes: give REDIS_URL of the one it follows')
  }
  if (infoOf(info, 'aof_last_write_status') === 'err') {
    throw new Error('Redis cannot write its append-only file: give its disk space; it goes on by itself then')
  }
  const { replicasMin } = demands
  if (replicasMin > 0 && !isAtLeast(version, VERSION_MIN_FOR_REPLICAS)) {
    const what = `cannot wait for the disks of ${replicasMin} replicas`
    throw new Error(`Redis ${version} ${what}: run 7.2 or later, or Valkey, or set REDIS_REPLICAS_MIN=0`)
  }
  await checkSettings(redis, info)
  await checkRights(redis)
  await checkClock(redis, now)
  await makeTailWhole(redis, info)
  await checkShards(redis, demands)
  const where = replicasMin > 0 ? `this server and on ${replicasMin} of its replicas` : 'this server alone'
  // It says that it is Redis 7.2.4 as well.
  const valkey = infoOf(info, 'valkey_version')
  const server = valkey === undefined ? `Redis ${version}` : `Valkey ${valkey}`
  return `${server}, appendonly yes, appendfsync always: a PUBACK leaves after fsync, on ${where}`
}
