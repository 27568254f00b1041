/** How long the server waits for others: from the table of limits, and shorter where a test waits for the end of it. */
import { limits } from '../topics/limits.ts'

export interface Timeouts {
  /** From the accepted socket to a whole CONNECT. */
  readonly connectMs: number
  /** For the directory to say whose token it is. */
  readonly authenticateMs: number
  /** From a temporary refusal of a thing to the end of its connection. */
  readonly refusedHoldMs: number
}

export const timeouts: Timeouts = {
  connectMs: limits.connectTimeoutMs,
  authenticateMs: limits.authenticateTimeoutMs,
  refusedHoldMs: limits.refusedHoldMs,
}

/** Between tries of a store that does not answer: most of them are apart, so that it is not met by all at once. */
const STORE_RETRY_MS = 500

export const storeRetryMs = (): number => STORE_RETRY_MS * (0.5 + Math.random())
