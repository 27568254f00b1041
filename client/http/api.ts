/**
 * The HTTP control plane, typed: bytes as bytes, users as UUID text, every answer checked before it is believed. All
 * methods reject with an ApiFault. Writes take an Idempotency-Key of the caller's making: with the same key a write
 * whose answer was lost can be asked again, and is done once.
 */
import { isDeviceId, isHandle, parseUuid } from '../../topics/ids.ts'
import { ClientFault } from '../faults.ts'
import {
  type AccountKeys,
  type NewSession,
  type OwnAccount,
  type OwnDevice,
  type Prekey,
  readAccount,
  readAccountKeys,
  readAccountKeysList,
  readCodeSent,
  readCounts,
  readDevicesAnswer,
  readFoundUser,
  readGranted,
  readSealed,
  readSession,
  readToken,
  ShapeFault,
  type SignedPrekey,
} from './api-shapes.ts'
import { type Answer, ApiFault, type Asking, ask } from './ask.ts'

export type { AccountKeys, Bundle, NewSession, OwnAccount, OwnDevice, Prekey, SignedPrekey } from './api-shapes.ts'
export { ApiFault, type ApiFaultCode } from './ask.ts'

/** What is there replaces the whole set of its kind; what is not stays. */
export interface KeyUpload {
  readonly signedPrekey?: SignedPrekey
  readonly lastResortPrekey?: SignedPrekey
  readonly oneTimePrekeys?: readonly Prekey[]
  readonly oneTimeKemPrekeys?: readonly SignedPrekey[]
}
export interface NewDevice {
  readonly identityKey: Uint8Array
  readonly registrationId: number
  readonly keys: Required<KeyUpload>
}
/** What lets a new device in. */
export type Admission =
  | { readonly phone: string; readonly code: string; readonly handle?: string }
  | { readonly linkToken: string }

export interface Api {
  /** Has a code sent. */
  askCode(phone: string): Promise<{ digits: number; expiresInS: number; resendInS: number }>
  beginSession(admission: Admission, device: NewDevice & { name?: Uint8Array }, key?: string): Promise<NewSession>
  account(): Promise<OwnAccount>
  eraseAccount(key?: string): Promise<void>
  devices(): Promise<OwnDevice[]>
  /** `name` is sealed. */
  nameDevice(device: string, name: Uint8Array, key?: string): Promise<void>
  endDevice(device: string, key?: string): Promise<void>
  /** The old token is refused at once; if the answer is lost, ask again with the old token and the same key. */
  replaceToken(key: string): Promise<string>
  /** Every device of the account ends, also this one; what comes back is a new one. */
  replaceIdentity(device: NewDevice, key?: string): Promise<NewSession>
  /** `bob` or `@bob`; rejects with `unknown_recipient`. */
  findUser(handle: string): Promise<{ readonly user: string; readonly handle: string }>
  /** The handle of a user; rejects with `unknown_recipient` when there is none. */
  handleOf(user: string): Promise<string>
  putKeys(upload: KeyUpload, key?: string): Promise<void>
  countKeys(): Promise<{ readonly ec: number; readonly kem: number }>
  /** False: the server has other repeated keys than those of the digest. */
  checkKeys(digest: Uint8Array): Promise<boolean>
  /** Bundles of all devices of a user; takes one-time keys. */
  takeKeys(user: string): Promise<AccountKeys>
  /** The bundle of one device. */
  takeDeviceKeys(user: string, number: number): Promise<AccountKeys>
  /** Unknown users are left out. */
  takeKeysOfMany(users: readonly string[], key?: string): Promise<AccountKeys[]>
  makeLinkToken(key?: string): Promise<{ readonly linkToken: string; readonly expiresInS: number }>
  openLink(key?: string): Promise<{ readonly link: string; readonly expiresInS: number }>
  answerLink(link: string, sealed: Uint8Array, key?: string): Promise<void>
  /** Waits up to 20 s; undefined: nothing yet, ask again. Rejects with `unknown_recipient` when the link is over. */
  readLink(link: string, signal?: AbortSignal): Promise<Uint8Array | undefined>
}

