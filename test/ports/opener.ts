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

export interface Opening {
  /** Another object after `reopen` and `crash`. */
  readonly ports: Ports
  /** Marks that were acknowledged and not appended before it was opened. */
  readonly pendingMarks: readonly Mark[]
  /** Added to the real time. */
  readonly clock: { offsetMs: number }
  /** What the store says of itself. */
  facts(): Record<string, number | string>
  /** Resolves when rows and records that waited have gone where old ones are kept. */
  age(): Promise<void>
  /** Closes in order and opens the same storage. */
  reopen(): Promise<void>
  /** Opens what the storage holds at this instant, as after a kill -9. */
  crash(): Promise<void>
  close(): Promise<void>
}

export type Opener = (bounds?: Bounds) => Promise<Opening>
