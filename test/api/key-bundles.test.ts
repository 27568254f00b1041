import assert from 'node:assert/strict'
import { KEMPublicKey, PreKeyBundle, PublicKey } from '@signalapp/libsignal-client'
import { IntakeFault } from '../../core/envelope.ts'
import { decodeDelivery } from '../../topics/codec.ts'
import { limits } from '../../topics/limits.ts'
import type { Client } from '../world/client.ts'
import { call, link, makeKeys, type Person } from '../world/person.ts'
import {
  type AccountKeys,
  accountOf,
  type BundleText,
  bytesOf,
  type KeyScene,
  startKeyScene,
  waitMs,
} from './key-scene.ts'
import { assertProblem, type MadeDevice } from './node.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const NOBODY = '00000000-0000-4000-8000-000000000000'

/** Counts that a client was told of. */
const lowNotices = (client: Client): { ec: number; kem: number }[] =>
  client.received.flatMap(({ payload }) => {
    const delivery = decodeDelivery(payload)
    return delivery.fault || delivery.notice?.prekeysLow === undefined ? [] : [delivery.notice.prekeysLow]
  })

describe('bundles of keys', () => {
  let scene: KeyScene
  beforeEach(async () => {
    scene = await startKeyScene()
  })
  afterEach(() => scene.test.stop())

  describe('GET /v1/keys/{user}', () => {
    it('gives a bundle that libsignal takes, and each one-time key once, in order', async () => {
      const { body } = scene.bob.keys
      for (const used of [0, 1]) {
        const answer = await scene.get(scene.alice, scene.bob.user)
        assert.equal(answer.headers.get('cache-control'), 'no-store')
        const { user, identityKey, devices } = accountOf(answer)
        assert.equal(user, scene.bob.user)
        assert.equal(identityKey, body.identityKey)
        assert.deepEqual(devices, [
          {
            number: 1,
            registrationId: body.registrationId,
            signedPrekey: body.keys.signedPrekey,
            oneTimePrekey: body.keys.oneTimePrekeys[used],
            kemPrekey: body.keys.oneTimeKemPrekeys[used],
          },
        ])
      }
      assert.deepEqual(await scene.counts(scene.bob), { ec: 0, kem: 0 })
      const [last] = accountOf(await scene.get(scene.alice, scene.bob.user)).devices as [BundleText]
      assert.equal(last.oneTimePrekey, undefined)
      assert.deepEqual(last.kemPrekey, body.keys.lastResortPrekey)
      const { signedPrekey, kemPrekey } = last
      const key = PublicKey.deserialize(bytesOf(body.identityKey))
      assert.ok(key.verify(bytesOf(signedPrekey.key), bytesOf(signedPrekey.signature)))
      PreKeyBundle.new(
        last.registrationId,
        last.number,
        null,
        null,
        signedPrekey.id,
        PublicKey.deserialize(bytesOf(signedPrekey.key)),
        bytesOf(signedPrekey.signature),
        key,
        kemPrekey.id,
        KEMPublicKey.deserialize(bytesOf(kemPrekey.key)),
        bytesOf(kemPrekey.signature),
      )
    })

    it('gives all devices by number, or the one that is named, and never the one that asks', async () => {
      const desk = await link(scene.test, scene.bob)
      const numbers = async (by: Person, path: string) =>
        accountOf(await scene.get(by, path)).devices.map(({ number }) => number)
      assert.deepEqual(await numbers(scene.alice, scene.bob.user), [1, 2])
      assert.deepEqual(await numbers(scene.alice, `${scene.bob.user}/2`), [2])
      assert.deepEqual(await numbers(scene.alice, scene.bob.user.toUpperCase()), [1, 2])
      assert.deepEqual(await numbers(scene.bob, scene.bob.user), [2])
      assert.deepEqual(await numbers(desk, scene.bob.user), [1])
      assert.deepEqual(await numbers(scene.alice, scene.alice.user), [])
      assertProblem(await scene.get(scene.bob, `${scene.bob.user}/1`), 404, 'unknown_recipient')
      for (const number of ['0', '3', '02', '128', '-1', 'x', '1e0', '99999999999']) {
        assertProblem(await scene.get(scene.alice, `${scene.bob.user}/${number}`), 404, 'unknown_recipient')
      }
    })

    it('has one answer for who is not there, is a thing, or was erased', async () => {
      const [thing] = await scene.test.make({ kind: 'thing', ids: ['s1'] })
      const carol = await scene.person()
      assert.equal((await call(scene.test.url, 'DELETE', '/v1/account', { token: carol.token })).status, 204)
      const answers = await Promise.all(
        [NOBODY, thing?.user, carol.user, 'nobody', 'x'.repeat(90)].map((user) => scene.get(scene.alice, String(user))),
      )
      for (const answer of answers) {
        assertProblem(answer, 404, 'unknown_recipient')
        assert.deepEqual(answer.body, answers[0]?.body)
      }
      assert.equal((await call(scene.test.url, 'GET', `/v1/keys/${scene.bob.user}`)).status, 401)
      assert.equal(
        (await call(scene.test.url, 'GET', `/v1/keys/${scene.bob.user}`, { token: thing?.token ?? '' })).status,
        401,
      )
    })

    it('gives nothing of a device that ended', async () => {
      const desk = await link(scene.test, scene.bob)
      assert.equal(
        (await call(scene.test.url, 'DELETE', `/v1/devices/${desk.device}`, { token: scene.bob.token })).status,
        204,
      )
      assert.deepEqual(
        accountOf(await scene.get(scene.alice, scene.bob.user)).devices.map(({ number }) => number),
        [1],
      )
      assertProblem(await scene.get(scene.alice, `${scene.bob.user}/2`), 404, 'unknown_recipient')
    })

    it('gives the new identity and nothing of the old one after a reset', async () => {
      const keys = makeKeys({ oneTime: 1 })
      const reset = await call(scene.test.url, 'POST', '/v1/identity', { token: scene.bob.token, body: keys.body })
      assert.equal(reset.status, 201, JSON.stringify(reset.body))
      const { identityKey, devices } = accountOf(await scene.get(scene.alice, scene.bob.user))
      assert.equal(identityKey, keys.body.identityKey)
      assert.deepEqual(
        devices.map(({ number, oneTimePrekey }) => [number, oneTimePrekey]),
        [[2, keys.body.keys.oneTimePrekeys[0]]],
      )
    })

    it('is not served as HEAD, which would spend keys unseen', async () => {
      for (const path of [scene.bob.user, `${scene.bob.user}/1`]) {
        const { status } = await fetch(`${scene.test.url}/v1/keys/${path}`, {
          method: 'HEAD',
          headers: { authorization: `Bearer ${scene.alice.token}` },
        })
        assert.equal(status, 404)
      }
      assert.deepEqual(await scene.counts(scene.bob), { ec: 2, kem: 2 })
    })

    it('gives forty takers at once forty keys', async () => {
      const carol = await scene.person(40)
      const takers: Person[] = [scene.alice, scene.bob]
      while (takers.length < 8) takers.push(await scene.person(0))
      const asked = takers.flatMap((taker) => Array.from({ length: 5 }, () => scene.get(taker, carol.user)))
      const ids = (await Promise.all(asked)).map((answer) => accountOf(answer).devices[0]?.oneTimePrekey?.id)
      assert.equal(ids.includes(undefined), false)
      assert.equal(new Set(ids).size, 40)
      assert.deepEqual(await scene.counts(carol), { ec: 0, kem: 0 })
    })
  })

  describe('the low notice', () => {
    it('comes at 19, 9 and 0 that are left, and at no other take', async () => {
      const carol = await scene.person(21)
      const client = await scene.test.connect(carol as unknown as MadeDevice)
      await client.subscribe(`d/${carol.device}/in`)
      for (let left = 20; left >= 0; left--) {
        accountOf(await scene.get(scene.alice, carol.user))
        scene.test.clock.offsetMs += limits.bundlesPerPairEveryMs
      }
      for (let i = 0; i < 3; i++) {
        accountOf(await scene.get(scene.bob, carol.user))
      }
      await client.until(() => lowNotices(client).length >= 3, 'three notices')
      await client.ping()
      assert.deepEqual(lowNotices(client), [
        { ec: 19, kem: 19 },
        { ec: 9, kem: 9 },
        { ec: 0, kem: 0 },
      ])
    })

    it('waits for a device that is away', async () => {
      const carol = await scene.person(1)
      accountOf(await scene.get(scene.alice, carol.user))
      const client = await scene.test.connect(carol as unknown as MadeDevice)
      await client.subscribe(`d/${carol.device}/in`)
      await client.until(() => lowNotices(client).length === 1, 'the notice')
      assert.deepEqual(lowNotices(client), [{ ec: 0, kem: 0 }])
    })
  })

  describe('POST /v1/keys/batch', () => {
    it('gives the bundles of many users, and leaves out who is not known', async () => {
      const desk = await link(scene.test, scene.bob)
      const { status, body, headers } = await scene.post(scene.alice, 'batch', {
        users: [scene.bob.user, NOBODY, scene.alice.user],
      })
      assert.equal(status, 200)
      assert.equal(headers.get('cache-control'), 'no-store')
      const accounts = body['accounts'] as AccountKeys[]
      assert.deepEqual(
        accounts.map(({ user, identityKey, devices }) => [
          user,
          identityKey,
          devices.map((each) => each.oneTimePrekey?.key),
        ]),
        [
          [
            scene.bob.user,
            scene.bob.keys.body.identityKey,
            [scene.bob, desk].map(({ keys }) => keys.body.keys.oneTimePrekeys[0]?.key),
          ],
          [scene.alice.user, scene.alice.keys.body.identityKey, []],
        ],
      )
      const nobody = await scene.post(scene.alice, 'batch', { users: [NOBODY] })
      assert.deepEqual([nobody.status, nobody.body], [200, { accounts: [] }])
    })

    it('gives one bundle to who names a user twice in two ways', async () => {
      const { body } = await scene.post(scene.alice, 'batch', { users: [scene.bob.user, scene.bob.user.toUpperCase()] })
      assert.equal((body['accounts'] as unknown[]).length, 1)
      assert.deepEqual(await scene.counts(scene.bob), { ec: 1, kem: 1 })
    })

    it(`takes ${limits.bundleUsersPerRequestMax} users and not one more, none twice`, async () => {
      const most = limits.bundleUsersPerRequestMax
      const users = Array.from({ length: most - 1 }, (_, i) => `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`)
      const { status, body } = await scene.post(scene.alice, 'batch', { users: [...users, scene.bob.user] })
      assert.equal(status, 200)
      assert.equal((body['accounts'] as unknown[]).length, 1)
      assertProblem(
        await scene.post(scene.alice, 'batch', { users: [...users, scene.bob.user, scene.alice.user] }),
        400,
        'malformed',
      )
      for (const wrong of [[], [scene.bob.user, scene.bob.user], ['bob'], [1], scene.bob.user]) {
        assertProblem(await scene.post(scene.alice, 'batch', { users: wrong }), 400, 'malformed')
      }
      assert.deepEqual(await scene.counts(scene.bob), { ec: 1, kem: 1 })
    })

    it('answers again what was answered under one Idempotency-Key, and spends nothing for it', async () => {
      const ask = () =>
        call(scene.test.url, 'POST', '/v1/keys/batch', {
          token: scene.alice.token,
          body: { users: [scene.bob.user] },
          headers: { 'idempotency-key': 'one' },
        })
      assert.deepEqual((await ask()).body, (await ask()).body)
      assert.deepEqual(await scene.counts(scene.bob), { ec: 1, kem: 1 })
    })
  })

  describe('limits', () => {
    const burst = limits.bundlesPerPairBurst

    it(`gives a device ${burst} bundles of another, and one more in ${limits.bundlesPerPairEveryMs} ms`, async () => {
      const carol = await scene.person(20)
      for (let i = 0; i < burst; i++) assert.equal((await scene.get(scene.alice, carol.user)).status, 200)
      for (const answer of [
        await scene.get(scene.alice, carol.user),
        await scene.get(scene.alice, `${carol.user}/1`),
        await scene.post(scene.alice, 'batch', { users: [carol.user] }),
      ]) {
        assertProblem(answer, 429, 'rate_limited')
        assert.ok(
          waitMs(answer) > limits.bundlesPerPairEveryMs - 10_000 && waitMs(answer) <= limits.bundlesPerPairEveryMs,
        )
      }
      assert.deepEqual(await scene.counts(carol), { ec: 20 - burst, kem: 20 - burst })
      assert.equal((await scene.get(scene.bob, carol.user)).status, 200)
      assert.equal((await scene.get(scene.alice, scene.bob.user)).status, 200)
      scene.test.clock.offsetMs += limits.bundlesPerPairEveryMs - 10_000
      const early = await scene.get(scene.alice, carol.user)
      assertProblem(early, 429, 'rate_limited')
      scene.test.clock.offsetMs += waitMs(early)
      assert.equal((await scene.get(scene.alice, carol.user)).status, 200)
      assertProblem(await scene.get(scene.alice, carol.user), 429, 'rate_limited')
    })

    it('gives who is beyond the limit with one device of several that one without one-time keys', async () => {
      const carol = await scene.person(20)
      for (let i = 0; i < burst; i++) await scene.get(scene.alice, carol.user)
      const desk = await link(scene.test, carol)
      const { devices } = accountOf(await scene.get(scene.alice, carol.user))
      assert.deepEqual(
        devices.map(({ oneTimePrekey }) => oneTimePrekey !== undefined),
        [false, true],
      )
      assert.deepEqual(await scene.counts(carol), { ec: 20 - burst, kem: 20 - burst })
      assert.deepEqual(await scene.counts(desk), { ec: 1, kem: 1 })
    })

    it(`spends ${limits.bundlesPerTargetPerHourMax} one-time keys of a device in an hour, and answers beyond without`, async () => {
      const { limiter } = scene.test.node.server.opened.ports
      const most = limits.bundlesPerTargetPerHourMax
      const carol = await scene.person(5)
      // All but one of this hour's.
      await limiter.take('bundles by target', carol.device, most, HOUR_MS / most, most - 1)
      const bundle = async (by: Person) => accountOf(await scene.get(by, carol.user)).devices[0]
      assert.deepEqual((await bundle(scene.alice))?.oneTimePrekey, carol.keys.body.keys.oneTimePrekeys[0])
      for (const taker of [scene.alice, scene.bob]) {
        const beyond = await bundle(taker)
        assert.equal(beyond?.oneTimePrekey, undefined)
        assert.deepEqual(beyond?.kemPrekey, carol.keys.body.keys.lastResortPrekey)
        assert.deepEqual(beyond?.signedPrekey, carol.keys.body.keys.signedPrekey)
      }
      assert.deepEqual(await scene.counts(carol), { ec: 4, kem: 4 })
      scene.test.clock.offsetMs += HOUR_MS / most
      assert.deepEqual((await bundle(scene.bob))?.oneTimePrekey, carol.keys.body.keys.oneTimePrekeys[1])
    })

    it(`gives a device ${limits.bundlesPerTakerPerDayMax} bundles in a day, whoever they are of`, async () => {
      const { limiter } = scene.test.node.server.opened.ports
      const most = limits.bundlesPerTakerPerDayMax
      // All but one of today's.
      await limiter.take('bundles by taker', scene.alice.device, most, DAY_MS / most, most - 1)
      assert.equal((await scene.get(scene.alice, scene.bob.user)).status, 200)
      const refusal = await scene.get(scene.alice, scene.bob.user)
      assertProblem(refusal, 429, 'rate_limited')
      assert.ok(waitMs(refusal) <= Math.ceil(DAY_MS / most / 1_000) * 1_000)
      assertProblem(await scene.post(scene.alice, 'batch', { users: [NOBODY] }), 429, 'rate_limited')
      assert.deepEqual(await scene.counts(scene.bob), { ec: 1, kem: 1 })
      scene.test.clock.offsetMs += waitMs(refusal)
      assert.equal((await scene.get(scene.alice, scene.bob.user)).status, 200)
    })
  })

  it('are not given while the store cannot write, and that is said', async () => {
    const { keys } = scene.test.node.server.opened.ports
    const { take } = keys
    keys.take = async () => {
      throw new IntakeFault('disk_full', 'no room')
    }
    const refusal = await scene.get(scene.alice, scene.bob.user)
    assertProblem(refusal, 507, 'disk_full')
    assert.ok(waitMs(refusal) > 0)
    keys.take = take
    assert.equal((await scene.get(scene.alice, scene.bob.user)).status, 200)
  })

  it('are closed to who has no token', async () => {
    for (const [method, path] of [
      ['PUT', ''],
      ['GET', '/count'],
      ['POST', '/check'],
      ['GET', `/${scene.bob.user}`],
      ['GET', `/${scene.bob.user}/1`],
      ['POST', '/batch'],
    ] as const) {
      const answer = await call(scene.test.url, method, `/v1/keys${path}`, method === 'GET' ? {} : { body: {} })
      assertProblem(answer, 401, 'unauthorized')
    }
  })
})
