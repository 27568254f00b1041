/** The only file that names adapters: which ones a profile is made of. */

import type { Config } from '../core/config.ts'
import type { Clock, Log, Row } from '../core/ports.ts'
import { limits } from '../topics/limits.ts'
import { createConsolePush } from './console/push.ts'
import { createConsoleSms } from './console/sms.ts'
import { createClaims } from './memory/claims.ts'
import { createCodes } from './memory/codes.ts'
import { createJobs } from './memory/jobs.ts'
import { createLimiter } from './memory/limiter.ts'
import { createLinks } from './memory/links.ts'
import type { Opened } from './opened.ts'
import { openSqlite } from './sqlite/index.ts'
import type { StoreLimits } from './sqlite/store.ts'

/** What tests set beside the settings. */
export interface Overrides {
  readonly limits?: Partial<StoreLimits>
  /** The writer thread waits at it in front of every commit (adapters/sqlite/writer-thread.ts). */
  readonly gate?: Int32Array
}

const MIB = 1024 * 1024
const CACHE_BYTES_MAX = 16 * MIB
const SETTLE_AFTER_MS = 5_000
const MOVE_ROWS_MAX = 500
const MOVE_EVERY_MS = 1_000
const CODES_MAX = 100_000
const BUCKETS_MAX = 500_000

/** The profile that the settings choose: the cluster when its engines are named, else the embedded one. */
export async function openPorts(
  config: Config,
  now: Clock,
  log: Log,
  onFatal: (error: Error) => void,
  overrides: Overrides = {},
): Promise<Opened> {
  if (config.redisUrl === undefined) return openEmbedded(config, now, log, onFatal, overrides)
  // Loaded only where it is needed: drivers take time and memory.
  const { openCluster } = await import('./open-cluster.ts')
  return openCluster(config, now, log, onFatal)
}

/** Everything in one process, one SQLite database. */
async function openEmbedded(
  config: Config,
  now: Clock,
  log: Log,
  onFatal: (error: Error) => void,
  overrides: Overrides,
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
      moveEveryMs: MOVE_EVERY_MS,
      diskFreeBytesMin: config.diskFreeMibMin * MIB,
      diskReserveBytes: config.diskReserveMib * MIB,
      ...overrides.limits,
    },
    now,
    onFatal,
    (text, facts) => log.warn(facts, text),
    overrides.gate,
  )
  const { intake, inbox, backlog, directory, accounts, keys } = store
  let noteAbsent: (row: Row) => void = () => undefined
  const inMemory = {
    claims: createClaims((row) => noteAbsent(row)),
    codes: createCodes(now, CODES_MAX),
    links: createLinks(now),
    limiter: createLimiter(now, BUCKETS_MAX),
  }
  const jobs = createJobs()
  const sms = createConsoleSms(config.dataDir, now, log)
  return {
    ports: { intake, inbox, backlog, directory, accounts, keys, ...inMemory, sms, now, log },
    jobs,
    push: createConsolePush(log),
    onAbsent(note) {
      noteAbsent = note
    },
    pendingMarks: store.pendingMarks,
    storeFacts: () => ({ ...store.facts(), ...jobs.facts() }),
    promise: () => 'SQLite, WAL, synchronous=FULL: a PUBACK leaves after fsync, on this disk alone',
    async close() {
      await jobs.close()
      await store.close()
    },
  }
}
