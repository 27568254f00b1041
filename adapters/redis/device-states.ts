/**
 * What the inbox of a cluster keeps in Redis of a device (B1-B3, A3): flags, slot, waiting records by shard, delivered
 * marks. Everything here lets somebody connect, acknowledge or leave, so a full server does it too.
 */

import type { DeviceStates, RequestRecord } from '../../core/ports.ts'
import { pairShard } from '../../core/shards.ts'
import { limits } from '../../topics/limits.ts'
import { awayAsFault, type Link, resultsOf } from './connection.ts'
import { deviceKey, shardKeys } from './keys.ts'
import { ALLOW_WHEN_FULL, callScript, script } from './script.ts'

/** KEYS device. ARGV 1 or 0. */
const subscribedScript = script(`${ALLOW_WHEN_FULL}
redis.call('HSET', KEYS[1], 'subscribed', ARGV[1])
return 1
`)

/** KEYS device. */
const slotScript = script(`${ALLOW_WHEN_FULL}
local slot = (tonumber(redis.call('HGET', KEYS[1], 'slot') or -1) + 1) % ${limits.packetIdSlots}
redis.call('HSET', KEYS[1], 'slot', slot, 'open', 1)
return slot
`)

/** KEYS device. ARGV slot (-1: whichever it is), sentSeq. Returns the sentSeq that stands. */
const closeScript = script(`${ALLOW_WHEN_FULL}
local state = redis.call('HMGET', KEYS[1], 'slot', 'sentSeq')
local sent = math.max(tonumber(state[2] or 0), tonumber(ARGV[2]))
if not state[1] then return string.format('%.0f', sent) end
redis.call('HSET', KEYS[1], 'sentSeq', string.format('%.0f', sent))
if ARGV[1] == '-1' or state[1] == ARGV[1] then redis.call('HSET', KEYS[1], 'open', 0) end
return string.format('%.0f', sent)
`)

const WHICHEVER_SLOT = -1
const LAST = 'last'

/** Field of a record is its stamp; value: hash u32, seq f64, peer as latin1 (see the append script). */
function recordOf(stamp: number, value: Buffer): RequestRecord {
  return { stamp, hash: value.readUInt32LE(0), seq: value.readDoubleLE(4), peer: value.toString('latin1', 12) }
}

/** Reads the records of one shard into `records`; returns the last stamp. */
function takeRecords(fields: readonly Buffer[], records: RequestRecord[]): number {
  let lastStamp = 0
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = (fields[i] as Buffer).toString('latin1')
    const value = fields[i + 1] as Buffer
    if (name === LAST) lastStamp = Number(value.toString('latin1'))
    else records.push(recordOf(Number(name), value))
  }
  return lastStamp
}

export function createDeviceStates(link: Link, prefix: string, shards: number): DeviceStates {
  const { redis } = link
  const keys = Array.from({ length: shards }, (_, shard) => shardKeys(prefix, shard))
  const states: DeviceStates = {
    async open(device) {
      const pipeline = redis.pipeline()
      pipeline.hmget(deviceKey(prefix, device), 'subscribed', 'sentSeq', 'open')
      for (const { records, state } of keys) {
        pipeline.callBuffer('HGETALL', [records + device])
        pipeline.hget(state, LAST)
      }
      const [flags, ...rest] = await resultsOf(pipeline)
      const [subscribed, sent, open] = flags as (string | null)[]
      const records: RequestRecord[] = []
      let lastStamp = 0
      let lastSeq = 0
      for (let i = 0; i < rest.length; i += 2) {
        lastStamp = Math.max(lastStamp, takeRecords(rest[i] as Buffer[], records))
        lastSeq = Math.max(lastSeq, Number(rest[i + 1] ?? 0))
      }
      records.sort((a, b) => a.stamp - b.stamp)
      let sentSeq = Number(sent ?? 0)
      if (open === '1') {
        // Its node died, or another connection is about to be taken over: anything may have been seen.
        const args = [WHICHEVER_SLOT, lastSeq]
        sentSeq = Number(String(await callScript(redis, closeScript, [deviceKey(prefix, device)], args)))
      }
      return { subscribed: subscribed === '1', sentSeq, lastStamp, records, appendedSeq: lastSeq }
    },
    async setSubscribed(device, subscribed) {
      await callScript(redis, subscribedScript, [deviceKey(prefix, device)], [subscribed ? 1 : 0])
    },
    async advanceSlot(device) {
      return Number(await callScript(redis, slotScript, [deviceKey(prefix, device)], []))
    },
    async close(device, slot, sentSeq) {
      await callScript(redis, closeScript, [deviceKey(prefix, device)], [slot, sentSeq])
    },
    async settle(device, stamps) {
      if (stamps.length === 0) return
      const pipeline = redis.pipeline()
      // A record does not say its shard, and asking all of them costs less than telling every pump.
      for (const { records } of keys) pipeline.hdel(records + device, ...stamps.map(String))
      await resultsOf(pipeline)
    },
    async drop(device) {
      await redis.del(deviceKey(prefix, device), ...keys.map(({ records }) => records + device))
    },
    async markOf(by, peer) {
      const { marks } = keys[pairShard(by, peer, shards)] as { marks: string }
      return Number((await redis.get(Buffer.from(marks + by + peer, 'latin1'))) ?? 0)
    },
  }
  // What a connection waits for: it waits on, and asks again.
  return {
    ...states,
    open: (device) => awayAsFault(states.open(device)),
    setSubscribed: (device, subscribed) => awayAsFault(states.setSubscribed(device, subscribed)),
    advanceSlot: (device) => awayAsFault(states.advanceSlot(device)),
    markOf: (by, peer) => awayAsFault(states.markOf(by, peer)),
  }
}
