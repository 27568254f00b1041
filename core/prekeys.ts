/**
 * The rules of the key directory (DESIGN.md 8): which uploads are taken, what the self-check compares, when a take
 * spends one-time keys, and when a device is told that few are left. Pure.
 */
import { createHash } from 'node:crypto'
import { limits } from '../topics/limits.ts'
import type { KeyUpload, Prekey, PrekeyCounts, PrekeysLeft, SignedPrekey } from './ports.ts'
import { isEcKey, verifyXeddsa } from './xeddsa.ts'

/** What libsignal writes in front of a serialised ML-KEM-1024 public key. */
const KEM_TYPE = 8
export const KEM_KEY_BYTES = 1_569
/** The last bytes of the key are a seed; in front of it stand numbers of 12 bits below this prime (FIPS 203, 7.2). */
const KEM_SEED_BYTES = 32
const KEM_PRIME = 3_329
const KEY_ID_MAX = 2 ** 32 - 1

export type UploadFault = 'signature_wrong' | 'key_invalid'

function isKemKey(key: Uint8Array): boolean {
  if (key.length !== KEM_KEY_BYTES || key[0] !== KEM_TYPE) return false
  for (let at = 1; at < KEM_KEY_BYTES - KEM_SEED_BYTES; at += 3) {
    const [low, middle, high] = [key[at] as number, key[at + 1] as number, key[at + 2] as number]
    if ((low | ((middle & 15) << 8)) >= KEM_PRIME || ((middle >> 4) | (high << 4)) >= KEM_PRIME) return false
  }
  return true
}

const isKeyId = (id: number): boolean => Number.isInteger(id) && id >= 0 && id <= KEY_ID_MAX

/** A set of one kind: not too many, no id twice, every key one of its kind. */
function isSet(prekeys: readonly Prekey[], isKey: (key: Uint8Array) => boolean): boolean {
  if (prekeys.length > limits.oneTimePrekeysMax) return false
  const ids = new Set(prekeys.map(({ id }) => id))
  return ids.size === prekeys.length && prekeys.every(({ id, key }) => isKeyId(id) && isKey(key))
}

/**
 * What is wrong with an upload under the account's identity key; undefined when nothing is. The one-time keys of
 * Curve25519 are not signed: whoever swaps one makes a message that cannot be read, and no more. Signatures come last,
 * because they take longest.
 */
export function verifyUpload(identityKey: Uint8Array, upload: KeyUpload): UploadFault | undefined {
  const { signedPrekey, lastResortPrekey, oneTimePrekeys = [], oneTimeKemPrekeys = [] } = upload
  const signed = signedPrekey === undefined ? [] : [signedPrekey]
  const lastResort = lastResortPrekey === undefined ? [] : [lastResortPrekey]
  const isWhole =
    isEcKey(identityKey) &&
    isSet(signed, isEcKey) &&
    isSet(oneTimePrekeys, isEcKey) &&
    isSet(lastResort, isKemKey) &&
    isSet(oneTimeKemPrekeys, isKemKey)
  if (!isWhole) return 'key_invalid'
  const isSigned = ({ key, signature }: SignedPrekey): boolean => verifyXeddsa(identityKey, key, signature)
  return [...signed, ...lastResort, ...oneTimeKemPrekeys].every(isSigned) ? undefined : 'signature_wrong'
}

function idBytes(id: number): Uint8Array {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(id)
  return bytes
}

/** SHA-256 over the keys that are used again and again: device and server compare what they have. */
export function keysDigest(identityKey: Uint8Array, signedPrekey: Prekey, lastResortPrekey: Prekey): Uint8Array {
  const hash = createHash('sha256').update(identityKey)
  for (const { id, key } of [signedPrekey, lastResortPrekey]) hash.update(idBytes(id)).update(key)
  return new Uint8Array(hash.digest())
}

/** How long one device has to wait at the buckets of a device that it asks a bundle of; 0: not at all. */
export interface TakeWaits {
  /** At the bucket of the two devices. */
  readonly pairMs: number
  /** At the bucket of the device that is asked for, whoever asks. */
  readonly targetMs: number
}

/** Does a take spend one-time keys? Never beyond a bucket: the bundle is answered without them then. */
export const spendsOneTime = ({ pairMs, targetMs }: TakeWaits): boolean => pairMs === 0 && targetMs === 0

/**
 * How long a request has to wait, 0 when it is answered. It is refused when the taker is beyond its bucket with all
 * devices that it asks for; with some of them it gets the others, so that two buckets that fill in turn do not keep it
 * out for ever. After the longest wait there is one for each.
 */
export function refusedMs(pairsMs: readonly number[]): number {
  return pairsMs.every((ms) => ms > 0) ? Math.max(0, ...pairsMs) : 0
}

const LOW_STEPS: ReadonlySet<number | undefined> = new Set([limits.prekeysLow - 1, limits.prekeysLow / 2 - 1, 0])

/**
 * The counts that a device is told of after a take; undefined: none. At three steps on the way down, not at each take.
 * A kind of which nothing could be spent has none left.
 */
export function lowNotice({ ec, kem }: PrekeysLeft): PrekeyCounts | undefined {
  return LOW_STEPS.has(ec) || LOW_STEPS.has(kem) ? { ec: ec ?? 0, kem: kem ?? 0 } : undefined
}
