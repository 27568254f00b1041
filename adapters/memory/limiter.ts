/**
 * Token buckets of one process. A bucket is one number: when it will be full again. What is full is forgotten, a few
 * at every step, so that nobody has to sweep.
 */
import type { Clock, Limiter } from '../../core/ports.ts'

const LOOKS_PER_TAKE = 4

/** At most `bucketsMax`; beyond, the one that was used longest ago is taken for full. */
export function createLimiter(now: Clock, bucketsMax: number): Limiter {
  /** Least recently used first: a bucket that is used goes to the end. */
  const fullAt = new Map<string, number>()

  function forget(): void {
    let looks = 0
    for (const [key, ms] of fullAt) {
      const isOver = fullAt.size >= bucketsMax
      if (!isOver && (ms > now() || looks >= LOOKS_PER_TAKE)) return
      looks++
      fullAt.delete(key)
    }
  }

  return {
    async take(name, key, burst, everyMs, count = 1) {
      const bucket = `${name} ${key}`
      // Once: a clock that steps back in between would refuse a bucket that is full.
      const atMs = now()
      const full = Math.max(fullAt.get(bucket) ?? 0, atMs) + count * everyMs
      const waitMs = full - atMs - burst * everyMs
      if (waitMs > 0) return Math.ceil(waitMs)
      fullAt.delete(bucket)
      forget()
      fullAt.set(bucket, full)
      return 0
    },
    async giveBack(name, key, everyMs, count = 1) {
      const bucket = `${name} ${key}`
      const full = (fullAt.get(bucket) ?? 0) - count * everyMs
      // Full again: that is what no entry means.
      if (full <= now()) fullAt.delete(bucket)
      else fullAt.set(bucket, full)
    },
  }
}
