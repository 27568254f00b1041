/**
 * Dead letters of all shards: facts and bytes by (shard, seq), and a list of their order. Bounded by number and by
 * bytes; the oldest go. A full server keeps them too: the entry that they are of could not be ended otherwise.
 */
import type { DeadLetter, DeadLetters } from '../../core/ports.ts'
import { SEQ_PER_MS, seqToUnixMs } from '../../topics/ids.ts'
import { ANSWER_BYTES } from './append-script.ts'
import { type Link, resultsOf } from './connection.ts'
import { decodeEntry, encodeBatch } from './entry.ts'
import { deadKeys } from './keys.ts'
import { ALLOW_WHEN_FULL, callScript, script } from './script.ts'

export interface DeadLetterLimits {
  readonly deadLettersMax: number
  readonly deadLetterBytesMax: number
}
export const deadLetterLimits: DeadLetterLimits = { deadLettersMax: 1_000, deadLetterBytesMax: 64 * 1024 * 1024 }

/** KEYS facts, bytes, order, total. ARGV name, facts, bytes, number at most, bytes at most. */
const putScript = script(`${ALLOW_WHEN_FULL}
local name = ARGV[1]
local total = tonumber(redis.call('GET', KEYS[4]) or 0) - redis.call('HSTRLEN', KEYS[2], name) + #ARGV[3]
if redis.call('HSET', KEYS[1], name, ARGV[2]) == 1 then redis.call('RPUSH', KEYS[3], name) end
redis.call('HSET', KEYS[2], name, ARGV[3])
while redis.call('LLEN', KEYS[3]) > 1 and
  (redis.call('LLEN', KEYS[3]) > tonumber(ARGV[4]) or total > tonumber(ARGV[5])) do
  local oldest = redis.call('LPOP', KEYS[3])
  total = total - redis.call('HSTRLEN', KEYS[2], oldest)
  redis.call('HDEL', KEYS[1], oldest)
  redis.call('HDEL', KEYS[2], oldest)
end
redis.call('SET', KEYS[4], total)
return 1
`)

/** KEYS as above. ARGV name. */
const removeScript = script(`${ALLOW_WHEN_FULL}
redis.call('DECRBY', KEYS[4], redis.call('HSTRLEN', KEYS[2], ARGV[1]))
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('LREM', KEYS[3], 1, ARGV[1])
return redis.call('HDEL', KEYS[1], ARGV[1])
`)

type Facts = Omit<DeadLetter, 'id'>

/** Name → shard and seq: `<shard>-<seq>`. */
function placeOf(id: string): { shard: number; seq: number } {
  const [shard, seq] = id.split('-')
  return { shard: Number(shard), seq: Number(seq) }
}

/** What the append script would have answered: new, under its seq. Entries are read by it. */
function answerOf(seq: number): Buffer {
  const answer = Buffer.alloc(ANSWER_BYTES)
  answer.writeUInt8(1, 0)
  answer.writeDoubleLE(seq, 1)
  return answer
}

/** Length of the heads u32, heads, bodies. */
function joined(heads: Buffer, bodies: Buffer): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32LE(heads.length)
  return Buffer.concat([length, heads, bodies])
}

export function createDeadLetters({ redis }: Link, prefix: string, of = deadLetterLimits): DeadLetters {
  const keys = deadKeys(prefix)
  const [factsKey, bytesKey, orderKey] = keys
  return {
    async put(envelope, reason) {
      const { shard, seq, device, targets } = envelope
      const { heads, bodies } = encodeBatch([envelope])
      const facts: Facts = {
        shard,
        acceptedMs: seqToUnixMs(seq - (seq % SEQ_PER_MS)),
        device,
        targets: targets.map((target) => target.device),
        bytes: bodies.length,
        reason,
      }
      const args = [`${shard}-${seq}`, JSON.stringify(facts), joined(heads, bodies)]
      await callScript(redis, putScript, keys, [...args, of.deadLettersMax, of.deadLetterBytesMax])
    },
    count: () => redis.hlen(factsKey),
    async list(limit) {
      const ids = (await redis.lrange(orderKey, -limit, -1)).reverse()
      if (ids.length === 0) return []
      const found = await redis.hmget(factsKey, ...ids)
      // One that went in between is left out.
      return ids.flatMap((id, i) => {
        const facts = found[i]
        return facts === null || facts === undefined ? [] : { id, ...(JSON.parse(facts) as Facts) }
      })
    },
    async envelope(id) {
      const [bytes] = await resultsOf(redis.pipeline().hgetBuffer(bytesKey, id))
      if (!Buffer.isBuffer(bytes)) return undefined
      const { shard, seq } = placeOf(id)
      const at = 4 + bytes.readUInt32LE(0)
      return decodeEntry(shard, bytes.subarray(4, at), bytes.subarray(at), answerOf(seq))[0]
    },
    async remove(id) {
      return Number(await callScript(redis, removeScript, keys, [id])) === 1
    },
  }
}
