/**
 * Turns of shards as BullMQ jobs (D1, D2): a job is a nudge, its id the shard, so there is one at a time; the data is
 * in the intake. A worker that dies loses its job after some seconds to another; one that is slow may run beside it,
 * which does no harm. Every worker also looks at all shards by itself, so that no nudge has to arrive. Where no job can
 * be had, workers take turns without: of a server that is full, or nothing would ever leave it, and of one that was
 * away, for the jobs of that time are nobody's until their locks are over.
 */
import { Queue, Worker } from 'bullmq'
import type { Log, Turns } from '../../core/ports.ts'
import { connectionOf } from './connection.ts'

const QUEUE = 'storage'
/** A worker that is silent for so long loses its turn at the second look afterwards: after 3.5 s at most. */
const LOCK_MS = 2_500
const STALLED_EVERY_MS = 500
const SWEEP_EVERY_MS = 500
/** Nudges of one shard are so far apart at least: a sweep comes soon after. */
const NUDGE_EVERY_MS = 20
const METRICS_MINUTES = 60
const STALLED_COUNT_MAX = 1_000_000_000
/** After an outage: until every lock of before is over. */
const APART_MS = LOCK_MS + 3 * STALLED_EVERY_MS

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

export function openTurns({ url, prefix, shards }: TurnSettings, log: Log): OpenedTurns {
  const of = { connection: connectionOf(url), prefix: `${prefix}bull` }
  const queue = new Queue(QUEUE, of)
  queue.on('error', () => undefined)
  const nudged = Array.from({ length: shards }, () => 0)
  let added = 0

  function add(shard: number, whenFull: () => void = () => undefined): void {
    added++
    const options = { jobId: `shard-${shard}`, removeOnComplete: true, removeOnFail: true }
    queue.add('turn', { shard }, options).catch((error: Error) => {
      if (error.message.includes('OOM')) whenFull()
    })
  }

  const turns: Turns = {
    nudge(shard) {
      const now = performance.now()
      if (now - (nudged[shard] ?? 0) < NUDGE_EVERY_MS) return
      nudged[shard] = now
      add(shard)
    },
    work(run, hasWork) {
      const take = (shard: number): Promise<boolean> =>
        run(shard).catch((error: Error) => {
          log.warn({ shard, error: error.message }, 'a turn failed; it is taken again')
          return false
        })
      const stopWorker = startWorker({ url, prefix, shards }, take, add)
      const stopSweeps = sweep(shards, take, hasWork, add)
      return async () => {
        await stopSweeps()
        await stopWorker()
      }
    },
  }
  return {
    turns,
    nudges: () => added,
    close: () => queue.close(),
  }
}

type Take = (shard: number) => Promise<boolean>

/** Takes the jobs. Gives how to stop. */
function startWorker({ url, prefix, shards }: TurnSettings, take: Take, add: (shard: number) => void) {
  let isStopped = false
  const worker = new Worker<{ shard: number }>(
    QUEUE,
    async ({ data: { shard } }) => {
      const isMore = await take(shard)
      // Behind the others; the job has to be gone first, since its id is the shard.
      if (isMore && !isStopped) setTimeout(add, 1, shard)
    },
    {
      prefix: `${prefix}bull`,
      connection: { ...connectionOf(url), enableOfflineQueue: true },
      concurrency: shards,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_EVERY_MS,
      maxStalledCount: STALLED_COUNT_MAX,
      drainDelay: 1,
      // Counts what was done, for whoever looks at the queue.
      metrics: { maxDataPoints: METRICS_MINUTES },
    },
  )
  worker.on('error', () => undefined)
  return async (): Promise<void> => {
    isStopped = true
    await worker.close()
  }
}

/**
 * Looks at all shards, again and again: `add` makes a job for one with work and says when the server is too full for
 * that. Gives how to stop, which waits for turns that were taken without a job.
 */
function sweep(
  shards: number,
  take: Take,
  hasWork: (shard: number) => Promise<boolean>,
  add: (shard: number, whenFull: () => void) => void,
): () => Promise<void> {
  let isStopped = false
  let awayMs = Number.NEGATIVE_INFINITY
  let sweeping: Promise<unknown> | undefined
  /** Turns without a job, by shard. */
  const apart = new Map<number, Promise<unknown>>()

  function takeApart(shard: number): void {
    if (isStopped || apart.has(shard)) return
    const turn = take(shard).finally(() => apart.delete(shard))
    apart.set(shard, turn)
  }
  async function look(): Promise<void> {
    const all = await Promise.all(Array.from({ length: shards }, (_, shard) => hasWork(shard)))
    const isApart = performance.now() - awayMs < APART_MS
    for (const [shard, isMore] of all.entries()) {
      if (!isMore) continue
      if (isApart) takeApart(shard)
      else add(shard, () => takeApart(shard))
    }
  }
  const timer = setInterval(() => {
    sweeping ??= look()
      // The store is away: the next look finds it again.
      .catch(() => {
        awayMs = performance.now()
      })
      .finally(() => {
        sweeping = undefined
      })
  }, SWEEP_EVERY_MS)
  return async () => {
    isStopped = true
    clearInterval(timer)
    await sweeping
    await Promise.all(apart.values())
  }
}