type Call = Omit<Asking, 'token' | 'expected'> & {
  readonly expected?: readonly number[]
  /** Without a token: nobody is known yet. */
  readonly isAnonymous?: boolean
}
type Caller = <T>(call: Call, read: (json: unknown, status: number) => T) => Promise<T>

/** Longer than the server waits. */
const READ_LINK_TIMEOUT_MS = 30_000
const LINK = /^[A-Za-z0-9_-]{1,64}$/
const none = (): void => undefined
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')

const prekeyText = ({ id, key }: Prekey) => ({ id, key: text(key) })
const signedText = ({ id, key, signature }: SignedPrekey) => ({ id, key: text(key), signature: text(signature) })

function uploadText(upload: KeyUpload) {
  const { signedPrekey, lastResortPrekey, oneTimePrekeys, oneTimeKemPrekeys } = upload
  return {
    ...(signedPrekey === undefined ? {} : { signedPrekey: signedText(signedPrekey) }),
    ...(lastResortPrekey === undefined ? {} : { lastResortPrekey: signedText(lastResortPrekey) }),
    ...(oneTimePrekeys === undefined ? {} : { oneTimePrekeys: oneTimePrekeys.map(prekeyText) }),
    ...(oneTimeKemPrekeys === undefined ? {} : { oneTimeKemPrekeys: oneTimeKemPrekeys.map(signedText) }),
  }
}

function deviceText({ identityKey, registrationId, keys }: NewDevice) {
  return { identityKey: text(identityKey), registrationId, keys: uploadText(keys) }
}

/** A name as it may stand in a path. What cannot be one names nothing, and is not asked for. */
function inPath(name: string, isSound: boolean): string {
  if (isSound) return name
  throw new ApiFault('unknown_recipient', `There is no ${JSON.stringify(name.slice(0, 80))}; look at it again.`)
}

const userInPath = (user: string): string => inPath(user, parseUuid(user) !== undefined)
const deviceInPath = (device: string): string => inPath(device, isDeviceId(device))
const linkInPath = (link: string): string => inPath(link, LINK.test(link))

/** The keys of whom they were asked for, and of nobody else. */
function keysOf(user: string, number?: number): (json: unknown) => AccountKeys {
  return (json) => {
    const keys = readAccountKeys(json)
    const isWhole = number === undefined || (keys.devices.length === 1 && keys.devices[0]?.number === number)
    if (keys.user !== user || !isWhole) throw new ShapeFault('account')
    return keys
  }
}

function keysOfMany(users: readonly string[]): (json: unknown) => AccountKeys[] {
  return (json) => {
    const all = readAccountKeysList(json)
    if (all.some(({ user }) => !users.includes(user))) throw new ShapeFault('accounts')
    return all
  }
}

function createCaller(url: string, token: () => string | undefined): Caller {
  const at = URL.parse(url)
  if (at === null || !/^https?:$/.test(at.protocol) || at.username !== '' || at.search !== '' || at.hash !== '') {
    throw new ClientFault('invalid', `${JSON.stringify(url)} is no address like https://host.`)
  }
  const base = at.href.replace(/\/$/, '')
  return async (call, read) => {
    const { isAnonymous = false, expected = [200], ...rest } = call
    const sent = isAnonymous ? undefined : token()
    if (!isAnonymous && sent === undefined)
      throw new ApiFault('unauthorized', 'This client has no token; register first.')
    const answer: Answer = await ask(base, { ...rest, expected, token: sent })
    try {
      return read(answer.json, answer.status)
    } catch (error) {
      if (!(error instanceof ShapeFault)) throw error
      throw new ApiFault('bad_answer', `The server answered what it must not: ${error.message}.`, answer.status)
    }
  }
}

