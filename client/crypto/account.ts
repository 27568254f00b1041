/** Who this database belongs to: the account and device, as sealed in the database. Empty fields: not registered. */
import { IdentityKeyPair, PrivateKey } from '@signalapp/libsignal-client'
import type { Store } from '../store/open.ts'

export interface Account {
  /** HTTP address of the server. */
  url: string
  /** MQTT address of the server. */
  mqtt: string
  /** UUID text; '' before registration. */
  user: string
  handle: string
  phone: string
  device: string
  /** The device's number, 1..127. */
  number: number
  registrationId: number
  token: string
  isPrimary: boolean
  /** Highest stamp given to a request. */
  lastStamp: number
  identity: IdentityKeyPair
}

const NAME = 'account'

/** One key pair for the account, shared by its devices. */
const newIdentity = (): IdentityKeyPair => IdentityKeyPair.generate()

type Kept = Omit<Account, 'identity' | 'lastStamp'> & { readonly identity: string }

/** The account in the database, or undefined: it is new. */
export function readAccount(store: Store): Account | undefined {
  const row = store.peek('SELECT value FROM meta WHERE name = ?', NAME)[0]
  if (row === undefined) return undefined
  const kept = JSON.parse(store.vault.open(NAME, row['value'] as Uint8Array).toString()) as Kept
  const stamp = store.peek('SELECT max(stamp) AS stamp FROM outbox')[0]?.['stamp']
  return {
    ...kept,
    identity: identityFrom(Buffer.from(kept.identity, 'base64')),
    lastStamp: Math.max(Number(stamp ?? 0), readNumber(store, 'last_stamp')),
  }
}

/** Writes the account, in a turn. */
export function writeAccount(store: Store, account: Account): void {
  const { identity, lastStamp, ...rest } = account
  const kept: Kept = { ...rest, identity: Buffer.from(identity.privateKey.serialize()).toString('base64') }
  writeMeta(store, NAME, store.vault.seal(NAME, Buffer.from(JSON.stringify(kept))))
  writeNumber(store, 'last_stamp', lastStamp)
}

const NEXT_IDENTITY = 'next_identity'

/** The identity key of an enrolment that was begun and may have reached the server, else a new one. */
export function nextIdentity(store: Store): IdentityKeyPair {
  const kept = store.peek('SELECT value FROM meta WHERE name = ?', NEXT_IDENTITY)[0]
  if (kept === undefined) return newIdentity()
  return identityFrom(store.vault.open(NEXT_IDENTITY, kept['value'] as Uint8Array))
}

/** In the turn before it leaves. */
export function keepNextIdentity(store: Store, { privateKey }: IdentityKeyPair): void {
  writeMeta(store, NEXT_IDENTITY, store.vault.seal(NEXT_IDENTITY, privateKey.serialize()))
}

/** The account has it now. In a turn. */
export function forgetNextIdentity(store: Store): void {
  store.run('DELETE FROM meta WHERE name = ?', NEXT_IDENTITY)
}

function identityFrom(privateBytes: Uint8Array): IdentityKeyPair {
  const privateKey = PrivateKey.deserialize(Uint8Array.from(privateBytes))
  return new IdentityKeyPair(privateKey.getPublicKey(), privateKey)
}

export function writeMeta(store: Store, name: string, value: Uint8Array): void {
  store.run(
    'INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
    name,
    value,
  )
}

/** A number of `meta`; 0 when it is not there. */
export function readNumber(store: Store, name: string): number {
  const row = store.peek('SELECT value FROM meta WHERE name = ?', name)[0]
  return row === undefined ? 0 : Number(Buffer.from(row['value'] as Uint8Array).toString())
}

export function writeNumber(store: Store, name: string, value: number): void {
  writeMeta(store, name, Buffer.from(String(value)))
}
