/**
 * The connection to Cassandra: which Client serves, what is tried again and for how long. Every statement here is
 * idempotent and carries its own timestamp, so each of them may be sent twice.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, errors, policies, types } from 'cassandra-driver'
import { StoreDownFault } from '../../core/ports.ts'
import { createGate, type Gate } from './gate.ts'

export interface CassandraSettings {
  /** `host` or `host:port`. */
  readonly contactPoints: readonly string[]
  readonly localDataCenter: string
  readonly keyspace: string
  /** Copies of a row: with 1 statements run at ONE, with 3 at LOCAL_QUORUM. */
  readonly replication: 1 | 3
  /** Make and change tables at start; otherwise only look whether they are there. */
  readonly migrate: boolean
  readonly tls?: boolean
  readonly credentials?: { readonly username: string; readonly password: string }
}

/** Bounds of this adapter. */
export const cassandraLimits = {
  /** From a call to its answer or StoreDownFault, tries and waiting for a turn included. */
  callTimeoutMs: 5_000,
  /** For a node to answer one request; then it is asked again, of another node if there is one. */
  requestTimeoutMs: 1_500,
  /** Requests of one call, those of `speculateAfterMs` not counted. */
  triesMax: 3,
  /** Random wait in front of a second try; the third waits up to twice as long. */
  retryDelayMsMax: 200,
  /** A node that is silent for so long has a second one asked beside it. */
  speculateAfterMs: 500,
  /** Reads on their way at one time; the others wait for their turn within callTimeoutMs. */
  readsMax: 64,
  /** Statements of one `apply` on their way at one time. Turns bound the number of applies (D2). */
  writesPerApplyMax: 32,
  connectTimeoutMs: 3_000,
  /** Between attempts to connect, and to a node that went away. */
  reconnectMsMin: 250,
  reconnectMsMax: 5_000,
} as const
export type CassandraLimits = { readonly [name in keyof typeof cassandraLimits]: number }

export interface Statement {
  readonly query: string
  readonly params: readonly unknown[]
}
export interface Session {
  readonly keyspace: string
  readonly limits: CassandraLimits
  /** Runs one prepared statement. Rejects with a StoreDownFault, or with what is wrong with the statement itself. */
  run(statement: Statement): Promise<types.Row[]>
  /** The same with a bounded number of them at one time, for everything that many connections may ask at once. */
  read(statement: Statement): Promise<types.Row[]>
  /** Statements of ONE partition, which are applied together. */
  batch(statements: readonly Statement[]): Promise<void>
  /** Why it does not answer, or undefined. */
  down(): string | undefined
  /** Called when a node went or came: what was written just before may be gone with it. */
  onNodes(listener: () => void): void
  close(): Promise<void>
}

/** Kinds of answers that another try may turn into a good one. What is not listed is wrong in itself. */
const PASSING = new Set<number>([
  types.responseErrorCodes.serverError,
  types.responseErrorCodes.unavailableException,
  types.responseErrorCodes.overloaded,
  types.responseErrorCodes.isBootstrapping,
  types.responseErrorCodes.truncateError,
  types.responseErrorCodes.writeTimeout,
  types.responseErrorCodes.readTimeout,
  types.responseErrorCodes.readFailure,
  types.responseErrorCodes.writeFailure,
])

/** Is that the store that does not answer, and not the statement that is wrong? */
export function isPassing(error: unknown): boolean {
  if (error instanceof errors.ResponseError) return PASSING.has(error.code)
  return (
    error instanceof errors.NoHostAvailableError ||
    error instanceof errors.OperationTimedOutError ||
    error instanceof errors.BusyConnectionError ||
    (error as { isSocketError?: boolean }).isSocketError === true
  )
}

/**
 * What the driver may do by itself: go to the next node at once when a connection broke. It cannot wait, so all the
 * rest is tried again by `persist`, after a random delay.
 */
class NextNodePolicy extends policies.retry.RetryPolicy {
  override onRequestError(info: { nbRetry: number }, _consistency: unknown, error: Error) {
    const isBroken = (error as { isSocketError?: boolean }).isSocketError === true
    return isBroken && info.nbRetry === 0
      ? this.retryResult(undefined as unknown as types.consistencies, false)
      : this.rethrowResult()
  }
  override onUnavailable() {
    return this.rethrowResult()
  }
  override onReadTimeout() {
    return this.rethrowResult()
  }
  override onWriteTimeout() {
    return this.rethrowResult()
  }
}

export function createClient(settings: CassandraSettings, limits: CassandraLimits): Client {
  const { contactPoints, localDataCenter, replication, credentials } = settings
  return new Client({
    contactPoints: [...contactPoints],
    localDataCenter,
    ...(credentials === undefined ? {} : { credentials: { ...credentials } }),
    ...(settings.tls === true ? { sslOptions: { rejectUnauthorized: true } } : {}),
    // Clocks of our processes differ: a timestamp that is not the entry's own must never be sent (D4).
    policies: {
      retry: new NextNodePolicy(),
      timestampGeneration: null as unknown as policies.timestampGeneration.TimestampGenerator,
      reconnection: new policies.reconnection.ExponentialReconnectionPolicy(
        limits.reconnectMsMin,
        limits.reconnectMsMax,
        false,
      ),
      // A node that is stopped and not dead keeps its connections: without this, a third of all calls would wait for
      // requestTimeoutMs until the node is given up. It can at most double the requests of a cluster that is slow.
      speculativeExecution: new policies.speculativeExecution.ConstantSpeculativeExecutionPolicy(
        limits.speculateAfterMs,
        1,
      ),
    },
    socketOptions: { connectTimeout: limits.connectTimeoutMs, readTimeout: limits.requestTimeoutMs },
    queryOptions: {
      consistency: replication === 1 ? types.consistencies.one : types.consistencies.localQuorum,
      prepare: true,
      isIdempotent: true,
    },
    pooling: { heartBeatInterval: 5_000 },
    monitorReporting: { enabled: false },
  } as ConstructorParameters<typeof Client>[0])
}