function accountCalls(call: Caller) {
  return {
    askCode: (phone) =>
      call(
        { method: 'POST', path: '/v1/registrations', body: { phone }, expected: [202], isAnonymous: true },
        readCodeSent,
      ),
    beginSession(admission, device, key) {
      const { name } = device
      const body = { ...admission, ...deviceText(device), ...(name === undefined ? {} : { name: text(name) }) }
      const begin = { method: 'POST', path: '/v1/sessions', expected: [201], isAnonymous: true } as const
      return call({ ...begin, body, idempotencyKey: key }, readSession)
    },
    account: () => call({ method: 'GET', path: '/v1/account' }, readAccount),
    eraseAccount: (key) => call({ method: 'DELETE', path: '/v1/account', expected: [204], idempotencyKey: key }, none),
    devices: () => call({ method: 'GET', path: '/v1/devices' }, readDevicesAnswer),
    async nameDevice(device, name, key) {
      const path = `/v1/devices/${deviceInPath(device)}`
      await call({ method: 'PATCH', path, body: { name: text(name) }, expected: [204], idempotencyKey: key }, none)
    },
    async endDevice(device, key) {
      const path = `/v1/devices/${deviceInPath(device)}`
      await call({ method: 'DELETE', path, expected: [204], idempotencyKey: key }, none)
    },
    replaceToken: (key) =>
      call({ method: 'POST', path: '/v1/tokens', expected: [201], idempotencyKey: key }, readToken),
    replaceIdentity(device, key) {
      const body = deviceText(device)
      return call({ method: 'POST', path: '/v1/identity', body, expected: [201], idempotencyKey: key }, readSession)
    },
  } satisfies Partial<Api>
}

function keyCalls(call: Caller) {
  return {
    async findUser(handle) {
      const name = handle.replace(/^@/, '')
      const path = `/v1/users/${inPath(name, isHandle(name))}`
      return call({ method: 'GET', path }, (json) => {
        const found = readFoundUser(json)
        if (found.handle !== name) throw new ShapeFault('handle')
        return found
      })
    },
    async handleOf(user) {
      return call({ method: 'GET', path: `/v1/users/${userInPath(user)}` }, (json) => {
        const found = readFoundUser(json)
        if (found.user !== user) throw new ShapeFault('user')
        return found.handle
      })
    },
    async putKeys(upload, key) {
      const body = uploadText(upload)
      await call({ method: 'PUT', path: '/v1/keys', body, expected: [204], idempotencyKey: key }, none)
    },
    countKeys: () => call({ method: 'GET', path: '/v1/keys/count' }, readCounts),
    async checkKeys(digest) {
      const body = { digest: text(digest) }
      try {
        await call({ method: 'POST', path: '/v1/keys/check', body, expected: [204] }, none)
        return true
      } catch (error) {
        if (error instanceof ApiFault && error.code === 'keys_differ') return false
        throw error
      }
    },
    takeKeys: async (user) => call({ method: 'GET', path: `/v1/keys/${userInPath(user)}` }, keysOf(user)),
    takeDeviceKeys: async (user, number) =>
      call({ method: 'GET', path: `/v1/keys/${userInPath(user)}/${number}` }, keysOf(user, number)),
    takeKeysOfMany: (users, key) =>
      call({ method: 'POST', path: '/v1/keys/batch', body: { users }, idempotencyKey: key }, keysOfMany(users)),
  } satisfies Partial<Api>
}

function linkCalls(call: Caller) {
  return {
    makeLinkToken: (key) =>
      call({ method: 'POST', path: '/v1/link-tokens', expected: [201], idempotencyKey: key }, (json) =>
        readGranted(json, 'linkToken'),
      ),
    openLink: (key) =>
      call({ method: 'POST', path: '/v1/links', expected: [201], isAnonymous: true, idempotencyKey: key }, (json) =>
        readGranted(json, 'link'),
      ),
    async answerLink(link, sealed, key) {
      const path = `/v1/links/${linkInPath(link)}`
      await call({ method: 'PUT', path, body: { sealed: text(sealed) }, expected: [204], idempotencyKey: key }, none)
    },
    async readLink(link, signal) {
      const path = `/v1/links/${linkInPath(link)}`
      const wait = { expected: [200, 204], isAnonymous: true, timeoutMs: READ_LINK_TIMEOUT_MS, signal }
      return call({ method: 'GET', path, ...wait }, (json, status) => (status === 204 ? undefined : readSealed(json)))
    },
  } satisfies Partial<Api>
}

/** Throws a ClientFault when `url` is no http or https address. `token` is asked at every request that needs one. */
export function createApi(url: string, token: () => string | undefined): Api {
  const call = createCaller(url, token)
  return { ...accountCalls(call), ...keyCalls(call), ...linkCalls(call) }
}
