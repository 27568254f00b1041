/** libsignal's stores in memory, with what a golden file keeps of them. For golden-signal.ts and its test. */
import {
  type Direction,
  IdentityChange,
  IdentityKeyStore,
  type KyberPreKeyRecord,
  KyberPreKeyStore,
  type PreKeyRecord,
  PreKeyStore,
  type PrivateKey,
  type ProtocolAddress,
  type PublicKey,
  SessionRecord,
  SessionStore,
  type SignedPreKeyRecord,
  SignedPreKeyStore,
} from '@signalapp/libsignal-client'

/** What libsignal takes: an array over a buffer of its own. */
export type Bytes = Uint8Array<ArrayBuffer>
export const fromHex = (hex: string): Bytes => Uint8Array.from(Buffer.from(hex, 'hex'))
export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

export class Sessions extends SessionStore {
  readonly rows = new Map<string, Bytes>()

  override async saveSession(address: ProtocolAddress, record: SessionRecord): Promise<void> {
    this.rows.set(address.toString(), record.serialize())
  }
  override async getSession(address: ProtocolAddress): Promise<SessionRecord | null> {
    const row = this.rows.get(address.toString())
    return row === undefined ? null : SessionRecord.deserialize(row)
  }
  override async getExistingSessions(addresses: ProtocolAddress[]): Promise<SessionRecord[]> {
    return addresses.map((address) => SessionRecord.deserialize(this.rows.get(address.toString()) as Bytes))
  }
}

export class Identities extends IdentityKeyStore {
  private readonly own: PrivateKey
  private readonly registrationId: number
  private readonly known = new Map<string, PublicKey>()

  constructor(own: PrivateKey, registrationId: number) {
    super()
    this.own = own
    this.registrationId = registrationId
  }
  override async getIdentityKey(): Promise<PrivateKey> {
    return this.own
  }
  override async getLocalRegistrationId(): Promise<number> {
    return this.registrationId
  }
  override async saveIdentity(address: ProtocolAddress, key: PublicKey): Promise<IdentityChange> {
    const before = this.known.get(address.name())
    this.known.set(address.name(), key)
    const isSame = before === undefined || before.equals(key)
    return isSame ? IdentityChange.NewOrUnchanged : IdentityChange.ReplacedExisting
  }
  override async isTrustedIdentity(address: ProtocolAddress, key: PublicKey, _direction: Direction): Promise<boolean> {
    return this.known.get(address.name())?.equals(key) ?? true
  }
  override async getIdentity(address: ProtocolAddress): Promise<PublicKey | null> {
    return this.known.get(address.name()) ?? null
  }
}

/** One key of a kind under one id. */
function recordOf<T extends { id(): number }>(record: T, id: number): T {
  if (record.id() !== id) throw new Error(`there is no key ${id}`)
  return record
}

export class OnePreKey extends PreKeyStore {
  private readonly record: PreKeyRecord
  isUsed = false

  constructor(record: PreKeyRecord) {
    super()
    this.record = record
  }
  override async savePreKey(): Promise<void> {}
  override async getPreKey(id: number): Promise<PreKeyRecord> {
    return recordOf(this.record, id)
  }
  override async removePreKey(id: number): Promise<void> {
    this.isUsed = recordOf(this.record, id) === this.record
  }
}

export class OneSignedPreKey extends SignedPreKeyStore {
  private readonly record: SignedPreKeyRecord

  constructor(record: SignedPreKeyRecord) {
    super()
    this.record = record
  }
  override async saveSignedPreKey(): Promise<void> {}
  override async getSignedPreKey(id: number): Promise<SignedPreKeyRecord> {
    return recordOf(this.record, id)
  }
}

export class OneKemPreKey extends KyberPreKeyStore {
  private readonly record: KyberPreKeyRecord
  isUsed = false

  constructor(record: KyberPreKeyRecord) {
    super()
    this.record = record
  }
  override async saveKyberPreKey(): Promise<void> {}
  override async getKyberPreKey(id: number): Promise<KyberPreKeyRecord> {
    return recordOf(this.record, id)
  }
  override async markKyberPreKeyUsed(id: number): Promise<void> {
    this.isUsed = recordOf(this.record, id) === this.record
  }
}
