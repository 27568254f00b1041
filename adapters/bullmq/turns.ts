/**
 * Turns of shards as BullMQ jobs (D1, D2): a job is a nudge, its id the shard, so there is one at a time; the data is
 * in the intake. A worker that dies loses its job after some seconds to another; one that is slow may run beside it,
 * which does no harm. What needs a turn although no job says so is found by workers/recover.ts.
 */
import { Queue, Worker } from 'bullmq'
import type { Turns } from '../../core/ports.ts'
import { connectionOf } from './connection.ts'

const QUEUE = 'storage'
/** A worker that is silent for so long loses its turn at the second look afterwards: after 3.5 s at most. */
const LOCK_MS = 2_500
const STALLED_EVERY_MS = 500
/** Nudges of one shard are so far apart at least: workers look by themselves soon after. */
const NUDGE_EVERY_MS = 20
const METRICS_MINUTES = 60
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

export function openTurns({ url, prefix, shards }: TurnSettings): OpenedTurns {
  const queue = new Queue(QUEUE, { connection: connectionOf(url), prefix: `${prefix}bull` })
  queue.on('error', () => undefined)
  const nudged = Array.from({ length: shards }, () => 0)
  let added = 0

  async function add(shard: number): Promise<boolean> {
    added++
    const options = { jobId: `shard-${shard}`, removeOnComplete: true, removeOnFail: true }
    try {
      await queue.add('turn', { shard }, options)
      return true
    } catch (error) {
      return !(error as Error).message.includes('OOM')
    }
  }

  return {
    turns: {
      silentMsMax: LOCK_MS + 2 * STALLED_EVERY_MS,
      nudge(shard) {
        const now = performance.now()
        if (now - (nudged[shard] ?? 0) < NUDGE_EVERY_MS) return
        nudged[shard] = now
        void add(shard)
      },
      queue: add,
      work: (run) => startWorker({ url, prefix, shards }, run, add),
    },
    nudges: () => added,
    close: () => queue.close(),
  }
}

type Take = (shard: number) => Promise<boolean>

/** Takes the jobs. Gives how to stop. */
function startWorker({ url, prefix, shards }: TurnSettings, take: Take, add: (shard: number) => Promise<boolean>) {
  let isStopped = false
  const worker = new Worker<{ shard: number }>(
    QUEUE,
    async ({ data: { shard } }) => {
      const isMore = await take(shard)
      // Behind the others; the job has to be gone first, since its id is the shard.
      if (isMore && !isStopped) setTimeout(() => void add(shard), 1)
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
