/**
 * How far what was read can be trusted: it is fresh for some seconds as long as every change is heard, and for fewer
 * when the listening connection is lost; and it is known to be right up to the last moment at which it was heard that
 * nothing had changed. Times are monotonic.
 */
import type { PostgresLimits } from './limits.ts'

export interface Known {
  /** When its read began. */
  readonly readMs: number
  /** Right at this time too. */
  rightMs: number
}

export interface Freshness {
  /** May be answered without a read. */
  isFresh(known: Known): boolean
  /** May be answered while the server does not. */
  isServable(known: Known): boolean
  isHearing(): boolean
  onHeard(): void
  onBeat(askedMs: number): void
  /** `known`: all that is kept. */
  onLost(known: Iterable<Known>): void
}

export function createFreshness(limits: PostgresLimits, nowMs: () => number): Freshness {
  let isHearing = false
  /** What was read since then and is still there did not change, up to `heardMs`. */
  let sinceMs = Number.POSITIVE_INFINITY
  let heardMs = 0
  const rightAt = ({ readMs, rightMs }: Known) => (readMs >= sinceMs ? Math.max(readMs, heardMs) : rightMs)
  return {
    isFresh: ({ readMs }) => readMs >= sinceMs && nowMs() - readMs <= (isHearing ? limits.freshMs : limits.deafFreshMs),
    isServable: (known) => nowMs() - rightAt(known) <= limits.staleMs,
    isHearing: () => isHearing,
    onHeard() {
      isHearing = true
      sinceMs = nowMs()
      heardMs = sinceMs
    },
    onBeat(askedMs) {
      heardMs = askedMs
    },
    onLost(known) {
      for (const each of known) each.rightMs = rightAt(each)
      isHearing = false
      sinceMs = nowMs()
      heardMs = sinceMs
    },
  }
}
