/**
 * What libsignal reads and writes, on the tables of the turn. These are classes because libsignal asks for subclasses.
 * An exception of a store reaches the caller of libsignal as text only, so the last one is kept in `fault`.
 */
import {
  Direction,
  IdentityChange,
  IdentityKeyStore,
  KyberPreKeyRecord,
  KyberPreKeyStore,
  PreKeyRecord,
  PreKeyStore,
  type PrivateKey,
  type ProtocolAddress,
  PublicKey,
  type SessionRecord,
  SessionStore,
  SignedPreKeyRecord,
  SignedPreKeyStore,
} from '@signalapp/libsignal-client'
import type { Store } from '../store/open.ts'
import type { Account } from './account.ts'
import type { Identities } from './identities.ts'
import { PREKEY_EC, PREKEY_KEM, PREKEY_LAST, PREKEY_SIGNED } from './prekeys.ts'
import type { Sessions } from './session-cache.ts'

class Sessioning extends SessionStore {
  readonly #sessions: Sessions
  constructor(sessions: Sessions) {
    super()
    this.#sessions = sessions
  }
  override async saveSession(address: ProtocolAddress, record: SessionRecord): Promise<void> {
    this.#sessions.set(address.name(), address.deviceId(), record)
  }
  override async getSession(address: ProtocolAddress): Promise<SessionRecord | null> {
    return this.#sessions.get(address.name(), address.deviceId())
  }
  override async getExistingSessions(addresses: ProtocolAddress[]): Promise<SessionRecord[]> {
    return addresses.map((address) => {
      const record = this.#sessions.get(address.name(), address.deviceId())
      if (record === null) throw new Error('no session')
      return record
    })
  }
}

class Identifying extends IdentityKeyStore {
  readonly #identities: Identities
  readonly #account: Account
  readonly #now: () => number
  constructor(identities: Identities, account: Account, now: () => number) {
    super()
    this.#identities = identities
    this.#account = account
    this.#now = now
  }
  override async getIdentityKey(): Promise<PrivateKey> {
    return this.#account.identity.privateKey
  }
  override async getLocalRegistrationId(): Promise<number> {
    return this.#account.registrationId
  }
  override async saveIdentity(address: ProtocolAddress, key: PublicKey): Promise<IdentityChange> {
    const isChanged = this.#identities.learn(address.name(), key.serialize(), this.#now())
    return isChanged ? IdentityChange.ReplacedExisting : IdentityChange.NewOrUnchanged
  }
  override async isTrustedIdentity(address: ProtocolAddress, key: PublicKey, direction: Direction): Promise<boolean> {
    // One's own devices have one's own key, and no other (a ghost device of the server's would not).
    if (address.name() === this.#account.user) return key.equals(this.#account.identity.publicKey)
    const known = this.#identities.get(address.name())
    if (direction !== Direction.Sending || known === undefined) return true
    return known.isApproved && Buffer.compare(known.key, key.serialize()) === 0
  }
  override async getIdentity(address: ProtocolAddress): Promise<PublicKey | null> {
    const known = this.#identities.get(address.name())
    return known === undefined ? null : PublicKey.deserialize(Uint8Array.from(known.key))
  }
}

const GET_PREKEY = 'SELECT sealed FROM prekeys WHERE kind = ? AND id = ?'

function readPrekey(store: Store, kind: number, id: number): Uint8Array<ArrayBuffer> | undefined {
  const sealed = store.get(GET_PREKEY, kind, id)?.['sealed'] as Uint8Array | undefined
  return sealed && Uint8Array.from(store.vault.open(`prekey ${kind} ${id}`, sealed))
}

/** Private keys are written by prekeys.ts before their public halves are uploaded, and by nobody else. */
const refuseSave = (): never => {
  throw new Error('prekeys are made by the client only')
}

class Prekeys extends PreKeyStore {
  readonly #store: Store
  constructor(store: Store) {
    super()
    this.#store = store
  }
  override savePreKey = refuseSave
  override async getPreKey(id: number): Promise<PreKeyRecord> {
    const bytes = readPrekey(this.#store, PREKEY_EC, id)
    if (bytes === undefined) throw new Error(`one-time prekey ${id} is not there`)
    return PreKeyRecord.deserialize(bytes)
  }
  override async removePreKey(id: number): Promise<void> {
    this.#store.run('DELETE FROM prekeys WHERE kind = ? AND id = ?', PREKEY_EC, id)
  }
}

class SignedPrekeys extends SignedPreKeyStore {
  readonly #store: Store
  constructor(store: Store) {
    super()
    this.#store = store
  }
  override saveSignedPreKey = refuseSave
  override async getSignedPreKey(id: number): Promise<SignedPreKeyRecord> {
    const bytes = readPrekey(this.#store, PREKEY_SIGNED, id)
    if (bytes === undefined) throw new Error(`signed prekey ${id} is not there`)
    return SignedPreKeyRecord.deserialize(bytes)
  }
}

class KemPrekeys extends KyberPreKeyStore {
  readonly #store: Store
  constructor(store: Store) {
    super()
    this.#store = store
  }
  override saveKyberPreKey = refuseSave
  override async getKyberPreKey(id: number): Promise<KyberPreKeyRecord> {
    const bytes = readPrekey(this.#store, PREKEY_KEM, id) ?? readPrekey(this.#store, PREKEY_LAST, id)
    if (bytes === undefined) throw new Error(`KEM prekey ${id} is not there`)
    return KyberPreKeyRecord.deserialize(bytes)
  }
  /** A one-time key goes; a last-resort key stays, and each message that begins with it is taken once. */
  override async markKyberPreKeyUsed(kemId: number, signedId: number, baseKey: PublicKey): Promise<void> {
    if (this.#store.run('DELETE FROM prekeys WHERE kind = ? AND id = ?', PREKEY_KEM, kemId) > 0) return
    const sql = 'INSERT OR IGNORE INTO base_keys (kem_id, signed_id, base_key) VALUES (?, ?, ?)'
    if (this.#store.run(sql, kemId, signedId, baseKey.serialize()) === 0) throw new Error('replayed base key')
  }
}

export interface SignalStores {
  readonly sessions: SessionStore
  readonly identities: IdentityKeyStore
  readonly prekeys: PreKeyStore
  readonly signedPrekeys: SignedPreKeyStore
  readonly kemPrekeys: KyberPreKeyStore
}

export function createSignalStores(
  store: Store,
  sessions: Sessions,
  identities: Identities,
  account: Account,
  now: () => number,
): SignalStores {
  return {
    sessions: new Sessioning(sessions),
    identities: new Identifying(identities, account, now),
    prekeys: new Prekeys(store),
    signedPrekeys: new SignedPrekeys(store),
    kemPrekeys: new KemPrekeys(store),
  }
}
