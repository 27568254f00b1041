/**
 * How far everybody may read (D3): rows at or below the low watermark of all shards are all written, and nothing will
 * be numbered below it. Inboxes are read up to it and no further, so positions come in order whatever shard lags
 * (docs/adr/0016). It is heard, in one order with the wakes, when any process publishes it: workers do when an entry is
 * done. Who waits longer than that publishes it too.
 */
import type { EntryLog } from './ports.ts'

export interface LowWatermark {
  /** As it was heard last; only rises. */
  value(): number
  /** It was published, by whomever. */
  hear(watermark: number): void
  /** Calls back, once, when rows up to `seq` can be read. Gives how to forget it: who waits no more must. */
  onceReadable(seq: number, call: () => void): () => void
  stop(): void
}

/** Somebody waits: if nobody else publishes it within this time, this process does. */
const QUIET_MS = 20
const AGAIN_MS = 200
/** Appends of this node number above what it has seen (D3), also when nobody waits. */
const REGULAR_MS = 1_000

export function createLowWatermark(entries: Pick<EntryLog, 'publish'>): LowWatermark {
  let known = 0
  let heardMs = 0
  let isStopped = false
  const waiting = new Set<{ readonly seq: number; readonly call: () => void }>()
  let timer: NodeJS.Timeout | undefined

  function look(afterMs: number): void {
    if (timer !== undefined || isStopped || waiting.size === 0) return
    timer = setTimeout(() => {
      timer = undefined
      if (performance.now() - heardMs < QUIET_MS) return look(QUIET_MS)
      entries.publish().then(
        () => look(QUIET_MS),
        () => look(AGAIN_MS),
      )
    }, afterMs)
  }

  const regular = setInterval(() => void entries.publish().catch(() => undefined), REGULAR_MS)
  regular.unref()

  return {
    value: () => known,
    hear(watermark) {
      heardMs = performance.now()
      if (watermark <= known) return
      known = watermark
      if (waiting.size === 0) return
      for (const one of [...waiting].filter(({ seq }) => seq <= known)) {
        // One that was called may have had another forgotten.
        if (waiting.delete(one)) one.call()
      }
    },
    onceReadable(seq, call) {
      if (seq <= known) {
        call()
        return () => undefined
      }
      const one = { seq, call }
      waiting.add(one)
      look(0)
      return () => void waiting.delete(one)
    },
    stop() {
      isStopped = true
      clearTimeout(timer)
      clearInterval(regular)
      waiting.clear()
    },
  }
}
