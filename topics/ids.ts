/**
 * Names of things: device ids, user ids, handles, conversations, seq. Pure. Texts are canonical: two texts never mean
 * one id. A user, group or message id is a UUID as 16 bytes (WIRE R4); version 8 marks things, services and raw
 * groups.
 */
import { createHash } from 'node:crypto'
import { limits } from './limits.ts'

declare const brand: unique symbol
/** At most 12 characters of a-z 0-9: MQTT client id, user name and first variable level of the device's topics. */
export type DeviceId = string & { readonly [brand]?: 'device' }
/** 3..32 characters of a-z 0-9 _ . that begin with a letter; written `@handle` in topics. */
export type Handle = string & { readonly [brand]?: 'handle' }

export const ID_BYTES = 16
/** 2025-01-01T00:00:00Z in unix ms: where seq begins (WIRE R5). */
export const SEQ_EPOCH_MS = 1_735_689_600_000
/** libsignal's registration ids are 1 to this: 14 bits, and its own clients leave out the last three. */
export const REGISTRATION_ID_MAX = 16_380
/** Numbers of one millisecond in seq. */
export const SEQ_PER_MS = 16_384

const DEVICE_ID = new RegExp(`^[a-z0-9]{1,${limits.deviceIdCharsMax}}$`)
const HANDLE = new RegExp(`^[a-z][a-z0-9_.]{${limits.handleCharsMin - 1},${limits.handleCharsMax - 1}}$`)
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const PAIR_PREFIX = new TextEncoder().encode('heliograph:pair:v1\0')
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567'
const BASE32_CHARS = 26

export function isDeviceId(text: string): text is DeviceId {
  return DEVICE_ID.test(text)
}

export function isHandle(text: string): text is Handle {
  return HANDLE.test(text)
}

/** 16 bytes as 8-4-4-4-12 lower-case hex. Throws RangeError for another length. */
export function uuidText(bytes: Uint8Array): string {
  checkIdLength(bytes)
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, ID_BYTES).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** The 16 bytes of a lower-case UUID text, undefined for anything else. */
export function parseUuid(text: string): Uint8Array | undefined {
  if (!UUID.test(text)) return undefined
  return new Uint8Array(Buffer.from(text.replaceAll('-', ''), 'hex'))
}

/** 16 bytes as 26 characters of RFC 4648 base32, lower case, without padding. Throws RangeError for another length. */
export function base32(bytes: Uint8Array): string {
  checkIdLength(bytes)
  let text = ''
  let bits = 0
  let held = 0
  for (const byte of bytes) {
    bits = (bits << 8) | byte
    held += 8
    for (; held >= 5; held -= 5) text += BASE32[(bits >>> (held - 5)) & 31]
    bits &= 31
  }
  return text + BASE32[(bits << (5 - held)) & 31]
}

/** Inverse of `base32`; undefined for another length, alphabet or case, or when the two spare bits are not zero. */
export function parseBase32(text: string): Uint8Array | undefined {
  if (text.length !== BASE32_CHARS) return undefined
  const bytes = new Uint8Array(ID_BYTES)
  let bits = 0
  let held = 0
  let at = 0
  for (const char of text) {
    const value = BASE32.indexOf(char)
    if (value < 0) return undefined
    bits = ((bits & 255) << 5) | value
    held += 5
    if (held < 8) continue
    held -= 8
    bytes[at++] = (bits >>> held) & 255
  }
  return (bits & 3) === 0 ? bytes : undefined
}

/** Is this the user id of a thing or a service, or the id of a raw group? */
export function isThingUser(user: Uint8Array): boolean {
  return user.length === ID_BYTES && (user[6] as number) >>> 4 === 8
}

/**
 * A user id made of 16 random bytes, which are not changed: UUID version 4 for a person, 8 for a thing or service.
 * Throws RangeError for another length.
 */
export function newUserId(kind: 'person' | 'thing', random: Uint8Array): Uint8Array {
  checkIdLength(random)
  const user = Uint8Array.from(random)
  user[6] = ((user[6] as number) & 0x0f) | (kind === 'thing' ? 0x80 : 0x40)
  user[8] = ((user[8] as number) & 0x3f) | 0x80
  return user
}

/** Id of the conversation of two users, the same from both sides: 16 bytes (WIRE rule 3). */
export function pairConversation(a: Uint8Array, b: Uint8Array): Uint8Array {
  checkIdLength(a)
  checkIdLength(b)
  const [lower, higher] = Buffer.compare(a, b) <= 0 ? [a, b] : [b, a]
  const digest = createHash('sha256').update(PAIR_PREFIX).update(lower).update(higher).digest()
  return Uint8Array.from(digest.subarray(0, ID_BYTES))
}

/** The lowest seq of a millisecond, given in unix ms; 0 before 2025. */
export function seqFromMs(unixMs: number): number {
  return Math.max(0, Math.floor(unixMs) - SEQ_EPOCH_MS) * SEQ_PER_MS
}

/** Server time of a seq in unix ms. */
export function seqToUnixMs(seq: number): number {
  return Math.floor(seq / SEQ_PER_MS) + SEQ_EPOCH_MS
}

function checkIdLength(bytes: Uint8Array): void {
  if (bytes.length !== ID_BYTES) throw new RangeError(`an id has ${ID_BYTES} bytes, not ${bytes.length}`)
}
