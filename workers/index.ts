/**
 * The table of queues, with their concurrency, retries and bounds, and what begins their chains. Turns of shards
 * (storage.ts, recover.ts) have a queue of their own kind: core's Turns. There is no row for fan-out, since groups do
 * not exist yet and a pair's entry names all of its devices.
 */
import { bury } from '../core/dead-letters.ts'
import type { Envelope } from '../core/envelope.ts'
import type { Job, JobQueue, Jobs, QueueRules } from '../core/jobs.ts'
import type { DeadLetters, Log, LostClaims, Ports, Push, Row, Turns } from '../core/ports.ts'
import { type CountPorts, createRowCounter, lookAtFull, type RowCounter, type SeenCursors } from './count.ts'
import { findLost, LOST_BEGIN, type Lost, presence } from './presence.ts'
import { createPushNotes, type PushNotes, push } from './push.ts'
import { startRecovery } from './recover.ts'
import { retainFor, WALK_BEGIN, type Walk } from './retention.ts'
import { type StoragePorts, takeTurn } from './storage.ts'

export type StorageParts = Omit<StoragePorts, 'written' | 'bury'> &
  CountPorts & { readonly turns: Turns; readonly deadLetters: DeadLetters; readonly lost: LostClaims }

/** What a profile gives to its workers. */
export interface WorkerParts {
  readonly ports: Ports
  readonly jobs: Jobs
  readonly push: Push
  /** Where rows are written by workers and not by the intake. */
  readonly storage?: StorageParts
  /** Where they are not: who gets a row without being connected. */
  onAbsent?(note: (row: Row) => void): void
}

interface Parts extends WorkerParts {
  readonly ofPresence: JobQueue
  readonly ofPush: JobQueue
  /** From one round of retention to the next: in the cluster a round reads what may be on many machines. */
  readonly roundEveryMs: number
}

interface QueueRow {
  readonly rules: QueueRules
  /**
   * A queue with one job that comes again and again: it exists once in a cluster, and goes from process to process.
   * What it begins with when there is none.
   */
  readonly chain?: Job
  /** Runs a job; of a chain, gives the next one. */
  run(job: Job, parts: Parts): Promise<Job | undefined>
}

const MINUTE_MS = 60_000
const FEW: QueueRules = { concurrency: 1, attemptsMax: 5, backoffMs: 500, waitingMax: 10, deadMax: 100 }

export const queues = {
  push: {
    rules: { concurrency: 4, attemptsMax: 5, backoffMs: 1_000, waitingMax: 100_000, deadMax: 1_000 },
    async run(job, { ports, storage, push: sender }) {
      const waitingRows = (device: string, limit: number) =>
        storage === undefined
          ? ports.inbox.page(device, 0, 0, limit)
          : storage.rows.page(device, 0, 0, Number.MAX_SAFE_INTEGER, limit)
      await push(job, { directory: ports.directory, push: sender, waitingRows })
      return undefined
    },
  },
  presence: {
    rules: { concurrency: 4, attemptsMax: 5, backoffMs: 1_000, waitingMax: 100_000, deadMax: 100 },
    async run(job, { ports, ofPush }) {
      await presence(job, ports, ofPush)
      return undefined
    },
  },
  lost: {
    rules: FEW,
    chain: { id: 'look', data: LOST_BEGIN },
    async run({ id, data }, { ports, storage, ofPresence }) {
      if (storage === undefined) return undefined
      const at = await findLost(data as Lost, storage.lost, ofPresence, ports.now)
      return { id, data: at, delayMs: at.dead.length > 0 ? LOST_STEP_EVERY_MS : LOOK_FOR_LOST_EVERY_MS }
    },
  },
  retention: {
    rules: FEW,
    chain: { id: 'walk', data: WALK_BEGIN },
    async run({ id, data }, { ports, roundEveryMs }) {
      const walk = await retainFor(RETENTION_RUN_MS, data as Walk, ports)
      return { id, data: walk, delayMs: walk.device === '' ? roundEveryMs : RETENTION_STEP_EVERY_MS }
    },
  },
  full: {
    rules: FEW,
    chain: { id: 'look', data: {} },
    async run({ id, data }, { storage }) {
      if (storage === undefined) return undefined
      const seen: SeenCursors = new Map(Object.entries(data as Record<string, string>))
      await lookAtFull(storage, seen)
      return { id, data: Object.fromEntries(seen), delayMs: LOOK_AT_FULL_EVERY_MS }
    },
  },
} as const satisfies Record<string, QueueRow>

type QueueName = keyof typeof queues
/** What they look at is there in the cluster only. */
const IN_CLUSTER: ReadonlySet<QueueName> = new Set(['lost', 'full'])

