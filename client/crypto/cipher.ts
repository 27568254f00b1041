/**
 * One message to or from one device, with libsignal. Everything here runs inside a turn (store/open.ts), so nothing it
 * changes outlives a failure. Names of addresses are UUIDs: only then does libsignal bind sender and recipient.
 */
import {
  Aci,
  CiphertextMessage,
  CiphertextMessageType,
  DecryptionErrorMessage,
  ErrorCode,
  KEMPublicKey,
  LibSignalErrorBase,
  PlaintextContent,
  PreKeyBundle,
  PreKeySignalMessage,
  ProtocolAddress,
  PublicKey,
  processPreKeyBundle,
  SignalMessage,
  signalDecrypt,
  signalDecryptPreKey,
  signalEncrypt,
} from '@signalapp/libsignal-client'
import type { Bundle } from '../http/api.ts'
import type { Store } from '../store/open.ts'
import type { Account } from './account.ts'
import { createIdentities, type Identities } from './identities.ts'
import { senderOfPrekeyMessage } from './prekey-message.ts'
import { createSessions, type Sessions } from './session-cache.ts'
import { createSignalStores, type SignalStores } from './stores.ts'

export interface Body {
  readonly field: 'whisper' | 'prekey'
  readonly bytes: Uint8Array
}

/** Why a message could not be read: `duplicate` is "its key is gone", which is not "seen before". */
export type ReadFault = 'duplicate' | 'unreadable'
export type ReadResult = { readonly content: Uint8Array } | { readonly fault: ReadFault; readonly text: string }

export interface Cipher {
  readonly sessions: Sessions
  readonly identities: Identities
  /** Is there a session that can be sent with, without a new bundle? */
  hasSession(user: string, device: number): boolean
  /** Begins a session. Throws an IdentityFault when the account's identity is another one than is approved. */
  begin(user: string, identityKey: Uint8Array, bundle: Bundle): Promise<void>
  encrypt(user: string, device: number, padded: Uint8Array): Promise<Body>
  /** Undoes itself when it fails (a part of the turn). */
  decrypt(user: string, device: number, body: Body): Promise<ReadResult>
  /** Archives the session when it is the one that a retry request names. */
  archiveIfCurrent(user: string, device: number, ratchetKey: Uint8Array | undefined): void
}

/** The identity key of `user` is not the one that may be sent to: approve it first. */
export class IdentityFault extends Error {
  readonly user: string
  constructor(user: string) {
    super(`the identity key of ${user} is not approved`)
    this.user = user
  }
}

type Bytes = Uint8Array<ArrayBuffer>
/** libsignal's types want a plain array over a buffer of its own. */
const own = (bytes: Uint8Array): Bytes => Uint8Array.from(bytes)

const ADDRESSES_KEPT_MAX = 2_000
const addresses = new Map<string, ProtocolAddress>()

/** They never change: making one reads the UUID each time. */
function addressOf(user: string, device: number): ProtocolAddress {
  const key = `${user}.${device}`
  let address = addresses.get(key)
  if (address === undefined) {
    if (addresses.size >= ADDRESSES_KEPT_MAX) addresses.clear()
    address = ProtocolAddress.new(Aci.fromUuid(user), device)
    addresses.set(key, address)
  }
  return address
}

function bundleOf(identityKey: Uint8Array, bundle: Bundle): PreKeyBundle {
  const { signedPrekey, oneTimePrekey, kemPrekey } = bundle
  return PreKeyBundle.new(
    bundle.registrationId,
    bundle.number,
    oneTimePrekey === undefined ? null : oneTimePrekey.id,
    oneTimePrekey === undefined ? null : PublicKey.deserialize(own(oneTimePrekey.key)),
    signedPrekey.id,
    PublicKey.deserialize(own(signedPrekey.key)),
    own(signedPrekey.signature),
    PublicKey.deserialize(own(identityKey)),
    kemPrekey.id,
    KEMPublicKey.deserialize(own(kemPrekey.key)),
    own(kemPrekey.signature),
  )
}

interface Keyring {
  readonly account: Account
  readonly sessions: Sessions
  readonly identities: Identities
  readonly stores: SignalStores
}

const me = ({ account }: Keyring): ProtocolAddress => addressOf(account.user, account.number)

