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

export function createHolds(wake: () => void): Holds {
  const until = new Map<string, number>()
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
    const end = until.get(peer)
    if (end === undefined) return false
    if (end > performance.now()) return true
    until.delete(peer)
    return false
  }

  return {
    has,
    peers: () => [...until.keys()].filter(has),
    put(peer, ms) {
      // A clock that is put right meanwhile does not move it.
      until.set(peer, performance.now() + ms)
      wakeIn(ms)
    },
    release: (peer) => void until.delete(peer),
    wakeIn,
    isWaking: () => dueMs !== Number.POSITIVE_INFINITY,
    stop() {
      isStopped = true
      clearTimeout(timer)
    },
  }
}
