/**
 * Queues of jobs beside the data plane. A job is a nudge: what it is about is in the stores, and a job that is lost or
 * done twice does no harm. The shards of the intake have turns instead (core/cluster.ts).
 */

export interface QueueRules {
  /** Jobs of one process at one time. */
  readonly concurrency: number
  /** A job that fails so often is a dead job, kept with its reason. */
  readonly attemptsMax: number
  /** The pause before attempt n + 1 is random, below this times 2^(n-1). */
  readonly backoffMs: number
  /** Jobs that wait, about: processes look at it once a second. Beyond, nothing is added. */
  readonly waitingMax: number
  /** Dead jobs that are kept; the oldest go. */
  readonly deadMax: number
}

export interface Job {
  /** Of a queue, at most one job of an id waits and one runs. */
  readonly id: string
  /** What JSON can say. */
  readonly data: unknown
  readonly delayMs?: number
}

export interface DeadJob {
  readonly id: string
  readonly reason: string
}

export interface JobQueue {
  /**
   * While a job of the id waits, this one is dropped; while one runs, the last that was added waits behind it, with its
   * delay. Resolves with false when the queue is full. Rejects when the store is away.
   */
  add(job: Job): Promise<boolean>
  /**
   * Runs jobs until stopped, which waits for those under way. At least once: one whose process dies is run by another
   * after some seconds. What throws is tried again, at most `attemptsMax` times in all.
   */
  work(run: (job: Job) => Promise<void>): () => Promise<void>
  /** Jobs that wait, with or without a delay, and that are dead. */
  counts(): Promise<{ readonly waiting: number; readonly dead: number }>
  /** The newest, newest first, at most `limit`. */
  dead(limit: number): Promise<readonly DeadJob[]>
}

/** What this process did to its queues. */
export interface JobFacts {
  readonly jobsAdded: number
  /** Not added because their queue was full. */
  readonly jobsRefused: number
  /** Failed attempts. */
  readonly jobsFailed: number
}

/** Jobs outlive the processes that add them where the store does: not in memory. */
export interface Jobs {
  /** The same name has the same rules in every process; asked for again, it is the same queue. */
  queue(name: string, rules: QueueRules): JobQueue
  facts(): JobFacts
  /** Dead jobs by queue, of the queues that were asked for here; some seconds old at most while the store answers. */
  dead(): Readonly<Record<string, number>>
  close(): Promise<void>
}
