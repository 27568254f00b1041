/** The only file that names adapters: which ones a profile is made of. */
import type { Claims, Clock, Directory, Inbox, Intake, Log, Mark, Ports } from '../core/ports.ts'
import type { Config } from '../core/config.ts'
import { limits } from '../topics/limits.ts'
import { createClaims } from './memory/claims.ts'
import { openSqlite } from './sqlite/index.ts'

export interface Opened {
  readonly ports: Ports
  readonly pendingMarks: readonly Mark[]
  /** What the store says of itself, for operators. */
  storeFacts(): Record<string, number | string>
  /** What PUBACK rests on, in a sentence. */
  readonly promise: string
  close(): Promise<void>
}

const MIB = 1024 * 1024
const CACHE_BYTES_MAX = 32 * MIB
const SETTLE_AFTER_MS = 3_000
const MOVE_ROWS_MAX = 500

/** Opens the embedded profile: everything in one process, one SQLite database. */
export async function openPorts(
  config: Config,
  now: Clock,
  log: Log,
  onFatal: (error: Error) => void,
): Promise<Opened> {
  const store = await openSqlite(
    config.dataDir,
    {
      inboxRowsMax: config.inboxRowsMax,
      tailRowsMax: limits.tailRowsMax,
      waitingRecordsMax: limits.waitingRecordsMax,
      cacheBytesMax: CACHE_BYTES_MAX,
      settleAfterMs: SETTLE_AFTER_MS,
      moveRowsMax: MOVE_ROWS_MAX,
      diskFreeBytesMin: config.diskFreeMibMin * MIB,
      diskReserveBytes: config.diskReserveMib * MIB,
    },
    now,
    onFatal,
    (text, facts) => log.warn(facts, text),
  )
  const claims: Claims = createClaims()
  const { intake, inbox, directory }: { intake: Intake; inbox: Inbox; directory: Directory } = store
  return {
    ports: { intake, inbox, directory, claims, now, log },
    pendingMarks: store.pendingMarks,
    storeFacts: store.facts,
    promise: 'SQLite, WAL, synchronous=FULL: a PUBACK leaves after fsync, on this disk alone',
    close: store.close,
  }
}
