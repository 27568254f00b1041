import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { errorOf } from '../../topics/errors.ts'
import { limits } from '../../topics/limits.ts'
import { errorsOf, inOf, send } from '../data-plane/scene.ts'
import { asDevice, call, type HttpAnswer, link, makeKeys, type Person, register } from '../world/person.ts'
import { assertProblem, type MadeDevice, startTestNode, type TestNode } from './node.ts'

const ANN = '+15550001111'
const BOB = '+15550002222'

describe('the account of a person', () => {
  let test: TestNode
  const get = (path: string, token: string): Promise<HttpAnswer> => call(test.url, 'GET', path, { token })
  const isKnown = async (token: string): Promise<boolean> => (await get('/v1/account', token)).status === 200
  beforeEach(async () => {
    test = await startTestNode()
  })
  afterEach(() => test.stop())

  it('is shown to its devices', async () => {
    const ann = await register(test, ANN, { handle: 'ann' })
    const tablet = await link(test, ann)
    const { status, body } = await get('/v1/account', tablet.token)
    assert.equal(status, 200)
    const { devices, ...rest } = body
    assert.deepEqual(rest, {
      user: ann.user,
      handle: 'ann',
      identityKey: ann.keys.body.identityKey,
      device: tablet.device,
    })
    assert.deepEqual(devices, (await get('/v1/devices', tablet.token)).body['devices'])
  })

  it('is for persons: a thing, an admin and a device that ended get the answer of a stranger', async () => {
    const [thing] = (await test.make({ kind: 'thing', ids: ['sensor'] })) as [MadeDevice]
    const ann = await register(test, ANN)
    const tablet = await link(test, ann)
    await call(test.url, 'DELETE', `/v1/devices/${tablet.device}`, { token: ann.token })
    const tokens = [thing.token, 'admin-of-the-tests', tablet.token, 'x', ann.token.toLowerCase(), `${ann.token}x`]
    const answers = new Set<string>()
    for (const token of tokens) {
      const answer = await get('/v1/account', token)
      assertProblem(answer, 401, 'unauthorized')
      answers.add(JSON.stringify(answer.body))
    }
    assert.equal(answers.size, 1)
  })

  it('is not there for a person that the admin made without keys, and says so', async () => {
    const [made] = (await test.make({ kind: 'person', ids: ['plain'] })) as [MadeDevice]
    assert.match(assertProblem(await get('/v1/account', made.token), 403, 'not_allowed'), /phone number/)
  })

  describe('erased', () => {
    it('ends every device, frees number and handle, and is nobody for all others', async () => {
      const ann = await register(test, ANN, { handle: 'ann' })
      const tablet = await link(test, ann)
      const bob = await register(test, BOB)
      const live = await test.connect(tablet as unknown as MadeDevice)
      assert.equal((await call(test.url, 'DELETE', '/v1/account', { token: ann.token })).status, 204)
      await live.closed(limits.revokeDelayMsMax)
      assert.deepEqual([await isKnown(ann.token), await isKnown(tablet.token)], [false, false])
      assertProblem(await get('/v1/users/ann', bob.token), 404, 'unknown_recipient')
      test.clock.offsetMs += limits.codeResendMs
      const again = await register(test, ANN, { handle: 'ann' })
      assert.notEqual(again.user, ann.user)
      assert.equal(again.number, 1)
    })

    it('gets no message any more: its sender is told that there is nobody', async () => {
      const ann = await register(test, ANN)
      const bob = await register(test, BOB)
      const from = await test.connect(bob as unknown as MadeDevice)
      await from.subscribe(inOf(asDevice(bob)))
      await send(from, asDevice(bob), [asDevice(ann)])
      assert.deepEqual(errorsOf(from), [])
      assert.equal((await call(test.url, 'DELETE', '/v1/account', { token: ann.token })).status, 204)
      await send(from, asDevice(bob), [asDevice(ann)])
      await from.until((client) => errorsOf(client).length > 0, 'an error')
      assert.equal(errorsOf(from)[0]?.code, errorOf('unknown_recipient').number)
    })

    it('is the same for a sender when its last device ended', async () => {
      const ann = await register(test, ANN)
      const bob = await register(test, BOB)
      const from = await test.connect(bob as unknown as MadeDevice)
      await from.subscribe(inOf(asDevice(bob)))
      await call(test.url, 'DELETE', `/v1/devices/${ann.device}`, { token: ann.token })
      await send(from, asDevice(bob), [asDevice(ann)])
      await from.until((client) => errorsOf(client).length > 0, 'an error')
      assert.equal(errorsOf(from)[0]?.code, errorOf('unknown_recipient').number)
    })

    it('may be left by a linked device too, and by nobody without a token', async () => {
      const ann = await register(test, ANN)
      const tablet = await link(test, ann)
      assertProblem(await call(test.url, 'DELETE', '/v1/account'), 401, 'unauthorized')
      assert.equal((await call(test.url, 'DELETE', '/v1/account', { token: tablet.token })).status, 204)
      assert.equal(await isKnown(ann.token), false)
    })
  })

  describe('tokens', () => {
    it('are replaced: the old one is refused at once, here and by MQTT', async () => {
      const ann = await register(test, ANN)
      const { status, body, headers } = await call(test.url, 'POST', '/v1/tokens', { token: ann.token })
      assert.equal(status, 201)
      assert.equal(headers.get('cache-control'), 'no-store')
      const token = String(body['token'])
      assert.match(token, /^[A-Za-z0-9_-]{43}$/)
      assert.deepEqual([await isKnown(ann.token), await isKnown(token)], [false, true])
      assert.equal((await test.connect(ann as unknown as MadeDevice)).connack?.returnCode, 4)
      assert.equal((await test.connect({ ...ann, token } as unknown as MadeDevice)).connack?.returnCode, 0)
    })

    it('that are replaced twice at once leave one that works', async () => {
      const ann = await register(test, ANN)
      const answers = await Promise.all([1, 2].map(() => call(test.url, 'POST', '/v1/tokens', { token: ann.token })))
      const tokens = answers.filter(({ status }) => status === 201).map(({ body }) => String(body['token']))
      const good = await Promise.all(tokens.map(isKnown))
      assert.equal(good.filter((is) => is).length, 1)
    })

    it('of other devices of the account stay', async () => {
      const ann = await register(test, ANN)
      const tablet = await link(test, ann)
      await call(test.url, 'POST', '/v1/tokens', { token: ann.token })
      assert.equal(await isKnown(tablet.token), true)
    })
  })

  describe('identity', () => {
    const reset = ({ token }: Person, body: object): Promise<HttpAnswer> =>
      call(test.url, 'POST', '/v1/identity', { token, body })

    it('is replaced by the primary device: all devices end, and it gets a new one', async () => {
      const ann = await register(test, ANN, { handle: 'ann' })
      const tablet = await link(test, ann)
      const live = await test.connect(tablet as unknown as MadeDevice)
      const { body } = makeKeys()
      const made = await reset(ann, body)
      assert.deepEqual([made.status, made.body['user'], made.body['number']], [201, ann.user, 3])
      assert.equal(made.body['handle'], 'ann')
      await live.closed(limits.revokeDelayMsMax)
      assert.deepEqual([await isKnown(ann.token), await isKnown(tablet.token)], [false, false])
      const shown = await get('/v1/account', String(made.body['token']))
      assert.equal(shown.body['identityKey'], body.identityKey)
      const devices = shown.body['devices'] as { device: string; primary: boolean }[]
      assert.deepEqual(
        devices.map(({ device, primary }) => [device, primary]),
        [[made.body['device'], true]],
      )
    })

    it('is not replaced by a linked device, nor with keys that another one signed', async () => {
      const ann = await register(test, ANN)
      const tablet = await link(test, ann)
      assertProblem(await reset(tablet, makeKeys().body), 403, 'not_primary')
      const { body } = makeKeys()
      const signedPrekey = { ...body.keys.signedPrekey, signature: Buffer.alloc(64).toString('base64url') }
      assertProblem(await reset(ann, { ...body, keys: { ...body.keys, signedPrekey } }), 422, 'signature_wrong')
      assertProblem(await reset(ann, { ...body, user: ann.user }), 400, 'malformed')
      assert.deepEqual([await isKnown(ann.token), await isKnown(tablet.token)], [true, true])
    })
  })

  describe('handles', () => {
    it('are found with and without @ and by the id of the user, and nobody else is', async () => {
      const ann = await register(test, ANN, { handle: 'ann_1.x' })
      for (const path of ['ann_1.x', '@ann_1.x', '%40ann_1.x', ann.user]) {
        const { status, body } = await get(`/v1/users/${path}`, ann.token)
        assert.deepEqual([status, body], [200, { user: ann.user, handle: 'ann_1.x' }])
      }
      const answers = new Set<string>()
      for (const path of ['nobody', 'ANN_1.X', '@@ann_1.x', randomUUID(), 'ann_1.x%00', '%25', 'an', 'x'.repeat(33)]) {
        const answer = await get(`/v1/users/${path}`, ann.token)
        assertProblem(answer, 404, 'unknown_recipient')
        answers.add(JSON.stringify(answer.body))
      }
      assert.equal(answers.size, 1)
    })

    it(`are looked up ${limits.lookupsPerDevicePerHourMax} times by one device in an hour, and not once more`, async () => {
      const ann = await register(test, ANN, { handle: 'ann' })
      const bob = await register(test, BOB)
      for (let i = 0; i < limits.lookupsPerDevicePerHourMax; i++) {
        const { status } = await get(i % 2 === 0 ? '/v1/users/ann' : `/v1/users/nobody${i}`, ann.token)
        assert.equal(status, i % 2 === 0 ? 200 : 404)
      }
      const refusal = await get('/v1/users/ann', ann.token)
      assertProblem(refusal, 429, 'rate_limited')
      assert.equal((await get('/v1/users/ann', bob.token)).status, 200)
      test.clock.offsetMs += Number(refusal.headers.get('retry-after')) * 1_000
      assert.equal((await get('/v1/users/ann', ann.token)).status, 200)
    })
  })
})
