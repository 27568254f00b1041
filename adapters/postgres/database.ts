/**
 * The pool, and the circuit breakers in front of it. Every fault is an IntakeFault: `storage_unavailable` when the
 * server does not answer, `overloaded` when it takes too long; never an answer that could be taken for "unknown".
 * While the server does not answer, nobody waits for it: calls reject at once, and a probe finds out when it is back.
 */
import { Pool, types } from 'pg'
import { IntakeFault } from '../../core/envelope.ts'
import { type Breaker, createBreaker } from '../breaker.ts'
import type { BreakerState } from '../opened.ts'
import type { PostgresLimits } from './limits.ts'
import type { StatementName } from './schema.ts'
import {
  ask as askOne,
  CIRCLES,
  type Columns,
  DriverFault,
  faultOf,
  type Progress,
  type Run,
  transact,
} from './transact.ts'

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
  /** Asks something small: a server that is away is known as such before somebody needs it. */
  look(): Promise<void>
  /** `postgres`, and `postgres-writes` for what a server that is read-only refuses. */
  breakers(): Readonly<Record<'postgres' | 'postgres-writes', BreakerState>>
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

/** The server did not answer over `used`: its connections may be dead without knowing it, so a new pool takes over. */
interface Pools {
  current(): Pool
  replace(used: Pool): void
  isClosed(): boolean
  close(): Promise<void>
}

function openPools(url: string, limits: PostgresLimits): Pools {
  let pool = openPool(url, limits)
  let closing: Promise<void> | undefined
  return {
    current: () => pool,
    replace(used) {
      if (closing !== undefined || used !== pool) return
      void pool.end().catch(() => undefined)
      pool = openPool(url, limits)
    },
    isClosed: () => closing !== undefined,
    close() {
      closing ??= pool.end()
      return closing
    },
  }
}

/** Its server neither answers, nor gives connections, nor is well. */
const ERRING = /^(53300|58|XX)/
/** It answers, and takes no writes: read-only, a replica, a disk that is full. */
const REFUSES_WRITES = /^(25006|53100|53200|58|XX)/
const ERRORS_IN_A_ROW_MAX = 5
/** What a write asks for, and changes nothing. */
const PROBE_WRITE = 'UPDATE schema_version SET version = version'

/** In front of everything, and in front of writes alone: a server that is read-only still serves logins. */
function openBreakers(pools: Pools, limits: PostgresLimits, onNotice: OnNotice) {
  const { probeEveryMs } = limits
  const unavailable = (text: string) => new IntakeFault('storage_unavailable', text)
  const sqlStateOf = (error: unknown): string => (error instanceof DriverFault ? error.sqlState : '')
  const sentenceOf = (error: unknown) => ({ error: (error as Error | undefined)?.message ?? '' })
  const serving = createBreaker({
    failuresMax: ERRORS_IN_A_ROW_MAX,
    probeEveryMs,
    weigh(error) {
      if (error instanceof DriverFault && error.isDead) return ERRORS_IN_A_ROW_MAX
      return ERRING.test(sqlStateOf(error)) ? 1 : 0
    },
    probe: () => pools.current().query('SELECT 1'),
    refusal: () => unavailable(pools.isClosed() ? 'the database is closed' : 'PostgreSQL does not answer'),
    onOpen: (error) =>
      onNotice('PostgreSQL does not answer: what is known is served, for some time', sentenceOf(error)),
    onClosed: () => onNotice('PostgreSQL answers again', {}),
  })
  const writing = createBreaker({
    failuresMax: ERRORS_IN_A_ROW_MAX,
    probeEveryMs,
    weigh: (error) => (REFUSES_WRITES.test(sqlStateOf(error)) ? 1 : 0),
    probe: () => serving.run(() => pools.current().query(PROBE_WRITE)),
    refusal: () => unavailable('PostgreSQL takes no writes'),
    onOpen: (error) => onNotice('PostgreSQL takes no writes: nothing can be registered or revoked', sentenceOf(error)),
    onClosed: () => onNotice('PostgreSQL takes writes again', {}),
  })
  return { serving, writing }
}

/** Opens the pool; nothing is connected before it is asked. `onNotice` is for the log. */
export function openDatabase(url: string, limits: PostgresLimits, onNotice: OnNotice): Database {
  const pools = openPools(url, limits)
  const { serving, writing } = openBreakers(pools, limits, onNotice)

  /** Again when two waited for each other, or when the connection was lost at once and nothing was begun over it. */
  async function retried<T>(used: Pool, call: (progress: Progress) => Promise<T>): Promise<T> {
    const startedMs = performance.now()
    for (let attempt = 1; ; attempt++) {
      const progress = { hasBegun: false }
      try {
        return await call(progress)
      } catch (error) {
        if (!(error instanceof DriverFault)) throw error
        const mayRepeat = attempt < ATTEMPTS_MAX && used === pools.current() && !pools.isClosed()
        if (mayRepeat && CIRCLES.includes(error.sqlState)) continue
        const isDead = error.kind === 'late' || (error.kind === 'lost' && !progress.hasBegun)
        const isQuick = performance.now() - startedMs < limits.probeEveryMs
        if (error.kind === 'lost' && isDead && mayRepeat && isQuick) continue
        // Of a pool that was given up it says nothing new.
        error.isDead = isDead && used === pools.current()
        if (error.isDead) pools.replace(used)
        throw error
      }
    }
  }

  async function ask<T>(breaker: Breaker, call: (used: Pool, progress: Progress) => Promise<T>): Promise<T> {
    if (pools.isClosed()) throw new IntakeFault('storage_unavailable', 'the database is closed')
    breaker.admit()
    serving.admit()
    const used = pools.current()
    if (used.waitingCount >= limits.waitingMax) throw new IntakeFault('overloaded', 'too many wait for PostgreSQL')
    try {
      const work = () => serving.run(() => retried(used, (progress) => call(used, progress)))
      return await (breaker === serving ? work() : breaker.run(work))
    } catch (error) {
      throw error instanceof DriverFault ? faultOf(error, used !== pools.current()) : error
    }
  }

  return {
    read: (name, ...values) => ask(serving, (used) => askOne(used, name, values)),
    write: (work) => ask(writing, (used, progress) => transact(used, work, progress)),
    async look() {
      await ask(serving, (used) => askOne(used, 'look', []))
    },
    breakers: () => ({ postgres: serving.state(), 'postgres-writes': writing.state() }),
    facts: () => ({ connections: pools.current().totalCount, waiting: pools.current().waitingCount }),
    close() {
      serving.stop()
      writing.stop()
      return pools.close()
    },
  }
}
