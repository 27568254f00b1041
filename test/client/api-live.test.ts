/** Every method of the SDK's HTTP client against the real routes: what one writes, the other reads. */
import assert from 'node:assert/strict'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { IdentityKeyPair } from '@signalapp/libsignal-client'
import { makeAll } from '../../client/crypto/prekeys.ts'
import { type Api, ApiFault, type ApiFaultCode, createApi, type NewDevice } from '../../client/http/api.ts'
import { openStore, type Store } from '../../client/store/open.ts'
import { limits } from '../../topics/limits.ts'
import { startTestNode, type TestNode } from '../api/node.ts'
import { codeOf } from '../world/person.ts'

const ANN = '+447700900001'
const BEN = '+447700900002'
const hasCode = (code: ApiFaultCode) => (error: unknown) => error instanceof ApiFault && error.code === code

interface Asker {
  readonly api: Api
  token: string | undefined
  identity: IdentityKeyPair
  made: NewDevice | undefined
  user: string
  device: string
}

/** What docs/wire.md has for the comparison of repeated keys. */
function digestOf({ identityKey, keys: { signedPrekey, lastResortPrekey } }: NewDevice): Uint8Array {
  const hash = createHash('sha256').update(identityKey)
  for (const { id, key } of [signedPrekey, lastResortPrekey]) {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32BE(id)
    hash.update(bytes).update(key)
  }
  return hash.digest()
}

