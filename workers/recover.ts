/**
 * Which shards need a turn although nobody asked for one (D1): every worker looks at all of them, again and again, so
 * that no nudge has to arrive and no job has to survive. A shard with a backlog has its turn queued. Where that cannot
 * be, the turn is taken here, without: of a store that is full, or nothing would ever leave it, and of one that was
 * away, for the turns of that time are nobody's until they are given to others. Idempotent: a turn that two workers
 * have does no harm. Bounded: one look at a time, and one turn of each shard that is taken here.
 */
import type { EntryLog, Turns } from '../core/ports.ts'

export interface RecoverPorts {
  readonly turns: Pick<Turns, 'queue' | 'silentMsMax'>
  readonly entries: Pick<EntryLog, 'backlog'>
  readonly shards: number
  /** Takes a turn of the shard in this process. Never rejects. */
  take(shard: number): Promise<unknown>
}

/** What one worker knows from look to look. */
interface Recovery {
  /** When the store did not answer last, by the monotonic clock. */
  awayMs: number
  /** Turns that were taken here, by shard. */
  readonly apart: Map<number, Promise<unknown>>
  isStopped: boolean
}

const LOOK_EVERY_MS = 500

const newRecovery = (): Recovery => ({ awayMs: Number.NEGATIVE_INFINITY, apart: new Map(), isStopped: false })

function takeApart({ take }: RecoverPorts, { apart, isStopped }: Recovery, shard: number): void {
  if (isStopped || apart.has(shard)) return
  const turn = take(shard).finally(() => apart.delete(shard))
  apart.set(shard, turn)
}

/**
 * One look at all shards. It does not wait for what it queues: a store that stops answering there would keep the next
 * look from noticing it.
 */
async function recover(ports: RecoverPorts, recovery: Recovery): Promise<void> {
  const { turns, entries, shards } = ports
  const all = Array.from({ length: shards }, (_, shard) => shard)
  let backlogs: number[]
  try {
    backlogs = await Promise.all(all.map((shard) => entries.backlog(shard)))
  } catch {
    // The next look finds the store again.
    recovery.awayMs = performance.now()
    return
  }
  // Until every turn of before the outage has been given to others, and one look longer.
  const isApart = performance.now() - recovery.awayMs < turns.silentMsMax + LOOK_EVERY_MS
  for (const shard of all.filter((each) => (backlogs[each] ?? 0) > 0)) {
    if (isApart) takeApart(ports, recovery, shard)
    else {
      void turns.queue(shard).then((isQueued) => {
        if (!isQueued) takeApart(ports, recovery, shard)
      })
    }
  }
}

/**
 * Looks until stopped, which waits for turns that were taken here. The first look comes at a random moment of its
 * period: workers that were started together do not look together.
 */
export function startRecovery(ports: RecoverPorts): () => Promise<void> {
  const recovery = newRecovery()
  let looking: Promise<unknown> | undefined
  function look(): void {
    looking ??= recover(ports, recovery).finally(() => {
      looking = undefined
    })
  }
  let timer = setTimeout(() => {
    timer = setInterval(look, LOOK_EVERY_MS)
    look()
  }, Math.random() * LOOK_EVERY_MS)
  return async () => {
    recovery.isStopped = true
    clearInterval(timer)
    await looking
    await Promise.all(recovery.apart.values())
  }
}
