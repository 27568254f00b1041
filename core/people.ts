/**
 * The ports of persons: accounts, their public keys, and what registering needs. Part of core/ports.ts, which gives
 * them to everybody; comments state what is atomic, ordered, idempotent and bounded.
 */

/** A person: the account as its owner and the key directory see it. */
export interface Person {
  /** 16 bytes, UUID version 4. */
  readonly user: Uint8Array
  readonly handle: string | undefined
  /** Curve25519 public key with its type byte: 33 bytes. One for the account, shared by its devices. */
  readonly identityKey: Uint8Array
  /** Not revoked, by number. */
  readonly devices: readonly PersonDevice[]
}
export interface PersonDevice {
  readonly id: string
  readonly number: number
  readonly registrationId: number
  /** Sealed by the owner's devices: the server cannot read it. */
  readonly name: Uint8Array | undefined
  readonly createdMs: number
  /** When it was connected last, as `seen` was told; 0 when that is not known. */
  readonly seenMs: number
  /** The one that registered by phone number; it alone may link others and reset the identity. */
  readonly isPrimary: boolean
}
export interface NewPerson {
  readonly user: Uint8Array
  readonly handle: string | undefined
  /** HMAC-SHA256 of the number in E.164: the number itself is never stored. */
  readonly phoneHash: Uint8Array
  readonly identityKey: Uint8Array
}
/** A person's device; its number is the next that the account never had, 1..127. */
export interface NewPersonDevice {
  readonly id: string
  readonly registrationId: number
  readonly name: Uint8Array | undefined
  readonly tokenHash: Uint8Array
  readonly keys: KeySet
}

/** The account is not there any more, or has another identity key than the caller took it to have. */
export class IdentityFault extends Error {}

/** A new device of an account, and the devices that ended with that. */
export interface Replaced {
  readonly number: number
  /** Also some that had ended before, at times: whoever ends their connections does it once more. */
  readonly ended: readonly string[]
}

/**
 * Accounts of persons. Writes are atomic and durable when they resolve, and the directory knows of them at once.
 * A device that ends leaves no keys behind. They reject with a ConflictFault when an id, a handle or a phone number is
 * taken, or the account has had all its device numbers (`number`); nothing was changed then.
 */
export interface Accounts {
  personByPhone(phoneHash: Uint8Array): Promise<Person | undefined>
  /** Undefined for things, for accounts without identity key and for erased ones. */
  person(user: Uint8Array): Promise<Person | undefined>
  /** A new account with its primary device. Resolves with the device's number. */
  register(person: NewPerson, device: NewPersonDevice): Promise<number>
  /**
   * One more device of the account, not primary. Rejects with an IdentityFault when `identityKey` is not the account's,
   * with a ConflictFault (`number`) when it has `linkedDevicesMax` of them.
   */
  link(user: Uint8Array, identityKey: Uint8Array, device: NewPersonDevice): Promise<number>
  /**
   * A new primary device: the one before ends, whichever it is by then, and so do the devices `ended`. With another
   * identity key the account begins anew: all its devices end, and all prekeys go. Sets the handle, if there is one.
   * Rejects with an IdentityFault when the account is gone.
   */
  replace(
    user: Uint8Array,
    identityKey: Uint8Array,
    ended: readonly string[],
    device: NewPersonDevice,
    handle?: string,
  ): Promise<Replaced>
  /** Sets the name or the token of a device, whichever is given. Idempotent. */
  change(device: string, to: { readonly name?: Uint8Array; readonly tokenHash?: Uint8Array }): Promise<void>
  /**
   * The device was connected until then. Only rises, is forgotten when the device ends, and changes nothing that the
   * directory knows. Idempotent, in any order.
   */
  seen(device: string, atMs: number): Promise<void>
  /**
   * Ends all devices and forgets phone number, handle, names and keys; the id stays taken. Idempotent. Resolves with
   * the devices that ended, as `replace` does.
   */
  erase(user: Uint8Array): Promise<readonly string[]>
}

/** A public prekey. `signature` is XEdDSA (64 bytes) by the account's identity key over `key` as it stands. */
export interface Prekey {
  /** 0 .. 2^32 - 1. */
  readonly id: number
  /** 33 bytes (0x05, Curve25519) or 1,569 bytes (0x08, ML-KEM-1024). */
  readonly key: Uint8Array
}
export interface SignedPrekey extends Prekey {
  readonly signature: Uint8Array
}
/** What a device uploads. A list replaces the whole set of its kind; what is undefined stays. */
export interface KeyUpload {
  readonly signedPrekey?: SignedPrekey
  readonly lastResortPrekey?: SignedPrekey
  readonly oneTimePrekeys?: readonly Prekey[]
  readonly oneTimeKemPrekeys?: readonly SignedPrekey[]
}
export type KeySet = Required<KeyUpload>
/** What a session with a device is begun from. */
export interface PrekeyBundle {
  readonly signedPrekey: SignedPrekey
  /** Undefined: none is left, or none may be spent. */
  readonly oneTimePrekey: Prekey | undefined
  /** A one-time key, or the last-resort one. */
  readonly kemPrekey: SignedPrekey
  /** How many one-time keys the device has left of each kind of which one was spent here. */
  readonly left: PrekeysLeft
}
export interface PrekeysLeft {
  readonly ec: number | undefined
  readonly kem: number | undefined
}
export interface PrekeyCounts {
  readonly ec: number
  readonly kem: number
}

