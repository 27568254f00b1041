/** PostgreSQL: the directory, accounts and keys of all processes of a cluster. Recovers from an outage by itself. */
import type { Accounts, Clock, Directory, Keys } from '../../core/ports.ts'
import { createAccounts } from './accounts.ts'
import { type Database, openDatabase } from './database.ts'
import { createDirectory } from './directory.ts'
import { channelOf, type Hears, startHearing } from './hearing.ts'
import { createKeys } from './keys.ts'
import { DEFAULT_LIMITS, type PostgresLimits } from './limits.ts'
import { createMemory } from './memory.ts'
import { prepareDatabase, VERSION_MIN } from './migrate.ts'

export interface PostgresOptions {
  readonly now: Clock
  /** For the log. */
  onNotice(text: string, facts: Record<string, unknown>): void
  /** Also on a server that runs with fsync or synchronous_commit off. */
  readonly mayForget?: boolean
  /** Of the server, as it writes it itself: 130000 for 13. */
  readonly versionMin?: number
  readonly limits?: Partial<PostgresLimits>
}
export type PostgresFacts = {
  /** Devices that are not revoked, as they were counted last. */
  readonly registered: number
  readonly isAnswering: number
  readonly isHearing: number
  readonly connections: number
  /** Reads and writes that wait for a connection. */
  readonly waiting: number
  readonly accountsCached: number
}
export interface PostgresStore {
  readonly directory: Directory
  readonly accounts: Accounts
  readonly keys: Keys
  /** What an account that was stored rests on, in a sentence. */
  readonly promise: string
  breakers: Database['breakers']
  /** For operators. */
  facts(): PostgresFacts
  /** Counts the devices now. */
  count(): Promise<void>
  close(): Promise<void>
}

/**
 * Opens the database that `url` names (postgres://user:password@host:port/name) and brings its schema up to date.
 * Rejects with a ConfigFault that says what to do when it cannot be used; later faults are those of the ports.
 */
export async function openPostgres(url: string, options: PostgresOptions): Promise<PostgresStore> {
  const { now, onNotice } = options
  const limits = { ...DEFAULT_LIMITS, ...options.limits }
  const { mayForget = false, versionMin = VERSION_MIN } = options
  const { schema, promise } = await prepareDatabase(url, limits.connectMs, { now, mayForget, versionMin })
  const channel = channelOf(schema)
  const database = openDatabase(url, limits, onNotice)
  const memory = createMemory(limits)
  const hears: Hears = {
    ...memory,
    onLost() {
      memory.onLost()
      // Nobody may need the server for long, and readiness is to say that it is away.
      void database.look().catch(() => undefined)
    },
  }
  const hearing = await startHearing(url, channel, limits, hears)
  const { directory, write } = createDirectory(database, memory, channel, now)
  let registered = 0
  const count = async () => {
    const [row] = await database.read('countDevices')
    registered = row?.['n'] as number
  }
  const counting = setInterval(() => void count().catch(() => undefined), limits.countEveryMs)
  counting.unref()
  const close = async () => {
    clearInterval(counting)
    await hearing.close()
    memory.close()
    await database.close()
  }
  await count().catch(async (fault) => {
    await close()
    throw fault
  })
  return {
    directory,
    accounts: createAccounts(database, write, now),
    keys: createKeys(database, now),
    count,
    promise,
    breakers: database.breakers,
    facts: () => ({
      registered,
      isAnswering: Number(database.breakers().postgres === 'closed'),
      isHearing: Number(memory.isHearing()),
      ...database.facts(),
      accountsCached: memory.size(),
    }),
    close,
  }
}
