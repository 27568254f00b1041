/** One-time codes of one process: a map, oldest first. A restart forgets them, and people ask for another one. */
import { timingSafeEqual } from 'node:crypto'
import type { Clock, Codes } from '../../core/ports.ts'
import { limits } from '../../topics/limits.ts'

interface Code {
  readonly hash: Uint8Array
  readonly expiresMs: number
  triesLeft: number
}

const HASH_BYTES = 32
const NO_HASH = new Uint8Array(HASH_BYTES)

/** At most `codesMax`; beyond, the oldest goes. */
export function createCodes(now: Clock, codesMax: number): Codes {
  const codes = new Map<string, Code>()

  function keep(phoneKey: string, code: Code): void {
    codes.delete(phoneKey)
    for (const [oldest, { expiresMs: until }] of codes) {
      if (until > now() && codes.size < codesMax) break
      codes.delete(oldest)
    }
    codes.set(phoneKey, code)
  }

  return {
    async put(phoneKey, hash, expiresMs) {
      keep(phoneKey, { hash: new Uint8Array(hash), expiresMs, triesLeft: limits.codeTriesMax })
    },
    async spend(phoneKey, hash) {
      const code = codes.get(phoneKey)
      // Compared for unknown numbers too, so that all answers take the same time.
      const isSame = hash.length === HASH_BYTES && timingSafeEqual(code?.hash ?? NO_HASH, hash)
      if (code === undefined) return undefined
      const { expiresMs, triesLeft } = code
      code.triesLeft--
      const isGood = isSame && code.expiresMs > now()
      if (isGood || code.triesLeft <= 0 || code.expiresMs <= now()) codes.delete(phoneKey)
      return isGood ? { expiresMs, triesLeft } : undefined
    },
    async giveBack(phoneKey, hash, { expiresMs, triesLeft }) {
      if (!codes.has(phoneKey)) keep(phoneKey, { hash: new Uint8Array(hash), expiresMs, triesLeft })
    },
  }
}