/** A run of the walk is short: steps of a few milliseconds each, for so long. */
const RETENTION_RUN_MS = 50
const RETENTION_STEP_EVERY_MS = 500
const ROUND_EVERY_MS = { embedded: 500, cluster: 60 * MINUTE_MS }
const LOOK_AT_FULL_EVERY_MS = 2_000
/** A node that is silent at two looks has died: it had that time to be heard again. */
const LOOK_FOR_LOST_EVERY_MS = 5_000
const LOST_STEP_EVERY_MS = 50
/** A chain whose process died at the wrong moment begins anew within this. */
const CHAIN_LOOK_EVERY_MS = 10_000
const COUNT_EVERY_MS = 1_000

/** Runs of the same thing do not overlap; one that fails is logged and tried again a period later. */
function every(name: string, everyMs: number, run: () => Promise<unknown>, log: Log): () => Promise<void> {
  let running: Promise<unknown> | undefined
  const timer = setInterval(() => {
    running ??= run()
      .catch((error: Error) => log.warn({ job: name, error: error.message }, 'a job failed; it is tried again'))
      .finally(() => {
        running = undefined
      })
  }, everyMs)
  timer.unref()
  return async () => {
    clearInterval(timer)
    await running
  }
}

/** Works on one queue, and keeps its chain going. Gives how to stop. */
function startQueue(name: string, queue: JobQueue, row: QueueRow, parts: Parts): () => Promise<void> {
  const { log } = parts.ports
  const stopWork = queue.work(async (job) => {
    try {
      const next = await row.run(job, parts)
      if (next !== undefined) await queue.add(next)
    } catch (error) {
      log.warn({ queue: name, job: job.id, error: (error as Error).message }, 'a job failed')
      throw error
    }
  })
  const { chain } = row
  if (chain === undefined) return stopWork
  const begin = () => queue.add(chain)
  begin().catch(() => undefined)
  const stopChain = every(name, CHAIN_LOOK_EVERY_MS, begin, log)
  return async () => {
    await stopChain()
    await stopWork()
  }
}

/** Takes turns of shards (D2). Gives how to stop: a turn under way ends after its step, and is taken by others. */
function startTurns(storage: StorageParts, ports: Ports, counter: RowCounter, notes: PushNotes): () => Promise<void> {
  function written(rows: readonly Row[], absent: readonly string[]): void {
    for (const { device } of rows) counter.note(device)
    if (absent.length === 0) return
    const away = new Set(absent)
    for (const row of rows) if (away.has(row.device)) notes.note(row)
  }
  const keep = (envelope: Envelope, reason: string) => bury(ports, storage.deadLetters, envelope, reason)
  const turnPorts: StoragePorts = { ...storage, written, bury: keep }
  const { entries, turns } = storage
  let isStopping = false
  const take = (shard: number): Promise<boolean> =>
    takeTurn(turnPorts, shard, () => isStopping).catch((error: Error) => {
      ports.log.warn({ shard, error: error.message }, 'a turn failed; it is taken again')
      return false
    })
  const stopTurns = turns.work(take)
  const stopRecovery = startRecovery({ turns, entries, shards: ports.intake.shards, take })
  const stopCounting = every('count', COUNT_EVERY_MS, counter.flush, ports.log)
  return async () => {
    isStopping = true
    await stopRecovery()
    await stopTurns()
    await stopCounting()
    await counter.flush().catch(() => undefined)
  }
}

/** Works on everything there is to work on in this process. Gives how to stop: what is under way ends first. */
export function startWorkers(given: WorkerParts): () => Promise<void> {
  const { ports, jobs, storage } = given
  const names = (Object.keys(queues) as QueueName[]).filter((name) => storage !== undefined || !IN_CLUSTER.has(name))
  const open = new Map(names.map((name) => [name, jobs.queue(name, queues[name].rules)] as const))
  const parts: Parts = {
    ...given,
    ofPresence: open.get('presence') as JobQueue,
    ofPush: open.get('push') as JobQueue,
    roundEveryMs: storage === undefined ? ROUND_EVERY_MS.embedded : ROUND_EVERY_MS.cluster,
  }
  const notes = createPushNotes(parts.ofPush)
  given.onAbsent?.(notes.note)
  const stops = [...open].map(([name, queue]) => startQueue(name, queue, queues[name], parts))
  if (storage !== undefined) stops.push(startTurns(storage, ports, createRowCounter(storage), notes))
  return async () => {
    notes.stop()
    await Promise.all(stops.map((stop) => stop()))
  }
}
