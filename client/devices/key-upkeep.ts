/**
 * One's own keys on the server: renewed every two days, refilled when they run low, compared with what is here. Private
 * halves are durable before public ones leave. A refill waits for a random while, so that who takes keys does not learn
 * from it when this device is there; keys that the server seems to keep back are told.
 */
import { createHash } from 'node:crypto'
import { seqToUnixMs } from '../../topics/ids.ts'
import { limits } from '../../topics/limits.ts'
import type { Context } from '../context.ts'
import { readNumber, writeNumber } from '../crypto/account.ts'
import { senderOfPrekeyMessage } from '../crypto/prekey-message.ts'
import { isRotationDue, makeAll, makeOneTime, makeRepeated, repeatedKeys } from '../crypto/prekeys.ts'

/** A refill waits for a random time up to this, drawn anew for each. */
export const REFILL_DELAY_MS_MAX = 600_000
/** With fewer than this left there is no time to wait. */
export const REFILL_AT_ONCE_BELOW = 5
/** Keys may have been few, for a good reason, when a message was begun that came so long after. */
export const WITHHELD_SLACK_MS = 600_000
/** Each device that wrote is told of once in this time: it repeats its first message until it has an answer. */
const WITHHELD_EVERY_MS = 86_400_000
const WRITERS_MAX = 1_000
/** When the refill is due that was put off; 0: none is. */
const REFILL_DUE = 'refill_due_ms'
/** When few one-time keys were left last, as far as this device knows. */
const FEW_SEEN = 'few_keys_seen_ms'

export interface UpkeepSettings {
  /** From 0 to 1, 1 excluded, as Math.random. */
  random(): number
  /** Runs work that was put off, if there is a connection; the next one begins with it anyway. */
  later(work: () => Promise<void>): void
}

export interface KeyUpkeep {
  /** Brings the server's copy up to date. Rejects with an ApiFault: it is tried again at the next connection. */
  keep(): Promise<void>
  /** Everything anew: what the server hands out may belong to private keys that an older database does not have. */
  renew(): Promise<void>
  /** A first message that was read: was it begun without a one-time key though the server says it has some? */
  onFirstMessage(from: { readonly author: string; readonly device: number }, seq: number, bytes: Uint8Array): void
  /** Forgets the timer; the time that was drawn is kept in the database. */
  stop(): void
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** What the server compares: SHA-256 over identity, signed prekey and last-resort prekey. Undefined: there are none. */
function digestOf({ store, account }: Context): Uint8Array | undefined {
  const keys = repeatedKeys(store)
  if (keys === undefined) return undefined
  const { signed, last } = keys
  return createHash('sha256')
    .update(account.identity.publicKey.serialize())
    .update(u32(signed.id))
    .update(signed.key)
    .update(u32(last.id))
    .update(last.key)
    .digest()
}

/** New repeated keys when they are old, or when the server has others than this device. */
async function renewRepeated(context: Context): Promise<void> {
  const { store, account, api } = context
  const digest = digestOf(context)
  const isDue = digest === undefined || isRotationDue(store, context.now())
  if (!isDue && (await api.checkKeys(digest))) return
  const keys = await store.turn(() => makeRepeated(store, account.identity, context.now()))
  await api.putKeys(keys)
}

/** Drawn once for each refill and kept: who comes back often must not draw until the time is a short one. */
async function refillInMs({ store, now }: Context, random: () => number): Promise<number> {
  const nowMs = now()
  const dueMs = readNumber(store, REFILL_DUE)
  // After a clock that went back it would be due in years.
  if (dueMs > 0 && dueMs - nowMs <= REFILL_DELAY_MS_MAX) return Math.max(0, dueMs - nowMs)
  const drawnMs = Math.floor(random() * (REFILL_DELAY_MS_MAX + 1))
  await store.turn(() => writeNumber(store, REFILL_DUE, nowMs + drawnMs))
  return drawnMs
}

export function createKeyUpkeep(context: Context, { random, later }: UpkeepSettings): KeyUpkeep {
  const { store, account, api } = context
  let timer: NodeJS.Timeout | undefined
  /** Device that wrote → when it was looked at. */
  const writers = new Map<string, number>()

  async function refill(): Promise<void> {
    const { ec, kem } = await api.countKeys()
    const kinds = { ec: ec < limits.prekeysLow, kem: kem < limits.prekeysLow }
    if (!kinds.ec && !kinds.kem) return
    await store.turn(() => writeNumber(store, FEW_SEEN, context.now()))
    const isUrgent = Math.min(ec, kem) < REFILL_AT_ONCE_BELOW
    const waitMs = isUrgent ? 0 : await refillInMs(context, random)
    clearTimeout(timer)
    if (waitMs > 0) {
      timer = setTimeout(() => later(refill), waitMs).unref()
      return
    }
    const keys = await store.turn(() => makeOneTime(store, account.identity, kinds, context.now()))
    await api.putKeys(keys)
    await store.turn(() => writeNumber(store, REFILL_DUE, 0))
  }

  async function lookAt(user: string, begunMs: number): Promise<void> {
    const { ec } = await api.countKeys()
    // Few now: that is why. Few a while ago: it may have been begun then.
    if (ec < limits.prekeysLow || begunMs <= readNumber(store, FEW_SEEN) + WITHHELD_SLACK_MS) return
    context.emit('keysWithheld', { user, left: ec })
  }

  return {
    async keep() {
      await renewRepeated(context)
      await refill()
    },
    async renew() {
      const keys = await store.turn(() => {
        writeNumber(store, FEW_SEEN, context.now())
        writeNumber(store, REFILL_DUE, 0)
        return makeAll(store, account.identity, context.now())
      })
      await api.putKeys(keys)
    },
    onFirstMessage({ author, device }, seq, bytes) {
      const writer = `${author}.${device}`
      const nowMs = context.now()
      if (nowMs - (writers.get(writer) ?? Number.NEGATIVE_INFINITY) < WITHHELD_EVERY_MS) return
      if (senderOfPrekeyMessage(bytes)?.hasOneTime !== false) return
      if (writers.size >= WRITERS_MAX) writers.clear()
      writers.set(writer, nowMs)
      later(() => lookAt(author, seqToUnixMs(seq)))
    },
    stop: () => clearTimeout(timer),
  }
}