/** Resolves like `work`, or rejects at `endMs` of the monotonic clock. */
async function before<T>(endMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const over = () => reject(new errors.OperationTimedOutError('no answer in time'))
    timer = setTimeout(over, Math.max(0, endMs - performance.now()))
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

/** A few tries with random waits between them, all within callTimeoutMs. */
async function persist<T>(limits: CassandraLimits, endMs: number, work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await before(endMs, work())
    } catch (error) {
      if (!isPassing(error)) throw error
      const delayMs = Math.random() * limits.retryDelayMsMax * tries
      if (tries >= limits.triesMax || performance.now() + delayMs >= endMs) {
        throw new StoreDownFault('cassandra', `Cassandra does not answer: ${(error as Error).message}`)
      }
      await sleep(delayMs)
    }
  }
}

/** Why no node would do, when that is a wrong setting: the driver hides it among the nodes that it tried. */
function wrongSetting(error: unknown): Error | undefined {
  if (!(error instanceof errors.NoHostAvailableError)) return undefined
  const inner = Object.values((error.innerErrors ?? {}) as Record<string, Error>)
  return inner.find((each) => each instanceof errors.ArgumentError || each instanceof errors.AuthenticationError)
}

/** A Client whose connect() failed stays failed: it is put away, and the next attempt has a new one. */
async function connectOnce(settings: CassandraSettings, limits: CassandraLimits): Promise<Client> {
  const client = createClient(settings, limits)
  try {
    await client.connect()
    return client
  } catch (error) {
    await client.shutdown().catch(() => undefined)
    // shutdown() closes what is in its pools, and the first connection comes into one only after connect() succeeded.
    const { controlConnection } = client as unknown as {
      controlConnection?: { connection?: { close?(): void } }
    }
    controlConnection?.connection?.close?.()
    throw wrongSetting(error) ?? error
  }
}

/**
 * Opens a session. Resolves after the first attempt: when Cassandra does not answer, it goes on trying by itself, and
 * calls are refused meanwhile. `prepare` is run on every new Client before that serves. Rejects, or later calls
 * `onFatal`, when connecting or `prepare` fails for another reason than silence.
 */
export async function openSession(
  settings: CassandraSettings,
  limits: CassandraLimits,
  prepare: (client: Client) => Promise<void>,
  onFatal: (error: Error) => void,
): Promise<Session> {
  const gate: Gate = createGate(limits.readsMax)
  const stopped = new AbortController()
  const listeners: (() => void)[] = []
  let client: Client | undefined
  let lastFault = ''

  async function attempt(): Promise<void> {
    const fresh = await connectOnce(settings, limits)
    try {
      await prepare(fresh)
    } catch (error) {
      await fresh.shutdown().catch(() => undefined)
      throw error
    }
    if (stopped.signal.aborted) return fresh.shutdown()
    for (const name of ['hostUp', 'hostDown']) fresh.on(name, () => listeners.forEach((listener) => listener()))
    client = fresh
  }
  async function attemptUntilItServes(): Promise<void> {
    for (let waitMs = limits.reconnectMsMin; !stopped.signal.aborted; waitMs *= 2) {
      await sleep(Math.min(waitMs, limits.reconnectMsMax) * (0.5 + Math.random() / 2), undefined, {
        signal: stopped.signal,
      })
      try {
        return await attempt()
      } catch (error) {
        if (!isPassing(error) && !(error instanceof StoreDownFault)) return onFatal(error as Error)
        lastFault = (error as Error).message
      }
    }
  }
  function down(): string | undefined {
    if (client === undefined) return `Cassandra was not reached yet: ${lastFault}`
    return client.hosts.values().some((host) => host.isUp()) ? undefined : 'no node of Cassandra can be reached'
  }
  /** The driver asks nobody while all nodes are down, and finds out by itself when one comes back: no try is worth it. */
  function serving(): Client {
    const why = down()
    if (client === undefined || why !== undefined) throw new StoreDownFault('cassandra', why ?? '')
    return client
  }
  const run = async ({ query, params }: Statement, endMs: number): Promise<types.Row[]> => {
    const at = serving()
    return (await persist(limits, endMs, () => at.execute(query, [...params]))).rows
  }
  const endOfCall = () => performance.now() + limits.callTimeoutMs

  try {
    await attempt()
  } catch (error) {
    if (!isPassing(error) && !(error instanceof StoreDownFault)) throw error
    lastFault = (error as Error).message
    attemptUntilItServes().catch(() => undefined)
  }
  return {
    keyspace: settings.keyspace,
    limits,
    run: (statement) => run(statement, endOfCall()),
    async read(statement) {
      const endMs = endOfCall()
      const isIn = await gate.enter(endMs)
      if (!isIn) throw new StoreDownFault('cassandra', 'Cassandra is slower than what is asked of it')
      try {
        return await run(statement, endMs)
      } finally {
        gate.leave()
      }
    },
    async batch(statements) {
      const at = serving()
      const queries = statements.map(({ query, params }) => ({ query, params: [...params] }))
      await persist(limits, endOfCall(), () => at.batch(queries, { prepare: true, logged: false, isIdempotent: true }))
    },
    down,
    onNodes: (listener) => void listeners.push(listener),
    async close() {
      stopped.abort()
      await client?.shutdown()
    },
  }
}
