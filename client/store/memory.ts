/**
 * What the turns read again and again, kept in memory by its place in the database. It follows the transaction: what
 * is written is put or forgotten in the same turn, and everything is forgotten when a part or a turn is undone.
 * Bounded: all of it goes when there is too much.
 */
/** State in memory that follows the transaction: written before its commit, forgotten when it is rolled back. */
export interface Cache {
  flush(): void
  /** A part begins, which may be undone by itself. */
  keep(): void
  /** The part is undone. */
  restore(): void
  /** The turn is undone: forget everything. */
  drop(): void
}

const KEPT_MAX = 10_000

export interface Memory {
  /** What is kept of this place, or what `read` reads. In a turn. */
  recall<T>(place: string, read: () => T): T
  /** What stands there now: written in this turn. */
  put(place: string, value: unknown): void
  forget(place: string): void
}

/** The memory, and what makes it follow the transaction. */
export function createMemory(): { readonly memory: Memory; readonly cache: Cache } {
  const kept = new Map<string, unknown>()
  const put = (place: string, value: unknown): void => {
    if (kept.size >= KEPT_MAX) kept.clear()
    kept.set(place, value)
  }
  const clear = (): void => kept.clear()
  return {
    memory: {
      recall<T>(place: string, read: () => T): T {
        if (kept.has(place)) return kept.get(place) as T
        const value = read()
        put(place, value)
        return value
      },
      put,
      forget: (place) => void kept.delete(place),
    },
    cache: { flush: () => undefined, keep: () => undefined, restore: clear, drop: clear },
  }
}
