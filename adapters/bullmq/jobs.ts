/**
 * Queues of jobs on BullMQ. What BullMQ emits over its event streams decides nothing here. A job that failed for good
 * stays in its set of failed ones with its reason, bounded; a job whose process died is taken by another within
 * LOCK_MS + STALLED_EVERY_MS.
 */
import { Queue, Worker } from 'bullmq'
import type { Job, JobQueue, Jobs, QueueRules } from '../../core/jobs.ts'
import { connectionOf } from './connection.ts'

const LOCK_MS = 10_000
const STALLED_EVERY_MS = 5_000
/** How old the length of a queue may be that `add` is judged by. */
const COUNTED_FOR_MS = 1_000
/** A worker that waits for jobs looks again after so many seconds. */
const DRAIN_DELAY_S = 5
const LOOK_AT_DEAD_EVERY_MS = 5_000

type Data = Pick<Job, 'id' | 'data'>

interface Counts {
  jobsAdded: number
  jobsRefused: number
  jobsFailed: number
}

interface Settings {
  readonly url: string
  readonly prefix: string
}

/** How many wait, as it was a moment ago, and what this process added since. */
function createLength(queue: Queue): () => Promise<number> {
  let length = 0
  let countedMs = Number.NEGATIVE_INFINITY
  return async () => {
    const now = performance.now()
    if (now - countedMs > COUNTED_FOR_MS) {
      countedMs = now
      const counts = await queue.getJobCounts('waiting', 'delayed')
      length = Object.values(counts).reduce((sum, count) => sum + count, 0)
    }
    return length++
  }
}

function startWorker(
  { url, prefix }: Settings,
  name: string,
  rules: QueueRules,
  counts: Counts,
  run: (job: Job) => Promise<void>,
): () => Promise<void> {
  const worker = new Worker<Data>(
    name,
    async ({ data }) => {
      try {
        await run({ id: data.id, data: data.data })
      } catch (error) {
        counts.jobsFailed++
        throw error
      }
    },
    {
      connection: { ...connectionOf(url), enableOfflineQueue: true },
      prefix: `${prefix}bull`,
      concurrency: rules.concurrency,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_EVERY_MS,
      // A process that died is no fault of the job, up to a point.
      maxStalledCount: rules.attemptsMax,
      drainDelay: DRAIN_DELAY_S,
    },
  )
  worker.on('error', () => undefined)
  return () => worker.close()
}

/** Dead jobs by queue. A queue that is not answered is asked again at the next look, and not beside it. */
function countDead(queues: readonly Queue[]) {
  const dead: Record<string, number> = {}
  const asked = new Set<Queue>()
  async function look(queue: Queue): Promise<void> {
    if (asked.has(queue)) return
    asked.add(queue)
    try {
      dead[queue.name] = await queue.getFailedCount()
    } catch {
      // What was counted last stands.
    } finally {
      asked.delete(queue)
    }
  }
  const timer = setInterval(() => {
    for (const queue of queues) void look(queue)
  }, LOOK_AT_DEAD_EVERY_MS)
  timer.unref()
  return { read: () => ({ ...dead }), stop: () => clearInterval(timer) }
}

export function createJobs(settings: Settings): Jobs {
  const counts: Counts = { jobsAdded: 0, jobsRefused: 0, jobsFailed: 0 }
  const queues: Queue[] = []
  const byName = new Map<string, JobQueue>()
  const dead = countDead(queues)

  function createQueue(name: string, rules: QueueRules): JobQueue {
    const queue = new Queue<Data>(name, { connection: connectionOf(settings.url), prefix: `${settings.prefix}bull` })
    queue.on('error', () => undefined)
    queues.push(queue)
    const length = createLength(queue)
    return {
      async add({ id, data, delayMs = 0 }) {
        if ((await length()) >= rules.waitingMax) {
          counts.jobsRefused++
          return false
        }
        await queue.add(
          name,
          { id, data },
          {
            delay: delayMs,
            attempts: rules.attemptsMax,
            backoff: { type: 'exponential', delay: rules.backoffMs, jitter: 1 },
            deduplication: { id, keepLastIfActive: true },
            removeOnComplete: true,
            removeOnFail: { count: rules.deadMax },
          },
        )
        counts.jobsAdded++
        return true
      },
      work: (run) => startWorker(settings, name, rules, counts, run),
      async counts() {
        const { waiting = 0, delayed = 0, failed = 0 } = await queue.getJobCounts('waiting', 'delayed', 'failed')
        return { waiting: waiting + delayed, dead: failed }
      },
      async dead(limit) {
        const jobs = await queue.getFailed(0, limit - 1)
        return jobs.map(({ data, failedReason }) => ({ id: data.id, reason: failedReason }))
      },
    }
  }

  return {
    queue(name, rules) {
      // One connection, though brokers and workers in one process ask for the same.
      const queue = byName.get(name) ?? createQueue(name, rules)
      byName.set(name, queue)
      return queue
    },
    facts: () => ({ ...counts }),
    dead: dead.read,
    async close() {
      dead.stop()
      await Promise.all(queues.map((queue) => queue.close()))
    },
  }
}
