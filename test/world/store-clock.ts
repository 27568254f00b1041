/**
 * The clock of a world. The server of a cluster's intake has one of its own, which cannot be moved: a clock that goes
 * forward leaves numbers of its time in each shard, as an append of that time would have; then it is as if the server's
 * had gone on, and stepped back.
 */
import { Redis } from 'ioredis'
import { seqFromMs } from '../../topics/ids.ts'

export interface StoreClock {
  readonly clock: { offsetMs: number }
  /** Resolves when the store has heard of where the clock is. */
  told(): Promise<unknown>
  stop(): void
}

/** The default of INTAKE_SHARDS. */
const SHARDS = 8

/** KEYS state. ARGV last. */
const RAISE = `
if tonumber(ARGV[1]) > tonumber(redis.call('HGET', KEYS[1], 'last') or 0) then redis.call('HSET', KEYS[1], 'last', ARGV[1]) end
return 0`

/** `env`: the settings of the world's profile; none of the embedded one. */
export async function storeClock(env: Readonly<Record<string, string>>): Promise<StoreClock> {
  const { REDIS_URL, REDIS_PREFIX } = env
  if (REDIS_URL === undefined) return { clock: { offsetMs: 0 }, told: async () => undefined, stop: () => undefined }
  const redis = new Redis(REDIS_URL, { lazyConnect: true })
  redis.on('error', () => undefined)
  await redis.connect()
  const states = Array.from({ length: SHARDS }, (_, shard) => `${REDIS_PREFIX}{s${shard}}:state`)
  let offsetMs = 0
  let told: Promise<unknown> = Promise.resolve()
  const clock = {
    get offsetMs() {
      return offsetMs
    },
    set offsetMs(value: number) {
      const last = String(seqFromMs(Date.now() + value))
      // Asked for at once: whoever appends next is behind it.
      if (value > offsetMs) told = Promise.all(states.map((state) => redis.eval(RAISE, 1, state, last)))
      told.catch(() => undefined)
      offsetMs = value
    },
  }
  return { clock, told: () => told, stop: () => redis.disconnect() }
}
