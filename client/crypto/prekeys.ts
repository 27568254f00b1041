/**
 * One's own prekeys: made, written down (sealed) before their public halves leave, renewed. Ids begin at random, rise,
 * and are never used again. Numbers are Signal's: the repeated keys change every 2 days, replaced ones stay for 30 days
 * and at least 5 of them, one-time keys whose public half may still be out for 90 days.
 */
import { randomInt } from 'node:crypto'
import {
  type IdentityKeyPair,
  KEMKeyPair,
  KyberPreKeyRecord,
  PreKeyRecord,
  PrivateKey,
  SignedPreKeyRecord,
} from '@signalapp/libsignal-client'
import { limits } from '../../topics/limits.ts'
import type { Store } from '../store/open.ts'
import { writeNumber } from './account.ts'

export const PREKEY_EC = 0
export const PREKEY_KEM = 1
export const PREKEY_SIGNED = 2
export const PREKEY_LAST = 3

const DAY_MS = 86_400_000
const ROTATE_AFTER_MS = 2 * DAY_MS
const REPLACED_KEPT_MS = 30 * DAY_MS
const REPLACED_KEPT_MIN = 5
const ONE_TIME_KEPT_MS = 90 * DAY_MS
/** The highest id that libsignal takes is 2^32 - 1; half of the room is left to count. */
const FIRST_ID_MAX = 2 ** 31

export interface PublicPrekey {
  readonly id: number
  readonly key: Uint8Array
}
export interface SignedPublicPrekey extends PublicPrekey {
  readonly signature: Uint8Array
}
/** The public halves, as the server takes them. */
export interface PublicKeys {
  readonly signedPrekey: SignedPublicPrekey
  readonly lastResortPrekey: SignedPublicPrekey
  readonly oneTimePrekeys: readonly PublicPrekey[]
  readonly oneTimeKemPrekeys: readonly SignedPublicPrekey[]
}

function nextId(store: Store): number {
  const row = store.get('SELECT value FROM meta WHERE name = ?', 'next_prekey')
  const id = row === undefined ? randomInt(1, FIRST_ID_MAX) : Number(Buffer.from(row['value'] as Uint8Array).toString())
  writeNumber(store, 'next_prekey', id + 1)
  return id
}

/** Ids that another copy of this database may have given are not given again. In a turn. */
export function skipPrekeyIds(store: Store): void {
  writeNumber(store, 'next_prekey', randomInt(1, FIRST_ID_MAX))
}

function put(store: Store, kind: number, id: number, record: Uint8Array, nowMs: number): void {
  const sql = 'INSERT INTO prekeys (kind, id, made_ms, replaced_ms, sealed) VALUES (?, ?, ?, 0, ?)'
  store.run(sql, kind, id, nowMs, store.vault.seal(`prekey ${kind} ${id}`, record))
}

function makeEc(store: Store, nowMs: number): PublicPrekey {
  const id = nextId(store)
  const secret = PrivateKey.generate()
  put(store, PREKEY_EC, id, PreKeyRecord.new(id, secret.getPublicKey(), secret).serialize(), nowMs)
  return { id, key: secret.getPublicKey().serialize() }
}

function makeKem(store: Store, identity: IdentityKeyPair, kind: number, nowMs: number): SignedPublicPrekey {
  const id = nextId(store)
  const pair = KEMKeyPair.generate()
  const key = pair.getPublicKey().serialize()
  const signature = identity.privateKey.sign(key)
  put(store, kind, id, KyberPreKeyRecord.new(id, nowMs, pair, signature).serialize(), nowMs)
  return { id, key, signature }
}

function makeSigned(store: Store, identity: IdentityKeyPair, nowMs: number): SignedPublicPrekey {
  const id = nextId(store)
  const secret = PrivateKey.generate()
  const key = secret.getPublicKey().serialize()
  const signature = identity.privateKey.sign(key)
  put(
    store,
    PREKEY_SIGNED,
    id,
    SignedPreKeyRecord.new(id, nowMs, secret.getPublicKey(), secret, signature).serialize(),
    nowMs,
  )
  return { id, key, signature }
}

