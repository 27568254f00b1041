/**
 * How far everybody may read (D3): rows at or below the least watermark of all shards are all written, and nothing will
 * be numbered below it. Inboxes are read up to it and no further, so positions come in order whatever shard lags
 * (docs/adr/0016).
 */
import type { EntryLog } from './ports.ts'

export interface LowWatermark {
  /** As it was learnt last; only rises. */
  value(): number
  /** Asks the store. Calls side by side share one asking that began after all of them. */
  refresh(): Promise<number>
  /** Calls back, once, when rows up to `seq` can be read. Bounded by the devices of the node: one each is enough. */
  onceReadable(seq: number, call: () => void): void
  stop(): void
}

/** While somebody waits, the store is asked so often. */
const ASK_EVERY_MS = 4
const ASK_AGAIN_MS = 200
const REGULAR_MS = 1_000

export function createLowWatermark(entries: EntryLog, shards: number): LowWatermark {
  let known = 0
  let isStopped = false
  let asking: Promise<number> | undefined
  let next: Promise<number> | undefined
  let waiting: { readonly seq: number; readonly call: () => void }[] = []
  let timer: NodeJS.Timeout | undefined

  async function ask(): Promise<number> {
    const all = await Promise.all(Array.from({ length: shards }, (_, shard) => entries.publish(shard)))
    known = Math.max(known, Math.min(...all))
    const due = waiting.filter(({ seq }) => seq <= known)
    if (due.length > 0) waiting = waiting.filter(({ seq }) => seq > known)
    for (const { call } of due) call()
    return known
  }

  function refresh(): Promise<number> {
    if (asking === undefined) {
      asking = ask().finally(() => {
        asking = undefined
      })
      return asking
    }
    // What was appended after the asking began is not in its answer.
    next ??= asking
      .catch(() => undefined)
      .then(() => {
        next = undefined
        return refresh()
      })
    return next
  }

  function look(afterMs: number): void {
    if (timer !== undefined || isStopped || waiting.length === 0) return
    timer = setTimeout(() => {
      timer = undefined
      refresh().then(
        () => look(ASK_EVERY_MS),
        () => look(ASK_AGAIN_MS),
      )
    }, afterMs)
  }

  // Appends of this node number above what it has seen (D3), also when nobody waits.
  const regular = setInterval(() => void refresh().catch(() => undefined), REGULAR_MS)
  regular.unref()

  return {
    value: () => known,
    refresh,
    onceReadable(seq, call) {
      if (seq <= known) return call()
      waiting.push({ seq, call })
      look(0)
    },
    stop() {
      isStopped = true
      clearTimeout(timer)
      clearInterval(regular)
      waiting = []
    },
  }
}
