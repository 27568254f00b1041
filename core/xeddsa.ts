/**
 * XEdDSA signatures (signal.org/docs/specifications/xeddsa) verified with node:crypto alone: the server never loads
 * libsignal. A Curve25519 key u is the Edwards key y = (u - 1) / (u + 1); its sign travels in the top bit of the
 * signature. Pure, but for a bounded cache of converted keys.
 */
import { createPublicKey, type KeyObject, verify } from 'node:crypto'

/** What libsignal writes in front of a serialised Curve25519 public key. */
export const EC_TYPE = 5
/** The type byte and u, little-endian. */
export const EC_KEY_BYTES = 33
export const SIGNATURE_BYTES = 64

const P = 2n ** 255n - 19n
/** SubjectPublicKeyInfo of Ed25519 in front of the 32 bytes of the key (RFC 8410). */
const SPKI_HEAD = Buffer.from('302a300506032b6570032100', 'hex')
const CONVERTED_MAX = 1_000
/** The u of all points of small order, on the curve and its twist: what they agree on is no secret (RFC 7748, 6.1). */
const SMALL_ORDER: ReadonlySet<bigint> = new Set([
  0n,
  1n,
  P - 1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
])

/** The inverse modulo P, by Euclid. */
function inverse(value: bigint): bigint {
  let [r, nextR, t, nextT] = [P, value, 0n, 1n]
  while (nextR !== 0n) {
    const quotient = r / nextR
    ;[r, nextR] = [nextR, r - quotient * nextR]
    ;[t, nextT] = [nextT, t - quotient * nextT]
  }
  return t < 0n ? t + P : t
}

const littleEndian = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`)

/** The u of a serialised public key; undefined for a wrong length or type, u >= p, or a point of small order. */
function coordinateOf(key: Uint8Array): bigint | undefined {
  if (key.length !== EC_KEY_BYTES || key[0] !== EC_TYPE) return undefined
  const u = littleEndian(key.subarray(1))
  return u >= P || SMALL_ORDER.has(u) ? undefined : u
}

/** Is this a Curve25519 public key as libsignal serialises it, written in the one way, and no point of small order? */
export function isEcKey(key: Uint8Array): boolean {
  return coordinateOf(key) !== undefined
}

/** The Edwards key with this sign. */
function edwardsKey(y: bigint, sign: number): KeyObject {
  const bytes = Buffer.from(y.toString(16).padStart(64, '0'), 'hex').reverse()
  bytes[31] = (bytes[31] as number) | sign
  return createPublicKey({ key: Buffer.concat([SPKI_HEAD, bytes]), format: 'der', type: 'spki' })
}

interface Converted {
  readonly y: bigint
  /** By sign; made when it is needed. */
  readonly keys: [KeyObject | undefined, KeyObject | undefined]
}
/** Oldest first: a device uploads many signatures under one key, and then none for days. */
const converted = new Map<string, Converted>()

function convert(key: Uint8Array): Converted | undefined {
  const name = Buffer.from(key).toString('latin1')
  const known = converted.get(name)
  if (known !== undefined) return known
  const u = coordinateOf(key)
  if (u === undefined) return undefined
  const fresh: Converted = { y: ((u - 1n) * inverse(u + 1n)) % P, keys: [undefined, undefined] }
  if (converted.size >= CONVERTED_MAX) converted.delete(converted.keys().next().value as string)
  converted.set(name, fresh)
  return fresh
}

/**
 * Is `signature` one of `message` by the holder of the serialised `key`? False also for what is no key or signature.
 * libsignal signs prekeys as they are serialised, with their type byte.
 */
export function verifyXeddsa(key: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== SIGNATURE_BYTES) return false
  const signer = convert(key)
  if (signer === undefined) return false
  const plain = Buffer.from(signature)
  const last = plain[SIGNATURE_BYTES - 1] as number
  const sign = last & 0x80
  plain[SIGNATURE_BYTES - 1] = last & 0x7f
  const index = sign === 0 ? 0 : 1
  signer.keys[index] ??= edwardsKey(signer.y, sign)
  return verify(null, message, signer.keys[index], plain)
}