/** New one-time keys of the kinds asked for, a full set each. In a turn; upload after its commit. */
export function makeOneTime(
  store: Store,
  identity: IdentityKeyPair,
  kinds: { readonly ec: boolean; readonly kem: boolean },
  nowMs: number,
): Partial<Pick<PublicKeys, 'oneTimePrekeys' | 'oneTimeKemPrekeys'>> {
  const set = <T>(make: () => T): T[] => Array.from({ length: limits.oneTimePrekeysMax }, make)
  return {
    ...(kinds.ec ? { oneTimePrekeys: set(() => makeEc(store, nowMs)) } : {}),
    ...(kinds.kem ? { oneTimeKemPrekeys: set(() => makeKem(store, identity, PREKEY_KEM, nowMs)) } : {}),
  }
}

/** New repeated keys; those before are replaced, and go when they are old. In a turn; upload after its commit. */
export function makeRepeated(
  store: Store,
  identity: IdentityKeyPair,
  nowMs: number,
): Pick<PublicKeys, 'signedPrekey' | 'lastResortPrekey'> {
  store.run('UPDATE prekeys SET replaced_ms = ? WHERE kind >= ? AND replaced_ms = 0', nowMs, PREKEY_SIGNED)
  for (const kind of [PREKEY_SIGNED, PREKEY_LAST]) {
    store.run(
      `DELETE FROM prekeys WHERE kind = ? AND replaced_ms > 0 AND replaced_ms < ? AND id NOT IN
        (SELECT id FROM prekeys WHERE kind = ? ORDER BY made_ms DESC LIMIT ?)`,
      kind,
      nowMs - REPLACED_KEPT_MS,
      kind,
      REPLACED_KEPT_MIN + 1,
    )
  }
  store.run('DELETE FROM prekeys WHERE kind < ? AND made_ms < ?', PREKEY_SIGNED, nowMs - ONE_TIME_KEPT_MS)
  // What was begun with a key that is gone cannot be begun again.
  store.run('DELETE FROM base_keys WHERE kem_id NOT IN (SELECT id FROM prekeys WHERE kind = ?)', PREKEY_LAST)
  return {
    signedPrekey: makeSigned(store, identity, nowMs),
    lastResortPrekey: makeKem(store, identity, PREKEY_LAST, nowMs),
  }
}

/** All four sets, for a new device. In a turn; upload after its commit. */
export function makeAll(store: Store, identity: IdentityKeyPair, nowMs: number): PublicKeys {
  const oneTime = makeOneTime(store, identity, { ec: true, kem: true }, nowMs)
  return { ...makeRepeated(store, identity, nowMs), ...(oneTime as Required<typeof oneTime>) }
}

/** Are the repeated keys so old that new ones are due? A clock that went back makes them due as well. */
export function isRotationDue(store: Store, nowMs: number): boolean {
  const row = store.peek(
    'SELECT max(made_ms) AS made FROM prekeys WHERE kind = ? AND replaced_ms = 0',
    PREKEY_SIGNED,
  )[0]
  const madeMs = Number(row?.['made'] ?? 0)
  return nowMs - madeMs > ROTATE_AFTER_MS || madeMs - nowMs > ROTATE_AFTER_MS
}

/** The repeated keys in force, for the server's self-check; undefined before the first. */
export function repeatedKeys(store: Store): { signed: PublicPrekey; last: PublicPrekey } | undefined {
  const read = (kind: number) => {
    const sql = 'SELECT id, sealed FROM prekeys WHERE kind = ? AND replaced_ms = 0 ORDER BY made_ms DESC LIMIT 1'
    const row = store.peek(sql, kind)[0]
    if (row === undefined) return undefined
    const id = row['id'] as number
    return { id, bytes: Uint8Array.from(store.vault.open(`prekey ${kind} ${id}`, row['sealed'] as Uint8Array)) }
  }
  const signed = read(PREKEY_SIGNED)
  const last = read(PREKEY_LAST)
  if (signed === undefined || last === undefined) return undefined
  return {
    signed: { id: signed.id, key: SignedPreKeyRecord.deserialize(signed.bytes).publicKey().serialize() },
    last: { id: last.id, key: KyberPreKeyRecord.deserialize(last.bytes).publicKey().serialize() },
  }
}
