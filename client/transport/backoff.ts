/**
 * How long to wait before the next try: full jitter (random between 0 and a ceiling that doubles), so that the clients
 * of a server that was away do not come back all at once.
 */

const BASE_MS = 500
const CAP_MS = 60_000

export interface Backoff {
  /** Ms until the next try, whose ceiling is twice this one's, at most the cap. */
  next(): number
  /** It went well: the next wait is a short one again. */
  reset(): void
}

/** `random` gives numbers from 0 to 1, as Math.random does. */
export function createBackoff(random: () => number = Math.random, baseMs = BASE_MS, capMs = CAP_MS): Backoff {
  let tries = 0
  return {
    next: () => Math.floor(random() * Math.min(capMs, baseMs * 2 ** tries++)),
    reset() {
      tries = 0
    },
  }
}
