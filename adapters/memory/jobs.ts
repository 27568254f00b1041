/** Queues in this process, for the embedded profile: they end with it, and begin empty. */
import type { DeadJob, Job, JobQueue, Jobs, QueueRules } from '../../core/jobs.ts'

interface Entry {
  readonly job: Job
  attempts: number
}

interface State {
  readonly rules: QueueRules
  /** Ready to run, oldest first. */
  readonly ready: Entry[]
  readonly timers: Map<string, NodeJS.Timeout>
  /** Ids that wait, ready or with a delay. */
  readonly waiting: Set<string>
  /** By id; the job that waits behind it, if any. */
  readonly running: Map<string, Job | undefined>
  readonly dead: DeadJob[]
  run: ((job: Job) => Promise<void>) | undefined
  onIdle: (() => void)[]
}

interface Counts {
  jobsAdded: number
  jobsRefused: number
  jobsFailed: number
}

function ready(counts: Counts, state: State, entry: Entry, delayMs: number): void {
  const { id } = entry.job
  state.waiting.add(id)
  const begin = (): void => {
    state.timers.delete(id)
    state.ready.push(entry)
    next(counts, state)
  }
  if (delayMs <= 0) return begin()
  const timer = setTimeout(begin, delayMs)
  timer.unref()
  state.timers.set(id, timer)
}

function next(counts: Counts, state: State): void {
  const { run, running, rules } = state
  while (run !== undefined && running.size < rules.concurrency) {
    const entry = state.ready.shift()
    if (entry === undefined) return
    state.waiting.delete(entry.job.id)
    running.set(entry.job.id, undefined)
    void attempt(counts, state, entry, run)
  }
}

async function attempt(counts: Counts, state: State, entry: Entry, run: (job: Job) => Promise<void>): Promise<void> {
  const { job } = entry
  const { rules, running, dead } = state
  let again: number | undefined
  try {
    entry.attempts++
    await run(job)
  } catch (error) {
    counts.jobsFailed++
    if (entry.attempts < rules.attemptsMax) again = Math.random() * rules.backoffMs * 2 ** (entry.attempts - 1)
    else {
      dead.unshift({ id: job.id, reason: (error as Error).message })
      dead.length = Math.min(dead.length, rules.deadMax)
    }
  }
  const behind = running.get(job.id)
  running.delete(job.id)
  // What waits behind it begins its attempts anew.
  if (behind !== undefined) ready(counts, state, { job: behind, attempts: 0 }, behind.delayMs ?? 0)
  else if (again !== undefined) ready(counts, state, entry, again)
  if (running.size === 0) for (const call of state.onIdle.splice(0)) call()
  next(counts, state)
}

function createQueue(counts: Counts, state: State): JobQueue {
  return {
    async add(job) {
      if (state.waiting.has(job.id)) return true
      if (state.waiting.size >= state.rules.waitingMax) {
        counts.jobsRefused++
        return false
      }
      counts.jobsAdded++
      if (state.running.has(job.id)) state.running.set(job.id, job)
      else ready(counts, state, { job, attempts: 0 }, job.delayMs ?? 0)
      return true
    },
    work(run) {
      state.run = run
      next(counts, state)
      return async () => {
        state.run = undefined
        if (state.running.size > 0) await new Promise<void>((resolve) => void state.onIdle.push(resolve))
      }
    },
    counts: async () => ({ waiting: state.waiting.size, dead: state.dead.length }),
    dead: async (limit) => state.dead.slice(0, limit),
  }
}

export function createJobs(): Jobs {
  const counts: Counts = { jobsAdded: 0, jobsRefused: 0, jobsFailed: 0 }
  const states = new Map<string, State>()
  return {
    queue(name, rules) {
      const state: State = states.get(name) ?? {
        rules,
        ready: [],
        timers: new Map(),
        waiting: new Set(),
        running: new Map(),
        dead: [],
        run: undefined,
        onIdle: [],
      }
      states.set(name, state)
      return createQueue(counts, state)
    },
    facts: () => ({ ...counts }),
    dead: () => Object.fromEntries([...states].map(([name, { dead }]) => [name, dead.length])),
    async close() {
      for (const { timers } of states.values()) for (const timer of timers.values()) clearTimeout(timer)
    },
  }
}
