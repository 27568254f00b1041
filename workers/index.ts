/**
 * The jobs of the embedded profile, each with its period: plain functions (job, ports), run one after the other here.
 */
import type { Ports, Turns } from '../core/ports.ts'
import { retain, WALK_BEGIN } from './retention.ts'
import { type StoragePorts, takeTurn } from './storage.ts'

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
  const stops = jobs.map((job) => every(job, job.start(ports), ports))
  return async () => void (await Promise.all(stops.map((stop) => stop())))
}

function every({ name, everyMs }: Job, run: () => Promise<void>, ports: Ports): () => Promise<void> {
  let running: Promise<void> | undefined
  const timer = setInterval(() => {
    running ??= run()
      .catch((error: Error) => ports.log.warn({ job: name, error: error.message }, 'a job failed; it is tried again'))
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

/** Takes turns of shards (D2). Gives how to stop: a turn under way ends after its step, and is taken by others. */
export function startTurns(storage: StoragePorts & { readonly turns: Turns }): () => Promise<void> {
  let isStopping = false
  const stop = storage.turns.work(
    (shard) => takeTurn(storage, shard, () => isStopping),
    async (shard) => (await storage.entries.backlog(shard)) > 0,
  )
  return async () => {
    isStopping = true
    await stop()
  }
}
