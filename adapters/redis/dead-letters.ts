/** Dead letters of all shards: a hash by (shard, seq), and a list of their order. Bounded; the oldest go. */
import type { DeadLetters } from '../../core/ports.ts'
import type { Link } from './connection.ts'
import { ALLOW_WHEN_FULL, callScript, script } from './script.ts'

const KEPT_MAX = 10_000

/** KEYS letters, order. ARGV name, letter. */
const putScript = script(`${ALLOW_WHEN_FULL}
if redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) == 1 then redis.call('RPUSH', KEYS[2], ARGV[1]) end
while redis.call('LLEN', KEYS[2]) > ${KEPT_MAX} do redis.call('HDEL', KEYS[1], redis.call('LPOP', KEYS[2])) end
return 1
`)

export function createDeadLetters({ redis }: Link, prefix: string): DeadLetters {
  const keys = [`${prefix}{dead}:letters`, `${prefix}{dead}:order`]
  return {
    async put(envelope, reason) {
      const { shard, seq, device, stamp, targets, bodies, source } = envelope
      // The bytes as they came: sealed by the SDK, or a thing's. They are nowhere else once the entry is trimmed.
      const letter = {
        reason,
        device,
        stamp,
        targets: targets.map((target) => target.device),
        bodies: bodies.map(({ field, start, end }) => ({
          field,
          bytes: Buffer.from(source.subarray(start, end)).toString('base64'),
        })),
      }
      await callScript(redis, putScript, keys, [`${shard}-${seq}`, JSON.stringify(letter)])
    },
    count: () => redis.hlen(keys[0] as string),
  }
}
