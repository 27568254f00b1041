/**
 * Turns of shards as BullMQ jobs (D1, D2): a job is a nudge, its id the shard, so there is one at a time; the data is
 * in the intake. A worker that dies loses its job after some seconds to another; one that is slow may run beside it,
 * which does no harm. Nudges may be lost.
 */
import { Queue, Worker } from 'bullmq'
import type { Log, Turns } from '../../core/ports.ts'
import { connectionOf } from './connection.ts'

const QUEUE = 'storage'
const LOCK_MS = 3_000
const STALLED_EVERY_MS = 1_000
/** Nudges of one shard are so far apart at least: what came in between is found by who looks (workers/recover). */
const NUDGE_EVERY_MS = 20
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
    work(run) {
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
      return async () => {
        isStopped = true
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
