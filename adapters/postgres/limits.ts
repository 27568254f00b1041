/** Bounds of this adapter. A read is decided within `connectMs` + `answerMs`, which is below the 5 s of a CONNECT. */
export interface PostgresLimits {
  /** Connections of the pool; the one that listens comes on top. */
  readonly connectionsMax: number
  /** For a connection: to be made, or to get free. */
  readonly connectMs: number
  /** The server ends a statement that takes longer, or that waits so long for a lock. */
  readonly statementMs: number
  /** Without any answer for so long, the server is taken for dead. Above `statementMs`. */
  readonly answerMs: number
  /** A connection that nobody needs is closed. */
  readonly idleMs: number
  /** Reads and writes that wait for a connection; beyond, they are refused at once. */
  readonly waitingMax: number
  /** While the server does not answer it is asked so often whether it does again. */
  readonly probeEveryMs: number
  /** Age up to which an account, or a token that was right, is answered from memory. */
  readonly freshMs: number
  /** The same while the listening connection is lost. `version()` rises so often then. */
  readonly deafFreshMs: number
  /** How long after they were known to be right they are answered while the server does not answer. */
  readonly staleMs: number
  readonly accountsCachedMax: number
  /** The listening connection is tried so often, and is lost when that takes `beatMs`. */
  readonly beatEveryMs: number
  readonly beatMs: number
  /** The longest pause between two attempts to listen again. */
  readonly backoffMsMax: number
  /** Devices are counted so often, for operators. */
  readonly countEveryMs: number
}

/**
 * A revocation is seen 5 s later at most: `freshMs` with a read, `beatEveryMs` and `beatMs` with a read, and
 * `deafFreshMs` twice are below that.
 */
export const DEFAULT_LIMITS: PostgresLimits = {
  connectionsMax: 16,
  connectMs: 2_000,
  statementMs: 2_000,
  answerMs: 2_500,
  idleMs: 30_000,
  waitingMax: 10_000,
  probeEveryMs: 500,
  freshMs: 4_000,
  deafFreshMs: 1_500,
  staleMs: 600_000,
  accountsCachedMax: 50_000,
  beatEveryMs: 1_000,
  beatMs: 1_500,
  backoffMsMax: 2_000,
  countEveryMs: 60_000,
}
