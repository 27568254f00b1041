/** One-time codes shared by all nodes: a hash for each number, with a time to live. Each step is one script. */
import { timingSafeEqual } from 'node:crypto'
import type { Codes } from '../../core/ports.ts'
import { limits } from '../../topics/limits.ts'
import { BOUNDED } from './bounded-script.ts'
import type { Link } from './connection.ts'
import { callScript, script } from './script.ts'

/** KEYS index, code. ARGV offset, codesMax, hash, expires. */
const putScript = script(`${BOUNDED}
remove(KEYS[1], KEYS[2])
makeRoom(KEYS[1], tonumber(ARGV[2]))
put(KEYS[1], KEYS[2], ARGV[4], 'hash', ARGV[3], 'tries', ${limits.codeTriesMax})
return 1
`)

/** KEYS index, code. ARGV offset, codesMax, hash, expires, tries. Not over a code that came meanwhile. */
const giveBackScript = script(`${BOUNDED}
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
makeRoom(KEYS[1], tonumber(ARGV[2]))
put(KEYS[1], KEYS[2], ARGV[4], 'hash', ARGV[3], 'tries', ARGV[5])
return 1
`)

/**
 * Spends a try and gives hash, end and tries before it; false when there is none. KEYS index, code. ARGV offset, hash.
 * What is guessed right
 * is gone in the same step, or two would spend it.
 */
const spendScript = script(`${BOUNDED}
local known = redis.call('HGET', KEYS[2], 'hash')
if not known then return false end
local triesLeft = redis.call('HINCRBY', KEYS[2], 'tries', -1)
local expires = redis.call('HGET', KEYS[2], 'expires')
local isGone = isOver(KEYS[2])
if isGone or triesLeft <= 0 or known == ARGV[2] then remove(KEYS[1], KEYS[2]) end
if isGone then return false end
return { known, expires, triesLeft + 1 }
`)

type Found = [hash: Buffer, expires: Buffer, triesLeft: number]

const HASH_BYTES = 32
const NO_HASH = new Uint8Array(HASH_BYTES)

/** At most `codesMax`; beyond, the oldest goes. `clockOffsetMs` is added to the server's time. */
export function createCodes(link: Link, prefix: string, codesMax: number, clockOffsetMs: () => number): Codes {
  const index = `${prefix}{codes}:index`
  const keyOf = (phoneKey: string): string => `${prefix}{codes}:of:${phoneKey}`
  return {
    async put(phoneKey, hash, expiresMs) {
      const args = [clockOffsetMs(), codesMax, Buffer.from(hash), expiresMs]
      await callScript(link.redis, putScript, [index, keyOf(phoneKey)], args)
    },
    async spend(phoneKey, hash) {
      const args = [clockOffsetMs(), Buffer.from(hash)]
      const found = (await callScript(link.redis, spendScript, [index, keyOf(phoneKey)], args)) as Found | null
      const [known, expires, triesLeft] = found ?? [null, 0, 0]
      // Compared for unknown numbers too, so that all answers take the same time.
      const isSame = hash.length === HASH_BYTES && timingSafeEqual(known ?? NO_HASH, hash)
      return known !== null && isSame ? { expiresMs: Number(expires), triesLeft: Number(triesLeft) } : undefined
    },
    async giveBack(phoneKey, hash, { expiresMs, triesLeft }) {
      const args = [clockOffsetMs(), codesMax, Buffer.from(hash), expiresMs, triesLeft]
      await callScript(link.redis, giveBackScript, [index, keyOf(phoneKey)], args)
    },
  }
}
