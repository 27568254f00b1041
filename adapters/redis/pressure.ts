/**
 * What makes the intake refuse before the server does: how full its memory is, which inboxes are, and whether it is
 * still set as it has to be; and for operators how many dead letters there are, and entries that are not done. Looked
 * at in a fixed interval; what arrives in between is the overshoot (B6).
 */

import { faultOfSettings, SETTINGS } from './check.ts'
import { type Link, resultsOf } from './connection.ts'
import { deadKeys, fullKeys, shardKeys } from './keys.ts'

/** Beyond this share of maxmemory new work is refused: the rest is for answers, cursors and queues that drain it. */
const MEMORY_SHARE_MAX = 0.7
const LOOK_EVERY_MS = 1_000

export interface Pressure {
  isCrowded(): boolean
  isFull(device: string): boolean
  /** Says so to all nodes; they know it one look later, this one at once. */
  setFull(device: string, isFull: boolean): Promise<void>
  fullDevices(limit: number): Promise<string[]>
  facts(): Record<'usedBytes' | 'maxBytes' | 'fullDevices' | 'deadLetters', number>
  /** Entries that are not done, by shard. */
  backlogs(): readonly number[]
  /** Looks now. */
  look(): Promise<void>
  stop(): void
}

const numberIn = (info: string, name: string): number => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0)

/** `onUnsafe`: somebody has changed the server's settings, and it does not keep the promise any more. */
export function watchPressure(link: Link, prefix: string, shards: number, onUnsafe: () => void): Pressure {
  const { redis } = link
  const [devicesKey, versionKey] = fullKeys(prefix)
  const [deadKey] = deadKeys(prefix)
  let full: ReadonlySet<string> = new Set()
  let fullVersion = ''
  let usedBytes = 0
  let maxBytes = 0
  let deadLetters = 0
  let backlogs: readonly number[] = []

  async function look(): Promise<void> {
    const pipeline = redis.pipeline().info('memory').get(versionKey).hlen(deadKey)
    pipeline.config('GET', ...SETTINGS)
    for (let shard = 0; shard < shards; shard++) {
      pipeline.hmget(shardKeys(prefix, shard).state, 'appended', 'doneCount')
    }
    const [info, version, letters, settings, ...states] = await resultsOf(pipeline)
    if (faultOfSettings(settings as string[]) !== undefined) onUnsafe()
    keep(info as string, letters as number, states as (string | null)[][])
    await lookAtFull((version as string | null) ?? '')
  }
  function keep(info: string, letters: number, states: readonly (string | null)[][]): void {
    deadLetters = letters
    backlogs = states.map(([appended, done]) => Number(appended ?? 0) - Number(done ?? 0))
    usedBytes = numberIn(info, 'used_memory')
    // Without a bound of its own it ends where the machine does.
    maxBytes = numberIn(info, 'maxmemory') || numberIn(info, 'total_system_memory')
  }
  async function lookAtFull(version: string): Promise<void> {
    if (version === fullVersion) return
    full = new Set(await redis.smembers(devicesKey))
    fullVersion = version
  }

  let isLooking = false
  const timer = setInterval(() => {
    // While the server is away the intake refuses anyway; one that is slow is not asked by many at once.
    if (isLooking || !link.isUsable()) return
    isLooking = true
    const end = (): void => {
      isLooking = false
    }
    look().then(end, end)
  }, LOOK_EVERY_MS)
  timer.unref()
  return {
    isCrowded: () => maxBytes > 0 && usedBytes > maxBytes * MEMORY_SHARE_MAX,
    isFull: (device) => full.has(device),
    async setFull(device, isFull) {
      const change = redis.multi()
      if (isFull) change.sadd(devicesKey, device)
      else change.srem(devicesKey, device)
      await resultsOf(change.incr(versionKey))
      const changed = new Set(full)
      if (isFull) changed.add(device)
      else changed.delete(device)
      full = changed
    },
    fullDevices: (limit) => redis.srandmember(devicesKey, limit),
    facts: () => ({ usedBytes, maxBytes, fullDevices: full.size, deadLetters }),
    backlogs: () => backlogs,
    look,
    stop: () => clearInterval(timer),
  }
}