/**
 * Public keys of persons' devices. Atomic: a one-time key is given to one taker, also when two take at once or the
 * process ends in between; and a taker gets one as long as there is one.
 */
export interface Keys {
  /** Durable when it resolves. */
  put(device: string, upload: KeyUpload): Promise<void>
  /**
   * A bundle of each device, in the order asked; undefined where a device has no keys. `spend` false: without
   * one-time keys. Durable when it resolves: what was given is gone.
   */
  take(wanted: readonly { readonly device: string; readonly spend: boolean }[]): Promise<(PrekeyBundle | undefined)[]>
  count(device: string): Promise<PrekeyCounts>
  /** The keys that are used again and again, for a self-check. */
  repeated(
    device: string,
  ): Promise<{ readonly signedPrekey: SignedPrekey; readonly lastResortPrekey: SignedPrekey } | undefined>
}

/** What a code had left when it was spent. */
export interface SpentCode {
  readonly expiresMs: number
  readonly triesLeft: number
}

/** One-time codes that were sent to phone numbers, keyed by the number's HMAC. Bounded; old ones go. */
export interface Codes {
  /** Replaces the number's code; the new one has `codeTriesMax` tries. */
  put(phoneKey: string, codeHash: Uint8Array, expiresMs: number): Promise<void>
  /**
   * Spends one try. Resolves with what the code had left before, once, when the hash is the one that was put and the
   * time is not over; else with undefined.
   */
  spend(phoneKey: string, codeHash: Uint8Array): Promise<SpentCode | undefined>
  /** Makes a spent code what it was before: the same end, as many tries. Nothing when there is another one by now. */
  giveBack(phoneKey: string, codeHash: Uint8Array, spent: SpentCode): Promise<void>
}

/** The mailbox between a new device and the primary one that links it, and link tokens. Bounded; old ones go. */
export interface Links {
  /** Opens an empty mailbox under a random id. Rejects nothing; the oldest goes when there are too many. */
  open(id: string, expiresMs: number): Promise<void>
  /** Puts the sealed message into it, once; false when there is no such mailbox or it is full. */
  put(id: string, sealed: Uint8Array): Promise<boolean>
  /** Its message: waits for it at most `waitMs`; null when none came, undefined when there is no such mailbox. */
  read(id: string, waitMs: number): Promise<Uint8Array | null | undefined>
  /** Keeps a link token's hash for the user. */
  grant(tokenHash: Uint8Array, user: Uint8Array, expiresMs: number): Promise<void>
  /** The user of a link token, once. */
  redeem(tokenHash: Uint8Array): Promise<Uint8Array | undefined>
}

/** Token buckets shared by all processes. Bounded: what is full again is forgotten. */
export interface Limiter {
  /**
   * Takes `count` from the bucket of that name and key, which holds `burst` and gets one back every `everyMs`. Resolves
   * with 0, or with the ms until there will be enough; then nothing was taken.
   */
  take(name: string, key: string, burst: number, everyMs: number, count?: number): Promise<number>
  /** Gives back `count` that was taken for nothing; a bucket never holds more than its `burst`. */
  giveBack(name: string, key: string, everyMs: number, count?: number): Promise<void>
}

/** What a text message says. `code` stands in `text` too: some providers want it apart, for a template of theirs. */
export interface SmsMessage {
  readonly text: string
  readonly code: string
}

/** Text messages to phone numbers. */
/** Wakes a device of a person that is not connected, through its vendor. */
export interface Push {
  /**
   * Resolves when the vendor has it; rejects when it does not take it, or `signal` is aborted before. `waiting` is how
   * many messages wait, 1 to 99: never who sent them or what they say.
   */
  send(device: string, about: { readonly waiting: number }, signal?: AbortSignal): Promise<void>
}

export interface Sms {
  /**
   * Resolves when the provider has it. Rejects when the provider does not take it, or when `signal` is aborted before:
   * what has not left by then never does. After a rejection the next message is sent as if there had been none.
   */
  send(phone: string, message: SmsMessage, signal?: AbortSignal): Promise<void>
}
