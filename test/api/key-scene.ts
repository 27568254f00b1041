/** Persons whose keys are asked for over HTTP, and what is read of the answers. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import {
  call,
  type HttpAnswer,
  type MadeKeys,
  makeKeys,
  type Person,
  type PrekeyText,
  register,
  type SignedPrekeyText,
} from '../world/person.ts'
import { startTestNode, type TestNode } from './node.ts'

export interface BundleText {
  readonly number: number
  readonly registrationId: number
  readonly signedPrekey: SignedPrekeyText
  readonly oneTimePrekey?: PrekeyText
  readonly kemPrekey: SignedPrekeyText
}
export interface AccountKeys {
  readonly user: string
  readonly identityKey: string
  readonly devices: BundleText[]
}

export const bytesOf = (text: string): Uint8Array<ArrayBuffer> => Uint8Array.from(Buffer.from(text, 'base64url'))
export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
/** How long an answer says to wait. */
export const waitMs = ({ headers }: HttpAnswer): number => Number(headers.get('retry-after')) * 1_000

/** The bundles of an answer that is one. */
export function accountOf(answer: HttpAnswer): AccountKeys {
  assert.equal(answer.status, 200, JSON.stringify(answer.body))
  return answer.body as unknown as AccountKeys
}

/** What a device with these keys asks POST /v1/keys/check. */
export function checkOf({ identityKey, keys: { signedPrekey, lastResortPrekey } }: MadeKeys['body']) {
  const hash = createHash('sha256').update(bytesOf(identityKey))
  for (const { id, key } of [signedPrekey, lastResortPrekey]) {
    const idBytes = Buffer.alloc(4)
    idBytes.writeUInt32BE(id)
    hash.update(idBytes).update(bytesOf(key))
  }
  return { digest: hash.digest().toString('base64url') }
}

export interface KeyScene {
  readonly test: TestNode
  /** Two keys of each kind, as everybody whom `person` makes unless it is told otherwise. */
  readonly alice: Person
  readonly bob: Person
  person(oneTime?: number): Promise<Person>
  get(by: Person, path: string): Promise<HttpAnswer>
  put(by: Person, body: unknown): Promise<HttpAnswer>
  post(by: Person, path: string, body: unknown): Promise<HttpAnswer>
  /** What GET /v1/keys/count tells a device of itself. */
  counts(by: Person): Promise<unknown>
}

/** A node with two persons. */
export async function startKeyScene(): Promise<KeyScene> {
  const test = await startTestNode()
  let people = 0
  const person: KeyScene['person'] = (oneTime = 2) =>
    register(test, `+1555${String(1_000_000 + ++people)}`, { keys: makeKeys({ oneTime }) })
  const ask = (method: string, by: Person, path: string, body?: unknown) =>
    call(test.url, method, `/v1/keys${path}`, { token: by.token, ...(body === undefined ? {} : { body }) })
  const get: KeyScene['get'] = (by, path) => ask('GET', by, `/${path}`)
  return {
    test,
    alice: await person(),
    bob: await person(),
    person,
    get,
    put: (by, body) => ask('PUT', by, '', body),
    post: (by, path, body) => ask('POST', by, `/${path}`, body),
    counts: async (by) => (await get(by, 'count')).body,
  }
}
