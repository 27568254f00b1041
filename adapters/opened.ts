/** What a profile gives to the process. */
import type { Jobs } from '../core/jobs.ts'
import type {
  DeadLetters,
  EntryLog,
  InboxRows,
  Log,
  LostClaims,
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
  readonly lost: LostClaims
  readonly deadLetters: DeadLetters
  readonly turns: Turns
  readonly counts: RowCounts
  readonly inboxRowsMax: number
  readonly log: Log
}

/** Of a circuit breaker: calls go through, are refused, or one of them finds out. */
export type BreakerState = 'closed' | 'open' | 'half-open'

/** Retained topics of operators, shared by all nodes. Droppable: what was lost is read again. Nobody waits for it. */
export interface OperatorTopics {
  /** What is no shared topic stays here. */
  publish(topic: string, payload: string): void
  /** Calls back with topics of other nodes when they change; an empty payload: it is gone. */
  listen(onTopic: (topic: string, payload: string) => void): void
  close(): void
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
  /** Where there are other nodes. */
  readonly operatorTopics?: OperatorTopics
  /** Where there are other brokers: the deployment's value of this name, `own` where there was none yet. */
  shareSecret?(name: string, own: string): Promise<string>
  /** Parts that do not answer now. */
  missing?(): readonly { readonly what: string; readonly why: string; readonly breaker?: BreakerState }[]
  /** Circuit breakers by the store that they stand in front of. */
  breakers?(): Readonly<Record<string, BreakerState>>
  /** What the store says of itself, for operators. */
  storeFacts(): Record<string, number | string>
  /** Where workers read a log: entries of it that are not done, by shard. */
  backlogs?(): readonly number[]
  /** What PUBACK rests on, in a sentence; of a store that was not reached yet it says so. */
  promise(): string
  close(): Promise<void>
}
