/**
 * Answers of the control plane, read strictly: every value has the type, length and form it must have before anything
 * is done with it. Each reader throws a ShapeFault; unknown properties are left alone, newer servers may have them.
 */
import { isDeviceId, isHandle, parseUuid } from '../../topics/ids.ts'
import { limits } from '../../topics/limits.ts'

export interface Prekey {
  readonly id: number
  readonly key: Uint8Array
}
export interface SignedPrekey extends Prekey {
  readonly signature: Uint8Array
}
/** What a session with one device is begun from. */
export interface Bundle {
  readonly number: number
  readonly registrationId: number
  readonly signedPrekey: SignedPrekey
  readonly oneTimePrekey: Prekey | undefined
  readonly kemPrekey: SignedPrekey
}
export interface AccountKeys {
  /** UUID text. */
  readonly user: string
  readonly identityKey: Uint8Array
  readonly devices: readonly Bundle[]
}
export interface NewSession {
  readonly device: string
  readonly user: string
  readonly number: number
  readonly token: string
  /** Where MQTT over WebSocket is. */
  readonly ws: string
  readonly handle: string | undefined
}
export interface OwnDevice {
  readonly device: string
  readonly number: number
  readonly registrationId: number
  /** Sealed by a device of the account. */
  readonly name: Uint8Array | undefined
  /** YYYY-MM-DD. */
  readonly created: string
  readonly isPrimary: boolean
  /** The one that asked. */
  readonly isCurrent: boolean
}
export interface OwnAccount {
  readonly user: string
  readonly handle: string | undefined
  readonly identityKey: Uint8Array
  readonly device: string
  readonly devices: readonly OwnDevice[]
}

/** `at` is the path to the value that is wrong. */
export class ShapeFault extends Error {
  constructor(at: string) {
    super(`${at} is not what it has to be`)
    this.name = 'ShapeFault'
  }
}

type Fields = Readonly<Record<string, unknown>>
type Read<T> = (value: unknown, at: string) => T

const EC_KEY_BYTES = 33
const EC_TYPE = 0x05
const KEM_KEY_BYTES = 1_569
const KEM_TYPE = 0x08
const SIGNATURE_BYTES = 64
const U32_MAX = 0xffff_ffff
/** 14 bits, what libsignal bears. */
const REGISTRATION_ID_MAX = 16_383
const SECONDS_MAX = 30 * 86_400
const URL_CHARS_MAX = 2_048
const TOKEN = new RegExp(`^[\\x21-\\x7e]{1,${limits.tokenBytesMax}}$`)
const DAY = /^[0-9]{4}-[0-9]{2}-[0-9]{2}$/
const BASE64URL = /^[A-Za-z0-9_-]*$/

function fields(value: unknown, at: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new ShapeFault(at)
  return value as Fields
}

function textWhere(test: (text: string) => boolean): Read<string> {
  return (value, at) => {
    if (typeof value === 'string' && test(value)) return value
    throw new ShapeFault(at)
  }
}

function integer(min: number, max: number): Read<number> {
  return (value, at) => {
    if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max) return value as number
    throw new ShapeFault(at)
  }
}

/** Base64url without padding, the one way to write the bytes. */
function bytes(min: number, max: number, firstByte?: number): Read<Uint8Array> {
  const charsMax = Math.ceil((max * 4) / 3)
  return (value, at) => {
    if (typeof value !== 'string' || value.length > charsMax || !BASE64URL.test(value)) throw new ShapeFault(at)
    const read = Buffer.from(value, 'base64url')
    const isSound = read.length >= min && read.length <= max && read.toString('base64url') === value
    if (!isSound || (firstByte !== undefined && read[0] !== firstByte)) throw new ShapeFault(at)
    return Uint8Array.from(read)
  }
}

/** Of at most `max`, no two with the same `key`. */
function listOf<T>(read: Read<T>, max: number, key: (one: T) => unknown): Read<T[]> {
  return (value, at) => {
    if (!Array.isArray(value) || value.length > max) throw new ShapeFault(at)
    const all = value.map((one, i) => read(one, `${at}[${i}]`))
    if (new Set(all.map(key)).size !== all.length) throw new ShapeFault(at)
    return all
  }
}

function optional<T>(read: Read<T>): Read<T | undefined> {
  return (value, at) => (value === undefined ? undefined : read(value, at))
}

function flag(value: unknown, at: string): boolean {
  if (typeof value === 'boolean') return value
  throw new ShapeFault(at)
}

function isWebSocketUrl(text: string): boolean {
  const url = text.length <= URL_CHARS_MAX ? URL.parse(text) : null
  return url !== null && (url.protocol === 'ws:' || url.protocol === 'wss:') && url.username === '' && url.search === ''
}

const deviceText = textWhere(isDeviceId)
const handleText = textWhere(isHandle)
const userText = textWhere((text) => parseUuid(text) !== undefined)
const token = textWhere((text) => TOKEN.test(text))
const deviceNumber = integer(1, limits.devicesPerUserMax)
const registrationId = integer(1, REGISTRATION_ID_MAX)
const u32 = integer(0, U32_MAX)
const seconds = integer(0, SECONDS_MAX)
const ecKey = bytes(EC_KEY_BYTES, EC_KEY_BYTES, EC_TYPE)
const kemKey = bytes(KEM_KEY_BYTES, KEM_KEY_BYTES, KEM_TYPE)
const signature = bytes(SIGNATURE_BYTES, SIGNATURE_BYTES)
const sealedName = bytes(1, limits.deviceNameBytesMax)

