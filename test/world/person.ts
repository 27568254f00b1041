/** Persons for tests: real libsignal keys, and accounts that are registered over HTTP as an app does it. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { IdentityKeyPair, KEMKeyPair, PrivateKey } from '@signalapp/libsignal-client'
import { parseUuid } from '../../topics/ids.ts'
import type { TestDevice } from './devices.ts'

export interface PrekeyText {
  id: number
  key: string
}
export interface SignedPrekeyText extends PrekeyText {
  signature: string
}
/** What a session is begun with; all bytes as base64url. */
export interface DeviceBody {
  identityKey: string
  registrationId: number
  keys: {
    signedPrekey: SignedPrekeyText
    lastResortPrekey: SignedPrekeyText
    oneTimePrekeys: PrekeyText[]
    oneTimeKemPrekeys: SignedPrekeyText[]
  }
}
export interface MadeKeys {
  readonly identity: IdentityKeyPair
  /** Of the signed prekey and the one-time ones, by id. */
  readonly ecPrivate: Map<number, PrivateKey>
  /** Of the last-resort key and the one-time ones, by id. */
  readonly kemPairs: Map<number, KEMKeyPair>
  readonly body: DeviceBody
}

export interface KeyOptions {
  /** The account's, when it has one already. */
  readonly identity?: IdentityKeyPair
  readonly registrationId?: number
  /** One-time keys of each kind; 2. */
  readonly oneTime?: number
  /** The first id that is used; 1. */
  readonly firstId?: number
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
let lastRegistrationId = 1_000

/** Makes an identity, if none is given, and keys of one device that are signed by it. */
export function makeKeys(options: KeyOptions = {}): MadeKeys {
  const { identity = IdentityKeyPair.generate(), oneTime = 2, firstId = 1 } = options
  const { registrationId = ++lastRegistrationId } = options
  const ecPrivate = new Map<number, PrivateKey>()
  const kemPairs = new Map<number, KEMKeyPair>()
  const sign = (key: Uint8Array<ArrayBuffer>): string => text(identity.privateKey.sign(key))
  let nextId = firstId
  const ec = (): { id: number; key: Uint8Array<ArrayBuffer> } => {
    const key = PrivateKey.generate()
    const id = nextId++
    ecPrivate.set(id, key)
    return { id, key: key.getPublicKey().serialize() }
  }
  const kem = (): SignedPrekeyText => {
    const pair = KEMKeyPair.generate()
    const id = nextId++
    kemPairs.set(id, pair)
    const key = pair.getPublicKey().serialize()
    return { id, key: text(key), signature: sign(key) }
  }
  const signed = ec()
  const body: DeviceBody = {
    identityKey: text(identity.publicKey.serialize()),
    registrationId,
    keys: {
      signedPrekey: { id: signed.id, key: text(signed.key), signature: sign(signed.key) },
      lastResortPrekey: kem(),
      oneTimePrekeys: Array.from({ length: oneTime }, () => {
        const { id, key } = ec()
        return { id, key: text(key) }
      }),
      oneTimeKemPrekeys: Array.from({ length: oneTime }, kem),
    },
  }
  return { identity, ecPrivate, kemPairs, body }
}

/** Where a node is, and the folder of its data: the console adapter keeps its text messages there. */
export interface Place {
  readonly url: string
  readonly folder: string
}
export interface HttpAnswer {
  readonly status: number
  readonly headers: Headers
  readonly body: Record<string, unknown>
}
export interface CallOptions {
  readonly token?: string
  readonly body?: unknown
  readonly headers?: Record<string, string>
}

/** One request; the answer's JSON, or its text as `text`. */
export async function call(url: string, method: string, path: string, options: CallOptions = {}): Promise<HttpAnswer> {
  const { token, body, headers = {} } = options
  const response = await fetch(url + path, {
    method,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const answer = await response.text()
  const isJson = response.headers.get('content-type')?.includes('json') === true
  return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(answer) : { text: answer } }
}

/** The code that was sent to a number last; the number as E.164. */
export function codeOf(folder: string, phone: string): string {
  const lines = readFileSync(join(folder, 'sms-console.jsonl'), 'utf8').trim().split('\n')
  const messages = lines.map((line) => JSON.parse(line) as { phone: string; code: string })
  const found = messages.findLast((message) => message.phone === phone)
  assert.ok(found !== undefined, `no text message went to ${phone}`)
  return found.code
}

export interface Session {
  readonly device: string
  readonly user: string
  readonly number: number
  readonly token: string
  readonly ws: string
  readonly handle?: string
}
export interface Person extends Session {
  readonly phone: string
  readonly keys: MadeKeys
}

/** The same for what speaks MQTT in tests. */
export function asDevice({ device, token, user, number, keys }: Person): TestDevice {
  const { registrationId } = keys.body
  return { id: device, token, kind: 'person', user: parseUuid(user) as Uint8Array, number, registrationId }
}

/** Asks for a code and gives it back. */
export async function askCode(place: Place, phone: string): Promise<string> {
  const asked = await call(place.url, 'POST', '/v1/registrations', { body: { phone } })
  assert.equal(asked.status, 202, JSON.stringify(asked.body))
  return codeOf(place.folder, phone)
}

/** Registers a number (E.164) as an app does it, and expects that it works. */
export async function register(
  place: Place,
  phone: string,
  options: { handle?: string; name?: string; keys?: MadeKeys } = {},
): Promise<Person> {
  const { keys = makeKeys(), handle, name } = options
  const code = await askCode(place, phone)
  const body = {
    phone,
    code,
    ...keys.body,
    ...(handle === undefined ? {} : { handle }),
    ...(name === undefined ? {} : { name }),
  }
  const made = await call(place.url, 'POST', '/v1/sessions', { body })
  assert.equal(made.status, 201, JSON.stringify(made.body))
  return { ...(made.body as unknown as Session), phone, keys }
}

/** Links one more device to the account of its primary one. */
export async function link(place: Place, primary: Person, name?: string): Promise<Person> {
  const granted = await call(place.url, 'POST', '/v1/link-tokens', { token: primary.token })
  assert.equal(granted.status, 201, JSON.stringify(granted.body))
  const keys = makeKeys({ identity: primary.keys.identity })
  const { linkToken } = granted.body
  const body = { linkToken, ...keys.body, ...(name === undefined ? {} : { name }) }
  const made = await call(place.url, 'POST', '/v1/sessions', { body })
  assert.equal(made.status, 201, JSON.stringify(made.body))
  return { ...(made.body as unknown as Session), phone: primary.phone, keys }
}