async function decryptNow(keyring: Keyring, user: string, device: number, { field, bytes }: Body): Promise<Uint8Array> {
  const { sessions, identities, prekeys, signedPrekeys, kemPrekeys } = keyring.stores
  const from = addressOf(user, device)
  if (field === 'whisper') {
    return signalDecrypt(SignalMessage.deserialize(own(bytes)), from, me(keyring), sessions, identities)
  }
  const message = PreKeySignalMessage.deserialize(own(bytes))
  forgetOtherIdentity(keyring, user, bytes)
  return signalDecryptPreKey(message, from, me(keyring), sessions, identities, prekeys, signedPrekeys, kemPrekeys)
}

/**
 * Sessions under the identity before must not come back: a late message on one of them would bring its identity back.
 * They go first; when the message turns out to be false, this is undone with it.
 */
function forgetOtherIdentity({ account, identities, sessions }: Keyring, user: string, bytes: Uint8Array): void {
  const known = user === account.user ? undefined : identities.get(user)
  const named = senderOfPrekeyMessage(bytes)?.identityKey
  if (known !== undefined && named !== undefined && Buffer.compare(known.key, named) !== 0) sessions.removeAll(user)
}

export function createCipher(store: Store, account: Account, now: () => number): Cipher {
  const sessions = createSessions(store)
  const identities = createIdentities(store)
  store.addCache(sessions)
  store.addCache(identities)
  const stores = createSignalStores(store, sessions, identities, account, now)
  const keyring: Keyring = { account, sessions, identities, stores }
  return {
    sessions,
    identities,
    hasSession(user, device) {
      return sessions.get(user, device)?.hasCurrentState(new Date(now())) === true
    },
    async begin(user, identityKey, bundle) {
      const known = user === account.user ? undefined : identities.get(user)
      const isOther = known !== undefined && Buffer.compare(known.key, identityKey) !== 0
      if (isOther) {
        identities.learn(user, identityKey, now())
        sessions.removeAll(user)
      }
      if (isOther || known?.isApproved === false) throw new IdentityFault(user)
      const remote = addressOf(user, bundle.number)
      const today = new Date(now())
      await processPreKeyBundle(
        bundleOf(identityKey, bundle),
        remote,
        me(keyring),
        stores.sessions,
        stores.identities,
        today,
      )
    },
    async encrypt(user, device, padded) {
      if (user !== account.user && identities.get(user)?.isApproved === false) throw new IdentityFault(user)
      const today = new Date(now())
      const remote = addressOf(user, device)
      const message = await signalEncrypt(own(padded), remote, me(keyring), stores.sessions, stores.identities, today)
      const field = message.type() === CiphertextMessageType.PreKey ? 'prekey' : 'whisper'
      return { field, bytes: message.serialize() }
    },
    async decrypt(user, device, body) {
      try {
        return { content: await store.part(() => decryptNow(keyring, user, device, body)) }
      } catch (error) {
        const isDuplicate = error instanceof LibSignalErrorBase && error.code === ErrorCode.DuplicatedMessage
        return { fault: isDuplicate ? 'duplicate' : 'unreadable', text: (error as Error).message }
      }
    },
    archiveIfCurrent(user, device, ratchetKey) {
      const record = sessions.get(user, device)
      if (record === null || ratchetKey === undefined) return
      if (!record.hasCurrentState() || !record.currentRatchetKeyMatches(PublicKey.deserialize(own(ratchetKey)))) return
      record.archiveCurrentState()
      sessions.set(user, device, record)
    },
  }
}

/** What asks for a message again: the bytes of a `plaintext` body. Undefined: those bytes are no message at all. */
export function retryRequestOf({ field, bytes }: Body, seq: number, device: number): Uint8Array | undefined {
  const type = field === 'prekey' ? CiphertextMessageType.PreKey : CiphertextMessageType.Whisper
  try {
    const request = DecryptionErrorMessage.forOriginal(own(bytes), type, seq, device)
    return CiphertextMessage.from(PlaintextContent.from(request)).serialize()
  } catch {
    return undefined
  }
}

export interface RetryRequest {
  readonly seq: number
  /** The device that is asked: its number. */
  readonly device: number
  readonly ratchetKey: Uint8Array | undefined
}

/** Reads a `plaintext` body. It is not authenticated: a hint, and nothing else than a retry request is taken. */
export function readRetryRequest(bytes: Uint8Array): RetryRequest | undefined {
  try {
    const request = DecryptionErrorMessage.extractFromSerializedBody(
      own(PlaintextContent.deserialize(own(bytes)).body()),
    )
    return { seq: request.timestamp(), device: request.deviceId(), ratchetKey: request.ratchetKey()?.serialize() }
  } catch {
    return undefined
  }
}
