/** One statement or one transaction on a connection of the pool, and what became of it. */
import { DatabaseError, type Pool, type PoolClient } from 'pg'
import { IntakeFault } from '../../core/envelope.ts'
import { STATEMENTS, type StatementName } from './schema.ts'

/** Deadlock, and a serialization that failed: whoever begins again gets through. */
export const CIRCLES = ['40P01', '40001']
/** The same, statement and lock timeouts, and a server or role with too many connections. */
const OVERLOADED = [...CIRCLES, '57014', '55P03', '53300']
const INTEGRITY = /^23/
/** Errors of the server that end the connection: class 08, and shutdown, crash, starting up. */
const CONNECTION_LOST = /^08|^57P0/
/** pg-pool says so when no connection got free in time; the server need not be the reason. */
const POOL_IS_BUSY = 'timeout exceeded when trying to connect'
const ANSWER_IS_LATE = 'Query read timeout'

export type Columns = Record<string, unknown>
/** Runs one statement inside of a transaction. */
export type Run = (name: StatementName, ...values: unknown[]) => Promise<Columns[]>

/** A unique or other constraint of the schema refused the write; nothing of it was stored. */
export class ConstraintFault extends IntakeFault {
  readonly constraint: string
  constructor(constraint: string) {
    super('storage_unavailable', `the database refused the write: ${constraint}`)
    this.constraint = constraint
  }
}

/** What the driver said. Everything else that `work` throws is its own and passes as it is. */
export class DriverFault extends Error {
  /** `lost`: the connection is gone; `late`: it gave no answer; `busy`: none got free; else an answer of the server. */
  readonly kind: 'lost' | 'late' | 'busy' | 'refused'
  readonly sqlState: string
  readonly constraint: string
  /** The server itself is taken for gone. */
  isDead = false
  constructor(error: unknown) {
    const { message } = error as Error
    super(message)
    const isAnswer = error instanceof DatabaseError
    this.sqlState = (isAnswer && error.code) || ''
    this.constraint = (isAnswer && (error.constraint ?? error.column)) || this.sqlState
    if (isAnswer) this.kind = CONNECTION_LOST.test(this.sqlState) ? 'lost' : 'refused'
    else this.kind = message === POOL_IS_BUSY ? 'busy' : message === ANSWER_IS_LATE ? 'late' : 'lost'
  }
}

/** `isDown`: that none got free has the same reason then. */
export function faultOf({ kind, sqlState, constraint, message }: DriverFault, isDown: boolean): IntakeFault {
  if (INTEGRITY.test(sqlState)) return new ConstraintFault(constraint)
  const isOverload = (kind === 'busy' && !isDown) || OVERLOADED.includes(sqlState)
  const text = kind === 'refused' ? `PostgreSQL answered ${sqlState}` : 'PostgreSQL does not answer'
  return new IntakeFault(isOverload ? 'overloaded' : 'storage_unavailable', `${text}: ${message}`)
}

function driverFault(error: unknown): never {
  throw new DriverFault(error)
}

export async function ask(client: PoolClient | Pool, name: StatementName, values: unknown[]): Promise<Columns[]> {
  const answer = await client.query<Columns>({ name, text: STATEMENTS[name], values }).catch(driverFault)
  return answer.rows
}

/** Set when the transaction has begun: what failed before that changed nothing. */
export interface Progress {
  hasBegun: boolean
}

/** BEGIN to COMMIT on one connection, which goes back to the pool only if it is known to be clean. */
export async function transact<T>(pool: Pool, work: (run: Run) => Promise<T>, progress: Progress): Promise<T> {
  const client = await pool.connect().catch(driverFault)
  // pg-pool listens only to connections that nobody has; what is asked over it is rejected as well.
  const onError = () => undefined
  client.on('error', onError)
  let isClean = false
  try {
    await client.query('BEGIN').catch(driverFault)
    progress.hasBegun = true
    const result = await work((name, ...values) => ask(client, name, values))
    await client.query('COMMIT').catch(driverFault)
    isClean = true
    return result
  } catch (error) {
    const isUsable = !(error instanceof DriverFault) || error.kind === 'refused'
    if (isUsable) {
      isClean = await client.query('ROLLBACK').then(
        () => true,
        () => false,
      )
    }
    throw error
  } finally {
    client.off('error', onError)
    client.release(!isClean)
  }
}
