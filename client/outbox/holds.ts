/** Peers for whom nothing is encrypted for a while, and the one timer that looks again. Bounded by those there are. */

export interface Holds {
  has(peer: string): boolean
  /** All that are held now. */
  peers(): string[]
  /** For so long; Infinity: until `release`. */
  put(peer: string, ms: number): void
  release(peer: string): void
  /** Wakes in so many ms, or sooner when that was asked for before. */
  wakeIn(ms: number): void
  isWaking(): boolean
  stop(): void
}

export function createHolds(now: () => number, wake: () => void): Holds {
  const held = new Map<string, { readonly sinceMs: number; readonly ms: number }>()
  let timer: NodeJS.Timeout | undefined
  let dueMs = Number.POSITIVE_INFINITY
  let isStopped = false

  function wakeIn(ms: number): void {
    const atMs = performance.now() + ms
    if (isStopped || atMs >= dueMs) return
    clearTimeout(timer)
    dueMs = atMs
    timer = setTimeout(() => {
      dueMs = Number.POSITIVE_INFINITY
      wake()
    }, ms).unref()
  }

  function has(peer: string): boolean {
    const hold = held.get(peer)
    if (hold === undefined) return false
    if (hold.ms === Number.POSITIVE_INFINITY) return true
    const passedMs = now() - hold.sinceMs
    // A clock that was put right meanwhile, perhaps by years, ends it.
    if (passedMs >= 0 && passedMs < hold.ms) return true
    held.delete(peer)
    return false
  }

  return {
    has,
    peers: () => [...held.keys()].filter(has),
    put(peer, ms) {
      held.set(peer, { sinceMs: now(), ms })
      wakeIn(ms)
    },
    release: (peer) => void held.delete(peer),
    wakeIn,
    isWaking: () => dueMs !== Number.POSITIVE_INFINITY,
    stop() {
      isStopped = true
      clearTimeout(timer)
    },
  }
}