describe('the HTTP client of the SDK on a real server', () => {
  let node: TestNode
  let folder: string
  let store: Store
  let ann: Asker
  let ben: Asker
  let tablet: Asker
  const asked = new Set<string>()

  /** An API whose methods are noted. */
  function asker(identity = IdentityKeyPair.generate()): Asker {
    const api = createApi(node.url, () => made.token)
    const noted = new Proxy(api, {
      get(target, name: string) {
        asked.add(name)
        return Reflect.get(target, name) as unknown
      },
    })
    const made: Asker = { api: noted, token: undefined, identity, made: undefined, user: '', device: '' }
    return made
  }
  async function deviceOf({ identity }: Asker, registrationId: number): Promise<NewDevice> {
    const keys = await store.turn(() => makeAll(store, identity, Date.now()))
    return { identityKey: identity.publicKey.serialize(), registrationId, keys }
  }
  async function register(who: Asker, phone: string, handle: string, registrationId: number): Promise<void> {
    const { digits, expiresInS, resendInS } = await who.api.askCode(phone)
    const code = codeOf(node.folder, phone)
    assert.equal(code.length, digits)
    assert.ok(expiresInS > resendInS && resendInS > 0)
    who.made = await deviceOf(who, registrationId)
    const session = await who.api.beginSession({ phone, code, handle }, { ...who.made, name: randomBytes(40) })
    assert.equal(session.number, 1)
    assert.equal(session.handle, handle)
    assert.match(session.ws, /^ws:\/\/127\.0\.0\.1:\d+\/v1\/ws$/)
    Object.assign(who, { token: session.token, user: session.user, device: session.device })
  }

  before(async () => {
    node = await startTestNode()
    folder = mkdtempSync(join(tmpdir(), 'heliograph-live-'))
    store = openStore(folder, { keyFile: join(folder, 'key') })
    ann = asker()
    ben = asker()
    tablet = asker(ann.identity)
  })
  after(async () => {
    await store.close()
    rmSync(folder, { recursive: true, force: true })
    await node.stop()
  })

  it('askCode and beginSession: a number becomes an account', async () => {
    await register(ann, ANN, 'ann', 11)
    await register(ben, BEN, 'ben', 22)
    assert.notEqual(ann.user, ben.user)
    const late = asker()
    const device = await deviceOf(late, 33)
    await late.api.askCode('+447700900003')
    await assert.rejects(
      late.api.beginSession({ phone: '+447700900003', code: '000000' }, device),
      hasCode('code_wrong'),
    )
    await assert.rejects(late.api.askCode('12'), hasCode('phone_invalid'))
  })

  it('account, devices, findUser and handleOf say who is there', async () => {
    const account = await ann.api.account()
    assert.equal(account.user, ann.user)
    assert.equal(account.handle, 'ann')
    assert.deepEqual(Buffer.from(account.identityKey), Buffer.from(ann.identity.publicKey.serialize()))
    const devices = await ann.api.devices()
    assert.deepEqual(devices, account.devices)
    assert.deepEqual(
      devices.map(({ device, number, registrationId, isPrimary, isCurrent }) => [
        device,
        number,
        registrationId,
        isPrimary,
        isCurrent,
      ]),
      [[ann.device, 1, 11, true, true]],
    )
    assert.deepEqual(await ann.api.findUser('@ben'), { user: ben.user, handle: 'ben' })
    assert.equal(await ann.api.handleOf(ben.user), 'ben')
    await assert.rejects(ann.api.findUser('nobody'), hasCode('unknown_recipient'))
  })

  it('countKeys, putKeys and checkKeys: what is there is what was put', async () => {
    const most = limits.oneTimePrekeysMax
    assert.deepEqual(await ann.api.countKeys(), { ec: most, kem: most })
    const keys = ann.made?.keys as NewDevice['keys']
    await ann.api.putKeys({ oneTimePrekeys: keys.oneTimePrekeys.slice(0, 30) })
    assert.deepEqual(await ann.api.countKeys(), { ec: 30, kem: most })
    assert.equal(await ann.api.checkKeys(randomBytes(32)), false)
    assert.equal(await ann.api.checkKeys(digestOf(ann.made as NewDevice)), true)
  })

  it('takeKeys, takeDeviceKeys and takeKeysOfMany give bundles that are signed, each one-time key once', async () => {
    const one = await ben.api.takeKeys(ann.user)
    const two = await ben.api.takeDeviceKeys(ann.user, 1)
    const [three] = await ben.api.takeKeysOfMany([ann.user, '00000000-0000-4000-8000-000000000000'], randomUUID())
    const bundles = [one, two, three].map((keys) => {
      assert.equal(keys?.user, ann.user)
      assert.deepEqual(Buffer.from(keys?.identityKey ?? []), Buffer.from(ann.identity.publicKey.serialize()))
      const [bundle] = keys?.devices ?? []
      assert.ok(bundle !== undefined)
      for (const { key, signature } of [bundle.signedPrekey, bundle.kemPrekey]) {
        assert.ok(ann.identity.publicKey.verify(Uint8Array.from(key), Uint8Array.from(signature)))
      }
      return bundle
    })
    assert.equal(new Set(bundles.map(({ oneTimePrekey }) => oneTimePrekey?.id)).size, 3)
    assert.equal(new Set(bundles.map(({ kemPrekey }) => kemPrekey.id)).size, 3)
    assert.equal((await ann.api.countKeys()).ec, 27)
    await assert.rejects(ben.api.takeDeviceKeys(ann.user, 9), hasCode('unknown_recipient'))
  })

  it('openLink, makeLinkToken, answerLink and readLink let one more device in', async () => {
    const { link, expiresInS } = await tablet.api.openLink()
    assert.ok(expiresInS > 0)
    const waiting = tablet.api.readLink(link)
    const { linkToken } = await ann.api.makeLinkToken(randomUUID())
    const sealed = randomBytes(200)
    await ann.api.answerLink(link, sealed)
    assert.deepEqual(Buffer.from((await waiting) ?? []), sealed)
    tablet.made = await deviceOf(tablet, 44)
    const session = await tablet.api.beginSession({ linkToken }, tablet.made)
    assert.deepEqual([session.user, session.number], [ann.user, 2])
    Object.assign(tablet, { token: session.token, user: session.user, device: session.device })
    await assert.rejects(ann.api.answerLink(link, sealed), hasCode('unknown_recipient'))
    await assert.rejects(tablet.api.makeLinkToken(), hasCode('not_primary'))
  })

  it('readLink can be given up while it waits', async () => {
    const { link } = await tablet.api.openLink()
    const abort = new AbortController()
    const waiting = tablet.api.readLink(link, abort.signal)
    setImmediate(() => abort.abort())
    await assert.rejects(waiting, hasCode('unreachable'))
  })

  it('nameDevice and endDevice change the list', async () => {
    const name = randomBytes(60)
    await tablet.api.nameDevice(tablet.device, name)
    const listed = await ann.api.devices()
    assert.equal(listed.length, 2)
    await ann.api.endDevice(tablet.device, randomUUID())
    assert.equal((await ann.api.devices()).length, 1)
    await assert.rejects(tablet.api.account(), hasCode('unauthorized'))
    await assert.rejects(ann.api.endDevice(tablet.device), hasCode('unknown_recipient'))
  })

  it('replaceToken: the old one ends, and a lost answer can be had again with it', async () => {
    const key = randomUUID()
    const old = ann.token
    const fresh = await ann.api.replaceToken(key)
    assert.notEqual(fresh, old)
    assert.equal(await ann.api.replaceToken(key), fresh)
    await assert.rejects(ann.api.account(), hasCode('unauthorized'))
    ann.token = fresh
    assert.equal((await ann.api.account()).user, ann.user)
  })

  it('replaceIdentity: another key and another device, the same account', async () => {
    ann.identity = IdentityKeyPair.generate()
    ann.made = await deviceOf(ann, 55)
    const key = randomUUID()
    const session = await ann.api.replaceIdentity(ann.made, key)
    assert.equal(session.user, ann.user)
    assert.notEqual(session.device, ann.device)
    // Its answer was lost: the same again.
    assert.deepEqual(await ann.api.replaceIdentity(ann.made, key), session)
    Object.assign(ann, { token: session.token, device: session.device })
    const { identityKey } = await ben.api.takeKeys(ann.user)
    assert.deepEqual(Buffer.from(identityKey), Buffer.from(ann.identity.publicKey.serialize()))
  })

  it('eraseAccount: nothing of it is found any more', async () => {
    await ann.api.eraseAccount(randomUUID())
    await assert.rejects(ann.api.account(), hasCode('unauthorized'))
    await assert.rejects(ben.api.findUser('ann'), hasCode('unknown_recipient'))
    await assert.rejects(ben.api.takeKeys(ann.user), hasCode('unknown_recipient'))
  })

  it('all of its methods were asked here', () => {
    const all = Object.keys(createApi(node.url, () => undefined))
    assert.deepEqual(
      all.filter((name) => !asked.has(name)),
      [],
    )
  })
})
