/**
 * Turns of shards as BullMQ jobs (D1, D2): a job is a nudge, its id the shard, so there is one at a time; the data is
 * in the intake. A worker that dies loses its job after some seconds to another; one that is slow may run beside it,
 * which does no harm. Every worker also looks at all shards by itself, so that no nudge has to arrive.
 */
import { type ConnectionOptions, Queue, Worker } from 'bullmq'
import type { Log, Turns } from '../../core/ports.ts'

const QUEUE = 'storage'
const LOCK_MS = 3_000
const STALLED_EVERY_MS = 1_000
const SWEEP_EVERY_MS = 500
/** Nudges of one shard are so far apart at least: a sweep comes soon after. */
const NUDGE_EVERY_MS = 20
/** Between attempts to reach Redis again. */
const RETRY_MS_MAX = 2_000
const STALLED_COUNT_MAX = 1_000_000_000

export interface TurnSettings {
  readonly url: string
  readonly prefix: string
  readonly shards: number
}

export interface OpenedTurns {
  readonly turns: Turns
  /** Jobs that were added by this process. */
  nudges(): number
  close(): Promise<void>
}

function connectionOf(url: string): ConnectionOptions {
  const { hostname, port, password, username, protocol } = new URL(url)
  return {
    host: hostname,
    port: port === '' ? 6379 : Number(port),
    ...(password === '' ? {} : { password: decodeURIComponent(password) }),
    ...(username === '' ? {} : { username: decodeURIComponent(username) }),
    ...(protocol === 'rediss:' ? { tls: {} } : {}),
    // The library's own pause grows to 20 s: turns would come long after Redis is back, and a process not end.
    retryStrategy: (attempt) => Math.ceil(Math.min(RETRY_MS_MAX, 50 * 2 ** Math.min(attempt, 16)) * Math.random()) + 50,
    // A nudge that cannot leave is none: nothing queues up for a server that is away.
    enableOfflineQueue: false,
  }
}

export function openTurns({ url, prefix, shards }: TurnSettings, log: Log): OpenedTurns {
  const of = { connection: connectionOf(url), prefix: `${prefix}bull` }
  const queue = new Queue(QUEUE, of)
  queue.on('error', () => undefined)
  const nudged = Array.from({ length: shards }, () => 0)
  let added = 0

  function add(shard: number): void {
    added++
    const options = { jobId: `shard-${shard}`, removeOnComplete: true, removeOnFail: true }
    queue.add('turn', { shard }, options).catch(() => undefined)
  }

  const turns: Turns = {
    nudge(shard) {
      const now = performance.now()
      if (now - (nudged[shard] ?? 0) < NUDGE_EVERY_MS) return
      nudged[shard] = now
      add(shard)
    },
    work(run, hasWork) {
      let isStopped = false
      const worker = new Worker<{ shard: number }>(
        QUEUE,
        async ({ data: { shard } }) => {
          const isMore = await run(shard).catch((error: Error) => {
            log.warn({ shard, error: error.message }, 'a turn failed; it is taken again')
            return false
          })
          // Behind the others; the job has to be gone first, since its id is the shard.
          if (isMore && !isStopped) setTimeout(add, 1, shard)
        },
        {
          ...of,
          connection: { ...connectionOf(url), enableOfflineQueue: true },
          concurrency: shards,
          lockDuration: LOCK_MS,
          stalledInterval: STALLED_EVERY_MS,
          maxStalledCount: STALLED_COUNT_MAX,
          drainDelay: 1,
        },
      )
      worker.on('error', () => undefined)
      let sweeping: Promise<unknown> | undefined
      const sweeper = setInterval(() => {
        sweeping ??= Promise.all(
          Array.from({ length: shards }, async (_, shard) => {
            if (await hasWork(shard)) add(shard)
          }),
        )
          // The store is away: the next look finds it again.
          .catch(() => undefined)
          .finally(() => {
            sweeping = undefined
          })
      }, SWEEP_EVERY_MS)
      return async () => {
        isStopped = true
        clearInterval(sweeper)
        await sweeping
        await worker.close()
      }
    },
  }
  return {
    turns,
    nudges: () => added,
    close: () => queue.close(),
  }
}
