/**
 * Token buckets shared by all nodes. A bucket is one number: when it will be full again, its score in one sorted set;
 * what is full is forgotten, a few at every step.
 */
import type { Limiter } from '../../core/ports.ts'
import { NOW } from './bounded-script.ts'
import type { Link } from './connection.ts'
import { callScript, script } from './script.ts'

const LOOKS_PER_TAKE = 4

/** KEYS buckets. ARGV offset, bucketsMax, bucket, burst, everyMs, count. */
const takeScript = script(`${NOW}
local everyMs = tonumber(ARGV[5])
local known = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[3]) or 0)
local full = math.max(known, now) + ARGV[6] * everyMs
local waitMs = full - now - ARGV[4] * everyMs
if waitMs > 0 then return math.ceil(waitMs) end
for _, bucket in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ${LOOKS_PER_TAKE})) do
  redis.call('ZREM', KEYS[1], bucket)
end
redis.call('ZADD', KEYS[1], string.format('%.17g', full), ARGV[3])
if redis.call('ZCARD', KEYS[1]) > tonumber(ARGV[2]) then redis.call('ZPOPMIN', KEYS[1]) end
return 0
`)

/** KEYS buckets. ARGV offset, bucket, everyMs, count. Full again: that is what no entry means. */
const giveBackScript = script(`${NOW}
local full = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[2]) or 0) - ARGV[4] * ARGV[3]
if full <= now then redis.call('ZREM', KEYS[1], ARGV[2])
else redis.call('ZADD', KEYS[1], string.format('%.17g', full), ARGV[2]) end
return 0
`)

/** At most `bucketsMax`; beyond, the one that is full soonest is taken for full. */
export function createLimiter(link: Link, prefix: string, bucketsMax: number, clockOffsetMs: () => number): Limiter {
  const buckets = `${prefix}buckets`
  return {
    async take(name, key, burst, everyMs, count = 1) {
      const args = [clockOffsetMs(), bucketsMax, `${name} ${key}`, burst, everyMs, count]
      return Number(await callScript(link.redis, takeScript, [buckets], args))
    },
    async giveBack(name, key, everyMs, count = 1) {
      await callScript(link.redis, giveBackScript, [buckets], [clockOffsetMs(), `${name} ${key}`, everyMs, count])
    },
  }
}
