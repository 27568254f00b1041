/** What a profile gives to the process. */
import type { Jobs } from '../core/jobs.ts'
import type {
  DeadLetters,
  EntryLog,
  InboxRows,
  Log,
  Mark,
  Ports,
  Push,
  Row,
  RowCounts,
  Turns,
  Wakes,
} from '../core/ports.ts'

export interface Storage {
  readonly entries: EntryLog
  readonly rows: InboxRows
  readonly wakes: Wakes
  readonly deadLetters: DeadLetters
  readonly turns: Turns
  readonly counts: RowCounts
  readonly inboxRowsMax: number
  readonly log: Log
}

export interface Opened {
  readonly ports: Ports
  readonly jobs: Jobs
  readonly push: Push
  readonly pendingMarks: readonly Mark[]
  /** What workers need, where rows are written by them and not by the intake. */
  readonly storage?: Storage
  /** Where the intake writes rows: calls `note` with each one whose device is not connected. */
  onAbsent?(note: (row: Row) => void): void
  /** Parts that do not answer now. */
  missing?(): readonly { readonly what: string; readonly why: string }[]
  /** What the store says of itself, for operators. */
  storeFacts(): Record<string, number | string>
  /** What PUBACK rests on, in a sentence. */
  readonly promise: string
  close(): Promise<void>
}