function prekey(value: unknown, at: string): Prekey {
  const { id, key } = fields(value, at)
  return { id: u32(id, `${at}.id`), key: ecKey(key, `${at}.key`) }
}

function signedPrekey(key: Read<Uint8Array>): Read<SignedPrekey> {
  return (value, at) => {
    const read = fields(value, at)
    return {
      id: u32(read['id'], `${at}.id`),
      key: key(read['key'], `${at}.key`),
      signature: signature(read['signature'], `${at}.signature`),
    }
  }
}

const ecSigned = signedPrekey(ecKey)
const kemSigned = signedPrekey(kemKey)

function bundle(value: unknown, at: string): Bundle {
  const read = fields(value, at)
  return {
    number: deviceNumber(read['number'], `${at}.number`),
    registrationId: registrationId(read['registrationId'], `${at}.registrationId`),
    signedPrekey: ecSigned(read['signedPrekey'], `${at}.signedPrekey`),
    oneTimePrekey: optional(prekey)(read['oneTimePrekey'], `${at}.oneTimePrekey`),
    kemPrekey: kemSigned(read['kemPrekey'], `${at}.kemPrekey`),
  }
}

const bundles = listOf(bundle, limits.devicesPerUserMax, ({ number }) => number)

function ownDevice(value: unknown, at: string): OwnDevice {
  const read = fields(value, at)
  return {
    device: deviceText(read['device'], `${at}.device`),
    number: deviceNumber(read['number'], `${at}.number`),
    registrationId: registrationId(read['registrationId'], `${at}.registrationId`),
    name: optional(sealedName)(read['name'], `${at}.name`),
    created: textWhere((text) => DAY.test(text))(read['created'], `${at}.created`),
    isPrimary: flag(read['primary'], `${at}.primary`),
    isCurrent: flag(read['current'], `${at}.current`),
  }
}

export const readOwnDevices = (value: unknown, at = 'devices'): OwnDevice[] =>
  listOf(ownDevice, limits.devicesPerUserMax, ({ number }) => number)(value, at)

export function readAccountKeys(value: unknown, at = 'account'): AccountKeys {
  const read = fields(value, at)
  return {
    user: userText(read['user'], `${at}.user`),
    identityKey: ecKey(read['identityKey'], `${at}.identityKey`),
    devices: bundles(read['devices'], `${at}.devices`),
  }
}

export function readAccountKeysList(value: unknown): AccountKeys[] {
  const all = listOf(readAccountKeys, limits.bundleUsersPerRequestMax, ({ user }) => user)
  return all(fields(value, 'answer')['accounts'], 'accounts')
}

export function readSession(value: unknown): NewSession {
  const read = fields(value, 'session')
  return {
    device: deviceText(read['device'], 'device'),
    user: userText(read['user'], 'user'),
    number: deviceNumber(read['number'], 'number'),
    token: token(read['token'], 'token'),
    ws: textWhere(isWebSocketUrl)(read['ws'], 'ws'),
    handle: optional(handleText)(read['handle'], 'handle'),
  }
}

export function readAccount(value: unknown): OwnAccount {
  const read = fields(value, 'account')
  return {
    user: userText(read['user'], 'user'),
    handle: optional(handleText)(read['handle'], 'handle'),
    identityKey: ecKey(read['identityKey'], 'identityKey'),
    device: deviceText(read['device'], 'device'),
    devices: readOwnDevices(read['devices']),
  }
}

export function readFoundUser(value: unknown): { readonly user: string; readonly handle: string } {
  const read = fields(value, 'answer')
  return { user: userText(read['user'], 'user'), handle: handleText(read['handle'], 'handle') }
}

export function readCodeSent(value: unknown) {
  const read = fields(value, 'answer')
  return {
    digits: integer(1, 16)(read['digits'], 'digits'),
    expiresInS: seconds(read['expiresInS'], 'expiresInS'),
    resendInS: seconds(read['resendInS'], 'resendInS'),
  }
}

export function readCounts(value: unknown): { readonly ec: number; readonly kem: number } {
  const read = fields(value, 'answer')
  return { ec: u32(read['ec'], 'ec'), kem: u32(read['kem'], 'kem') }
}

export const readToken = (value: unknown): string => token(fields(value, 'answer')['token'], 'token')

/** A secret text and how long it is good. */
export function readGranted<Name extends 'link' | 'linkToken'>(value: unknown, name: Name) {
  const read = fields(value, 'answer')
  return { [name]: token(read[name], name), expiresInS: seconds(read['expiresInS'], 'expiresInS') } as {
    readonly [key in Name]: string
  } & { readonly expiresInS: number }
}

export const readSealed = (value: unknown): Uint8Array =>
  bytes(1, limits.linkBytesMax)(fields(value, 'answer')['sealed'], 'sealed')

export const readDevicesAnswer = (value: unknown): OwnDevice[] => readOwnDevices(fields(value, 'answer')['devices'])
