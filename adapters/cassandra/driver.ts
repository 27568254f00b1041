/**
 * How the driver is used: settings, limits, what it may try again by itself, and connecting with a Client that is new
 * each time.
 */
import { Client, errors, policies, types } from 'cassandra-driver'

export interface CassandraSettings {
  /** `host` or `host:port`, with one port for all nodes: nodes tell each other's addresses and not their ports. */
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
  /** Calls in a row that failed after all their tries: then they are refused at once, until a probe succeeds. */
  failuresMax: 3,
  probeEveryMs: 500,
} as const
export type CassandraLimits = { readonly [name in keyof typeof cassandraLimits]: number }

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

/** What nodes say of a table that somebody dropped or changed. */
const WRONG_SCHEMA = /does not exist|unconfigured|undefined|unknown/i

/**
 * Does it say nothing of the statement that was refused? Beside what passes, that is a table that is gone and a right
 * that was taken: rows must not be given up for it, they wait until somebody mends it.
 */
export function isOfStore(error: unknown): boolean {
  if (isPassing(error)) return true
  if (!(error instanceof errors.ResponseError)) return error instanceof errors.AuthenticationError
  return error.code !== types.responseErrorCodes.invalid || WRONG_SCHEMA.test(error.message)
}

function innerErrorsOf(error: errors.NoHostAvailableError): Error[] {
  return Object.values((error.innerErrors ?? {}) as Record<string, Error>)
}

/**
 * Is a table or a right of ours gone? A statement that was prepared before is unknown to its node then, cannot be
 * prepared again, and the driver says no more than that no node would do.
 */
export function isBroken(error: unknown): boolean {
  if (!(error instanceof errors.NoHostAvailableError)) return !isPassing(error)
  const isUnprepared = (each: Error) =>
    each instanceof errors.ResponseError && each.code === types.responseErrorCodes.unprepared
  return innerErrorsOf(error).some(isUnprepared)
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

function portOf(contactPoints: readonly string[]): number {
  const ports = new Set(contactPoints.map((point) => Number(/:(\d+)$/.exec(point)?.[1] ?? 9042)))
  const [port] = ports
  if (ports.size === 1 && port !== undefined) return port
  throw new RangeError(
    `contact points ${contactPoints.join(', ')} have ${ports.size} ports; give all nodes the same one`,
  )
}

function createClient(settings: CassandraSettings, limits: CassandraLimits): Client {
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
    // Nodes that are learned from others are looked for there, and so are these when another one tells of them.
    protocolOptions: { port: portOf(contactPoints) },
    pooling: { heartBeatInterval: 5_000 },
    monitorReporting: { enabled: false },
  } as ConstructorParameters<typeof Client>[0])
}

/** Why no node would do, when that is a wrong setting: the driver hides it among the nodes that it tried. */
function wrongSetting(error: unknown): Error | undefined {
  if (!(error instanceof errors.NoHostAvailableError)) return undefined
  return innerErrorsOf(error).find(
    (each) => each instanceof errors.ArgumentError || each instanceof errors.AuthenticationError,
  )
}

/** A Client whose connect() failed stays failed: it is put away, and the next attempt has a new one. */
export async function connectOnce(settings: CassandraSettings, limits: CassandraLimits): Promise<Client> {
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
