/**
 * What workers read (D1-D3): a stream for each shard. An entry's id is `<first seq>-<ordinal>`: its seq says how far
 * the shard is done, the difference of ordinals how many are not. Cursors move in scripts, which a full server runs
 * too: otherwise it could never drain.
 */
import type { Entry, EntryLog } from '../../core/ports.ts'
import { SEQ_EPOCH_MS, SEQ_PER_MS } from '../../topics/ids.ts'
import { type Link, resultsOf } from './connection.ts'
import { decodeEntry } from './entry.ts'
import type { Seen } from './intake.ts'
import { floorKey, shardKeys, watermarkChannel } from './keys.ts'
import { ALLOW_WHEN_FULL, callScript, script } from './script.ts'

/** Longer than Cassandra's commit log may take to its disk: what it loses in a crash is applied again (D4). */
export const KEPT_AFTER_DONE_MS = 60_000
/** Checkpoints are so far apart at least, which bounds how many there are. */
const CHECKPOINT_EVERY_MS = 5_000

/**
 * The low watermark: of a shard with entries that are not done it is the last number of what is done; one without has
 * nothing to wait for, and may be raised to the highest number that any shard has given, so that one which runs ahead
 * of the clock is readable too. One key holds what was published: appends of all shards number above it.
 */
const PUBLISH = `
local function publish(floorKey, states, from, seen, channel, isAsked)
  local floor = tonumber(redis.call('GET', floorKey) or 0)
  local time = redis.call('TIME')
  local high = math.max(floor, seen, (time[1] * 1000 + math.floor(time[2] / 1000) - ${SEQ_EPOCH_MS}) * ${SEQ_PER_MS})
  local low
  for i = from, #states do
    local state = redis.call('HMGET', states[i], 'last', 'appended', 'doneCount', 'doneSeq')
    high = math.max(high, tonumber(state[1] or 0))
    if tonumber(state[2] or 0) > tonumber(state[3] or 0) then
      local done = tonumber(state[4] or 0)
      low = math.min(low or done, done)
    end
  end
  local watermark = math.max(floor, low or high)
  local text = string.format('%.0f', watermark)
  if watermark > floor then redis.call('SET', floorKey, text) end
  -- Who asks may have heard nothing yet.
  if watermark > floor or isAsked then redis.call('PUBLISH', channel, text) end
  return text
end
`

/** KEYS state, attempts, floor, states of all shards. ARGV id, last number of the entry, watermark seen, channel. */
const doneScript = script(`${ALLOW_WHEN_FULL}${PUBLISH}
local function ordinalOf(id) return tonumber(string.match(id, '%-(%d+)$')) end
local state = redis.call('HMGET', KEYS[1], 'doneCount', 'appended')
local ordinal = ordinalOf(ARGV[1])
if not ordinal or ordinal > tonumber(state[2] or 0) then return redis.error_reply('ERR no such entry') end
if ordinal > tonumber(state[1] or 0) then
  redis.call('HSET', KEYS[1], 'done', ARGV[1], 'doneCount', string.format('%.0f', ordinal), 'doneSeq', ARGV[2])
  for _, id in ipairs(redis.call('HKEYS', KEYS[2])) do
    if ordinalOf(id) <= ordinal then redis.call('HDEL', KEYS[2], id) end
  end
end
return publish(KEYS[3], KEYS, 4, tonumber(ARGV[3]), ARGV[4])
`)

/** KEYS state, attempts. ARGV id. */
const attemptsScript = script(`${ALLOW_WHEN_FULL}
local ordinal = tonumber(string.match(ARGV[1], '%-(%d+)$'))
if ordinal <= tonumber(redis.call('HGET', KEYS[1], 'doneCount') or 0) then return 0 end
return redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
`)

/** KEYS floor, states of all shards. ARGV watermark seen, channel. */
const publishScript = script(`${ALLOW_WHEN_FULL}${PUBLISH}
return publish(KEYS[1], KEYS, 2, tonumber(ARGV[1]), ARGV[2], true)
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

/** `published` is told what this process has published. */
export function createEntryLog(
  link: Link,
  prefix: string,
  shards: number,
  seen: Seen,
  published: (watermark: number) => void,
): EntryLog {
  const { redis } = link
  const keys = Array.from({ length: shards }, (_, shard) => shardKeys(prefix, shard))
  const floorAndStates = [floorKey(prefix), ...keys.map(({ state }) => state)]
  const channel = watermarkChannel(prefix)
  const keysOf = (shard: number) => {
    const found = keys[shard]
    if (found === undefined) throw new RangeError(`there is no shard ${shard}`)
    return found
  }
  const note = (reply: unknown): number => {
    const watermark = Number(String(reply))
    seen.watermark = Math.max(seen.watermark, watermark)
    published(watermark)
    return watermark
  }
  return {
    async read(shard, limit, after) {
      const { state, stream } = keysOf(shard)
      const done = after ?? (await redis.hget(state, 'done'))
      const from = done === null ? '-' : `(${done}`
      const found = (await redis.xrangeBuffer(stream, from, '+', 'COUNT', limit)) as RawEntry[]
      return found.map((entry) => entryOf(shard, entry))
    },
    async done(shard, { id, envelopes }) {
      const { state, attempts } = keysOf(shard)
      const args = [id, envelopes.at(-1)?.seq ?? 0, seen.watermark, channel]
      note(await callScript(redis, doneScript, [state, attempts, ...floorAndStates], args))
    },
    async attempts(shard, id) {
      const { state, attempts } = keysOf(shard)
      return Number(await callScript(redis, attemptsScript, [state, attempts], [id]))
    },
    async publish() {
      return note(await callScript(redis, publishScript, floorAndStates, [seen.watermark, channel]))
    },
    async appendedSeq() {
      const pipeline = redis.pipeline()
      for (const { state } of keys) pipeline.hget(state, 'last')
      return Math.max(...(await resultsOf(pipeline)).map((last) => Number(last ?? 0)))
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
