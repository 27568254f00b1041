/**
 * The jobs of the embedded profile, each with its period: plain functions (job, ports), run one after the other here.
 */
import { bury } from '../core/dead-letters.ts'
import type { Envelope } from '../core/envelope.ts'
import type { DeadLetters, Log, Ports, Row, Turns } from '../core/ports.ts'
import { type CountPorts, createRowCounter, lookAtFull, type SeenCursors } from './count.ts'
import { retain, WALK_BEGIN } from './retention.ts'
import { type StoragePorts, takeTurn } from './storage.ts'

const COUNT_EVERY_MS = 1_000
const LOOK_AT_FULL_EVERY_MS = 2_000

interface Job {
  readonly name: string
  readonly everyMs: number
  /** Makes the function that is run each period; what it remembers between runs it may forget. */
  start(ports: Ports): () => Promise<void>
}

const jobs: readonly Job[] = [
  {
    name: 'retention',
    everyMs: 500,
    start(ports) {
      let walk = WALK_BEGIN
      return async () => {
        walk = await retain(walk, ports)
      }
    },
  },
]

/**
 * Starts every job. A run that fails is logged and tried again a period later. Gives how to stop: runs under way end
 * first.
 */
export function startWorkers(ports: Ports): () => Promise<void> {
  const stops = jobs.map((job) => every(job.name, job.everyMs, job.start(ports), ports.log))
  return async () => void (await Promise.all(stops.map((stop) => stop())))
}

function every(name: string, everyMs: number, run: () => Promise<void>, log: Log): () => Promise<void> {
  let running: Promise<void> | undefined
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

type TurnPorts = Omit<StoragePorts, 'written' | 'bury'> &
  CountPorts & { readonly turns: Turns; readonly deadLetters: DeadLetters }

/** Takes turns of shards (D2). Gives how to stop: a turn under way ends after its step, and is taken by others. */
export function startTurns(storage: TurnPorts, ports: Ports): () => Promise<void> {
  const counter = createRowCounter(storage)
  const seen: SeenCursors = new Map()
  const written = (rows: readonly Row[]): void => {
    for (const { device } of rows) counter.note(device)
  }
  const keep = (envelope: Envelope, reason: string) => bury(ports, storage.deadLetters, envelope, reason)
  const turnPorts: StoragePorts = { ...storage, written, bury: keep }
  let isStopping = false
  const stop = storage.turns.work(
    (shard) => takeTurn(turnPorts, shard, () => isStopping),
    async (shard) => (await storage.entries.backlog(shard)) > 0,
  )
  const stops = [
    every('count', COUNT_EVERY_MS, counter.flush, storage.log),
    every('full', LOOK_AT_FULL_EVERY_MS, () => lookAtFull(storage, seen), storage.log),
  ]
  return async () => {
    isStopping = true
    await stop()
    await Promise.all(stops.map((each) => each()))
    await counter.flush().catch(() => undefined)
  }
}
