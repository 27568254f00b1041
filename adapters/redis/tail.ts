/**
 * Makes the end of the append-only file whole after a start of the server. Redis (and Valkey before its change 4342)
 * whose file ends inside a transaction, as after a crash in the middle of a write, cuts off the half command and
 * leaves its MULTI without an EXEC. What is acknowledged next is written behind it, and the start after that one
 * either runs the torn transaction as well (a batch is stored twice) or throws away all that came after it. A
 * rewrite of the file from memory ends that; nothing may be acknowledged before it is done. A server that never
 * crashed is rewritten too, once for each of its starts: it does not tell one from the other.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Redis } from 'ioredis'

const POLL_MS = 20
/** Starts of servers whose file this process has seen rewritten: one that fails later says nothing of that tail. */
const whole = new Set<string>()

export const infoOf = (info: string, name: string): string | undefined =>
  new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1]

async function begin(redis: Redis): Promise<void> {
  try {
    await redis.bgrewriteaof()
  } catch (error) {
    // Another node was first.
    if (/already in progress/.test((error as Error).message)) return
    throw new Error('Redis does not rewrite its append-only file: let this user run BGREWRITEAOF', { cause: error })
  }
}

const isRewriting = (info: string): boolean =>
  infoOf(info, 'aof_rewrite_in_progress') === '1' || infoOf(info, 'aof_rewrite_scheduled') === '1'

/**
 * The file of this server was off, or may have been. Once it is on again it counts from the end of its first rewrite
 * only: until then what is acknowledged goes to a temporary file that a crash leaves behind.
 */
export function doubtTail(info: string): void {
  whole.delete(infoOf(info, 'run_id') ?? '')
}

/**
 * `info`: what the server has just said. Resolves when a rewrite since its start is done; it ends with the server's
 * own, or with the connection.
 */
export async function makeTailWhole(redis: Redis, info: string): Promise<void> {
  const start = infoOf(info, 'run_id') ?? ''
  if (whole.has(start)) return
  let now = info
  const isDone = (): boolean =>
    Number(infoOf(now, 'aof_rewrites')) > 0 && infoOf(now, 'aof_last_bgrewrite_status') === 'ok'
  if (!isRewriting(now) && !isDone()) {
    await begin(redis)
    now = await redis.info()
  }
  while (isRewriting(now)) {
    await sleep(POLL_MS)
    now = await redis.info('persistence')
  }
  if (!isDone()) {
    throw new Error('Redis could not rewrite its append-only file after its start: its log says why (disk, memory)')
  }
  whole.add(start)
}
