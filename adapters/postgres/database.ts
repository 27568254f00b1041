/**
 * The pool, and whether the server answers. Every fault of it is an IntakeFault: `storage_unavailable` when it does not
 * answer, `overloaded` when it takes too long; never an answer that could be taken for "unknown". While the server does
 * not answer, nobody waits for it: calls reject at once, and a probe finds out when it is back.
 */
import { Pool, types } from 'pg'
import { IntakeFault } from '../../core/envelope.ts'
import type { PostgresLimits } from './limits.ts'
import type { StatementName } from './schema.ts'
import { ask, CIRCLES, type Columns, DriverFault, faultOf, type Progress, type Run, transact } from './transact.ts'

const INT8 = 20
const ATTEMPTS_MAX = 4

type OnNotice = (text: string, facts: Record<string, unknown>) => void

export interface Database {
  /** One statement that changes nothing, so that it may be repeated when its connection was lost. */
  read(name: StatementName, ...values: unknown[]): Promise<Columns[]>
  /**
   * One transaction, durable when it resolves. `work` may be run again when two waited for each other. When the
   * connection is lost in the COMMIT it rejects although it may have been stored.
   */
  write<T>(work: (run: Run) => Promise<T>): Promise<T>
  isAnswering(): boolean
  facts(): { readonly connections: number; readonly waiting: number }
  close(): Promise<void>
}

function openPool(url: string, limits: PostgresLimits): Pool {
  const pool = new Pool({
    connectionString: url,
    application_name: 'heliograph',
    max: limits.connectionsMax,
    connectionTimeoutMillis: limits.connectMs,
    idleTimeoutMillis: limits.idleMs,
    statement_timeout: limits.statementMs,
    lock_timeout: limits.statementMs,
    idle_in_transaction_session_timeout: limits.statementMs + limits.answerMs,
    query_timeout: limits.answerMs,
    keepAlive: true,
    types: { getTypeParser: (oid, format) => (oid === INT8 ? Number : types.getTypeParser(oid, format as 'text')) },
  })
  // A connection that nobody uses was lost: the pool has dropped it.
  pool.on('error', () => undefined)
  return pool
}

/** The pool of now. */
interface Pools {
  current(): Pool
  /** Throws when calls are to be refused. */
  admit(): void
  /** The server did not answer over `used`. Its connections may be dead without knowing it: a new pool has new ones. */
  lost(fault: Error, used: Pool): void
  isAnswering(): boolean
  isClosed(): boolean
  close(): Promise<void>
}

function openPools(url: string, limits: PostgresLimits, onNotice: OnNotice): Pools {
  let pool = openPool(url, limits)
  let closing: Promise<void> | undefined
  let probe: NodeJS.Timeout | undefined

  function probeLater(): void {
    probe = setTimeout(() => {
      pool.query('SELECT 1').then(
        () => {
          probe = undefined
          if (closing === undefined) onNotice('PostgreSQL answers again', {})
        },
        () => {
          if (closing === undefined) probeLater()
        },
      )
    }, limits.probeEveryMs)
  }

  return {
    current: () => pool,
    admit() {
      if (closing !== undefined) throw new IntakeFault('storage_unavailable', 'the database is closed')
      if (probe !== undefined) throw new IntakeFault('storage_unavailable', 'PostgreSQL does not answer')
      if (pool.waitingCount >= limits.waitingMax) throw new IntakeFault('overloaded', 'too many wait for PostgreSQL')
    },
    lost({ message }, used) {
      if (probe !== undefined || closing !== undefined || used !== pool) return
      onNotice('PostgreSQL does not answer: what is known is served, for some time', { error: message })
      void pool.end().catch(() => undefined)
      pool = openPool(url, limits)
      probeLater()
    },
    isAnswering: () => probe === undefined,
    isClosed: () => closing !== undefined,
    close() {
      clearTimeout(probe)
      closing ??= pool.end()
      return closing
    },
  }
}

/** Opens the pool; nothing is connected before it is asked. `onNotice` is for the log. */
export function openDatabase(url: string, limits: PostgresLimits, onNotice: OnNotice): Database {
  const pools = openPools(url, limits, onNotice)

  /** Again when two waited for each other, or when the connection was lost at once and nothing was begun over it. */
  async function retried<T>(call: (used: Pool, progress: Progress) => Promise<T>): Promise<T> {
    pools.admit()
    const used = pools.current()
    const startedMs = performance.now()
    for (let attempt = 1; ; attempt++) {
      const progress = { hasBegun: false }
      try {
        return await call(used, progress)
      } catch (error) {
        if (!(error instanceof DriverFault)) throw error
        const mayRepeat = attempt < ATTEMPTS_MAX && used === pools.current() && !pools.isClosed()
        if (mayRepeat && CIRCLES.includes(error.sqlState)) continue
        const isDead = error.kind === 'late' || (error.kind === 'lost' && !progress.hasBegun)
        const isQuick = performance.now() - startedMs < limits.probeEveryMs
        if (error.kind === 'lost' && isDead && mayRepeat && isQuick) continue
        if (isDead) pools.lost(error, used)
        throw faultOf(error, used !== pools.current())
      }
    }
  }

  return {
    read: (name, ...values) => retried((used) => ask(used, name, values)),
    write: (work) => retried((used, progress) => transact(used, work, progress)),
    isAnswering: pools.isAnswering,
    facts: () => ({ connections: pools.current().totalCount, waiting: pools.current().waitingCount }),
    close: pools.close,
  }
}
