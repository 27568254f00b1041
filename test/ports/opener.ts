/**
 * What a conformance suite is given: the ports of one profile over storage of its own, whichever adapters are behind
 * them.
 */
import type { Ports } from '../../core/ports.ts'
import type { Mark } from '../../core/row.ts'

/** Bounds that a suite makes small enough to reach. */
export interface Bounds {
  readonly inboxRowsMax?: number
  readonly waitingRecordsMax?: number
}

export interface Opening<P extends Partial<Ports> = Ports> {
  /** Another object after `reopen` and `crash`. */
  readonly ports: P
  /** Calls take effect in the order in which they were made, also those that are under way at once. */
  readonly isInOrder?: boolean
  /** Marks that were acknowledged and not appended before it was opened. */
  readonly pendingMarks: readonly Mark[]
  /** Added to the real time. A store whose clock cannot be moved has numbers as if it had been, and steps back alone. */
  readonly clock: { offsetMs: number }
  /** What the store says of itself. */
  facts(): Facts | Promise<Facts>
  /** Resolves when what was acknowledged is durable, or waits for a mark of its that is not appended. */
  commit(): Promise<void>
  /** Resolves when rows and records that waited have gone where old ones are kept. */
  age(): Promise<void>
  /** Closes in order and opens the same storage. */
  reopen(): Promise<void>
  /** Opens what the storage holds at this instant, as after a kill -9. */
  crash(): Promise<void>
  close(): Promise<void>
}

/** An adapter that has only some of the ports is given to their suites alone. */
export type Opener<P extends Partial<Ports> = Ports> = (bounds?: Bounds) => Promise<Opening<P>>

type Facts = Record<string, number | string>
