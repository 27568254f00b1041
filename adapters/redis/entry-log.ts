/**
 * What workers read (D1-D3): a stream for each shard. An entry's id is `<first seq>-<ordinal>`: its seq says how far
 * the shard is done, the difference of ordinals how many are not. Cursors move in scripts, which a full server runs
 * too: otherwise it could never drain.
 */
import type { Entry, EntryLog } from '../../core/ports.ts'
import { SEQ_EPOCH_MS, SEQ_PER_MS } from '../../topics/ids.ts'
import { type Link, resultsOf } from './connection.ts'
import { decodeEntry } from './entry.ts'
import { shardKeys } from './keys.ts'
import { ALLOW_WHEN_FULL, callScript, script } from './script.ts'

/** Longer than Cassandra's commit log may take to its disk: what it loses in a crash is applied again (D4). */
export const KEPT_AFTER_DONE_MS = 60_000
/** Checkpoints are so far apart at least, which bounds how many there are. */
const CHECKPOINT_EVERY_MS = 5_000

/** KEYS state, attempts. ARGV id. */
const doneScript = script(`${ALLOW_WHEN_FULL}
local function ordinalOf(id) return tonumber(string.match(id, '%-(%d+)$')) end
local state = redis.call('HMGET', KEYS[1], 'doneCount', 'appended')
local ordinal = ordinalOf(ARGV[1])
if not ordinal or ordinal > tonumber(state[2] or 0) then return redis.error_reply('ERR no such entry') end
if ordinal <= tonumber(state[1] or 0) then return 0 end
redis.call('HSET', KEYS[1], 'done', ARGV[1], 'doneCount', string.format('%.0f', ordinal))
for _, id in ipairs(redis.call('HKEYS', KEYS[2])) do
  if ordinalOf(id) <= ordinal then redis.call('HDEL', KEYS[2], id) end
end
return 1
`)

/** KEYS state, attempts. ARGV id. */
const attemptsScript = script(`${ALLOW_WHEN_FULL}
local ordinal = tonumber(string.match(ARGV[1], '%-(%d+)$'))
if ordinal <= tonumber(redis.call('HGET', KEYS[1], 'doneCount') or 0) then return 0 end
return redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
`)

/** KEYS state, stream. ARGV the highest watermark that this node has seen, of any shard. */
const publishScript = script(`${ALLOW_WHEN_FULL}
local state = redis.call('HMGET', KEYS[1], 'last', 'done', 'watermark')
local time = redis.call('TIME')
local nowSeq = (time[1] * 1000 + math.floor(time[2] / 1000) - ${SEQ_EPOCH_MS}) * ${SEQ_PER_MS}
local next = redis.call('XRANGE', KEYS[2], state[2] and '(' .. state[2] or '-', '+', 'COUNT', 1)[1]
local last = math.max(tonumber(state[1] or 0), tonumber(ARGV[1]))
local watermark
if next then watermark = tonumber(string.match(next[1], '^(%d+)')) - 1
else
  last = math.max(last, nowSeq)
  watermark = last
end
watermark = math.max(watermark, tonumber(state[3] or 0))
local text = string.format('%.0f', watermark)
redis.call('HSET', KEYS[1], 'last', string.format('%.0f', last), 'watermark', text)
return text
`)

/** KEYS state, stream, checkpoints. */
const trimScript = script(`${ALLOW_WHEN_FULL}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function parts(checkpoint) return string.match(checkpoint, '^(%d+) (.*)$') end
local id
while true do
  local ms, doneId = parts(redis.call('LINDEX', KEYS[3], 0) or '')
  if not ms or now - ms < ${KEPT_AFTER_DONE_MS} then break end
  id = doneId
  redis.call('LPOP', KEYS[3])
end
if id then
  redis.call('XDEL', KEYS[2], id)
  redis.call('XTRIM', KEYS[2], 'MINID', id)
end
local done = redis.call('HGET', KEYS[1], 'done')
local ms, known = parts(redis.call('LINDEX', KEYS[3], -1) or '')
if done and done ~= known and done ~= id and (not ms or now - ms >= ${CHECKPOINT_EVERY_MS}) then
  redis.call('RPUSH', KEYS[3], string.format('%.0f', now) .. ' ' .. done)
end
return 0
`)

/** A raw entry of XRANGE: id and its fields h, b, a with their values. */
type RawEntry = [id: Buffer, fields: Buffer[]]

function entryOf(shard: number, [id, fields]: RawEntry): Entry {
  const [, heads, , bodies, , answers] = fields
  if (heads === undefined || bodies === undefined || answers === undefined) throw new RangeError('this is no entry')
  return { id: id.toString('latin1'), envelopes: decodeEntry(shard, heads, bodies, answers) }
}

/** `seen` gets the watermarks that this node comes to know: its appends number above them. */
export function createEntryLog(link: Link, prefix: string, shards: number, seen: number[]): EntryLog {
  const { redis } = link
  const keys = Array.from({ length: shards }, (_, shard) => shardKeys(prefix, shard))
  const keysOf = (shard: number) => {
    const found = keys[shard]
    if (found === undefined) throw new RangeError(`there is no shard ${shard}`)
    return found
  }
  const see = (shard: number, watermark: number): number => {
    seen[shard] = Math.max(seen[shard] ?? 0, watermark)
    return watermark
  }
  return {
    async read(shard, limit) {
      const { state, stream } = keysOf(shard)
      const done = await redis.hget(state, 'done')
      const from = done === null ? '-' : `(${done}`
      const found = (await redis.callBuffer('XRANGE', [stream, from, '+', 'COUNT', limit])) as RawEntry[]
      return found.map((entry) => entryOf(shard, entry))
    },
    async done(shard, id) {
      const { state, attempts } = keysOf(shard)
      await callScript(redis, doneScript, [state, attempts], [id])
    },
    async attempts(shard, id) {
      const { state, attempts } = keysOf(shard)
      return Number(await callScript(redis, attemptsScript, [state, attempts], [id]))
    },
    async publish(shard) {
      const { state, stream } = keysOf(shard)
      // Of all shards: one whose numbers ran ahead of the clock would else be read only when the clock is there.
      const args = [Math.max(0, ...seen)]
      return see(shard, Number(String(await callScript(redis, publishScript, [state, stream], args))))
    },
    async watermarks() {
      const pipeline = redis.pipeline()
      for (const { state } of keys) pipeline.hget(state, 'watermark')
      return (await resultsOf(pipeline)).map((text, shard) => see(shard, Number(text ?? 0)))
    },
    async trim(shard) {
      const { state, stream, checkpoints } = keysOf(shard)
      await callScript(redis, trimScript, [state, stream, checkpoints], [])
    },
    async backlog(shard) {
      const [appended, done] = await redis.hmget(keysOf(shard).state, 'appended', 'doneCount')
      return Number(appended ?? 0) - Number(done ?? 0)
    },
  }
}
