import assert from 'node:assert/strict'
import { limits } from '../../topics/limits.ts'
import { type MadeKeys, makeKeys, type PrekeyText } from '../world/person.ts'
import {
  accountOf,
  type BundleText,
  bytesOf,
  checkOf,
  type KeyScene,
  startKeyScene,
  textOf,
  waitMs,
} from './key-scene.ts'
import { assertProblem } from './node.ts'

describe('keys that a device uploads', () => {
  let scene: KeyScene
  beforeEach(async () => {
    scene = await startKeyScene()
  })
  afterEach(() => scene.test.stop())

  describe('PUT /v1/keys', () => {
    it('takes a full set, and what it leaves out stays', async () => {
      const fresh = makeKeys({ identity: scene.bob.keys.identity, oneTime: limits.oneTimePrekeysMax, firstId: 1_000 })
        .body.keys
      const answer = await scene.put(scene.bob, fresh)
      assert.equal(answer.status, 204, JSON.stringify(answer.body))
      assert.deepEqual(await scene.counts(scene.bob), { ec: 100, kem: 100 })
      assert.equal((await scene.put(scene.bob, { oneTimePrekeys: [] })).status, 204)
      assert.deepEqual(await scene.counts(scene.bob), { ec: 0, kem: 100 })
      const [{ signedPrekey, kemPrekey }] = accountOf(await scene.get(scene.alice, scene.bob.user)).devices as [
        BundleText,
      ]
      assert.deepEqual(signedPrekey, fresh.signedPrekey)
      assert.deepEqual(kemPrekey, fresh.oneTimeKemPrekeys[0])
    })

    const other = makeKeys({ oneTime: 1 }).body.keys
    const lowOrder = textOf(Uint8Array.from([5, ...new Uint8Array(32)]))
    type Keys = MadeKeys['body']['keys']
    const wrong: [what: string, code: string, spoil: (keys: Keys) => object][] = [
      [
        'a signed prekey with a foreign signature',
        'signature_wrong',
        ({ signedPrekey }) => ({
          signedPrekey: { ...signedPrekey, signature: other.signedPrekey.signature },
        }),
      ],
      [
        'a last-resort key of another identity',
        'signature_wrong',
        () => ({ lastResortPrekey: other.lastResortPrekey }),
      ],
      [
        'one one-time key of ML-KEM among others with a wrong signature',
        'signature_wrong',
        ({ oneTimeKemPrekeys: [a, b] }) => ({
          oneTimeKemPrekeys: [a, { ...b, signature: a?.signature }],
        }),
      ],
      [
        'a signature that is too short',
        'signature_wrong',
        ({ signedPrekey }) => ({
          signedPrekey: { ...signedPrekey, signature: textOf(bytesOf(signedPrekey.signature).subarray(1)) },
        }),
      ],
      ['a point of small order', 'key_invalid', () => ({ oneTimePrekeys: [{ id: 1, key: lowOrder }] })],
      [
        'a key that is too short',
        'key_invalid',
        ({ oneTimePrekeys: [a] }) => ({
          oneTimePrekeys: [{ id: 1, key: textOf(bytesOf(a?.key ?? '').subarray(1)) }],
        }),
      ],
      [
        'a key of ML-KEM of another size',
        'key_invalid',
        ({ oneTimeKemPrekeys: [a] }) => ({
          oneTimeKemPrekeys: [{ ...a, key: textOf(bytesOf(a?.key ?? '').subarray(0, 1_185)) }],
        }),
      ],
      ['Curve25519 as last-resort key', 'key_invalid', ({ signedPrekey }) => ({ lastResortPrekey: signedPrekey })],
      ['an id twice', 'key_invalid', ({ oneTimePrekeys: [a, b] }) => ({ oneTimePrekeys: [a, { ...b, id: a?.id }] })],
    ]
    for (const [what, code, spoil] of wrong) {
      it(`refuses ${what}, and stores nothing`, async () => {
        const fresh = makeKeys({ identity: scene.bob.keys.identity, oneTime: 5, firstId: 500 }).body.keys
        assertProblem(await scene.put(scene.bob, { ...fresh, ...spoil(fresh) }), 422, code)
        assert.deepEqual(await scene.counts(scene.bob), { ec: 2, kem: 2 })
        assert.equal((await scene.post(scene.bob, 'check', checkOf(scene.bob.keys.body))).status, 204)
        const [{ oneTimePrekey, kemPrekey }] = accountOf(await scene.get(scene.alice, scene.bob.user)).devices as [
          BundleText,
        ]
        assert.deepEqual(oneTimePrekey, scene.bob.keys.body.keys.oneTimePrekeys[0])
        assert.deepEqual(kemPrekey, scene.bob.keys.body.keys.oneTimeKemPrekeys[0])
      })
    }

    const [ecPrekey] = other.oneTimePrekeys as [PrekeyText]
    const malformed: [what: string, body: unknown][] = [
      ['nothing', {}],
      ['a field that there is not', { oneTimePrekeys: [], more: 1 }],
      ['an id below 0', { oneTimePrekeys: [{ ...ecPrekey, id: -1 }] }],
      ['an id of 2^32', { oneTimePrekeys: [{ ...ecPrekey, id: 2 ** 32 }] }],
      ['half an id', { oneTimePrekeys: [{ ...ecPrekey, id: 1.5 }] }],
      ['an id as text', { oneTimePrekeys: [{ ...ecPrekey, id: '1' }] }],
      ['padding', { oneTimePrekeys: [{ id: 1, key: `${ecPrekey.key}=` }] }],
      ['the alphabet of base64', { oneTimePrekeys: [{ id: 1, key: `+/${ecPrekey.key.slice(2)}` }] }],
      ['bits behind the last byte', { oneTimePrekeys: [{ id: 1, key: `${ecPrekey.key.slice(0, 42)}B` }] }],
      ['a line break', { oneTimePrekeys: [{ id: 1, key: `${ecPrekey.key}\n` }] }],
      ['a signed key without signature', { signedPrekey: ecPrekey }],
      [
        'more than a list may have',
        { oneTimePrekeys: Array.from({ length: limits.oneTimePrekeysMax + 1 }, (_, id) => ({ ...ecPrekey, id })) },
      ],
    ]
    for (const [what, body] of malformed) {
      it(`refuses ${what}`, async () => {
        assertProblem(await scene.put(scene.bob, body), 400, 'malformed')
        assert.deepEqual(await scene.counts(scene.bob), { ec: 2, kem: 2 })
      })
    }

    it('takes nothing in parts from a device that has no keys yet, and then all', async () => {
      const [made] = await scene.test.make({ kind: 'person', user: scene.bob.user, count: 1 })
      const desk = { ...scene.bob, token: made?.token as string }
      const numbers = async () =>
        accountOf(await scene.get(scene.alice, scene.bob.user)).devices.map(({ number }) => number)
      const { keys } = makeKeys({ identity: scene.bob.keys.identity }).body
      for (const part of Object.keys(keys) as (keyof typeof keys)[]) {
        assertProblem(await scene.put(desk, { [part]: keys[part] }), 422, 'key_invalid')
      }
      assert.deepEqual(await scene.counts(desk), { ec: 0, kem: 0 })
      assertProblem(await scene.post(desk, 'check', checkOf(scene.bob.keys.body)), 409, 'keys_differ')
      assert.deepEqual(await numbers(), [1])
      assert.equal((await scene.put(desk, keys)).status, 204)
      assert.deepEqual(await numbers(), [1, 2])
    })

    it('takes the keys of persons with an identity key only', async () => {
      const [made] = await scene.test.make({ kind: 'person', count: 1 })
      assertProblem(
        await scene.put({ ...scene.bob, token: made?.token as string }, makeKeys().body.keys),
        403,
        'not_allowed',
      )
      assertProblem(await scene.get(scene.alice, made?.user as string), 404, 'unknown_recipient')
    })

    it(`takes ${limits.keyUploadsPerDevicePerHourMax} uploads in an hour and not one more`, async () => {
      const body = { oneTimePrekeys: [] }
      for (let i = 0; i < limits.keyUploadsPerDevicePerHourMax; i++)
        assert.equal((await scene.put(scene.bob, body)).status, 204)
      const refusal = await scene.put(scene.bob, body)
      assertProblem(refusal, 429, 'rate_limited')
      assert.ok(waitMs(refusal) <= 60_000 && waitMs(refusal) > 40_000)
      assert.equal((await scene.put(scene.alice, body)).status, 204)
      scene.test.clock.offsetMs += waitMs(refusal)
      assert.equal((await scene.put(scene.bob, body)).status, 204)
    })
  })

  describe('POST /v1/keys/check', () => {
    it('says whether the server has the keys that the device has', async () => {
      assert.equal((await scene.post(scene.bob, 'check', checkOf(scene.bob.keys.body))).status, 204)
      assertProblem(await scene.post(scene.bob, 'check', checkOf(scene.alice.keys.body)), 409, 'keys_differ')
      const fresh = makeKeys({ identity: scene.bob.keys.identity, firstId: 90 })
      assertProblem(await scene.post(scene.bob, 'check', checkOf(fresh.body)), 409, 'keys_differ')
      assert.equal((await scene.put(scene.bob, { lastResortPrekey: fresh.body.keys.lastResortPrekey })).status, 204)
      assertProblem(await scene.post(scene.bob, 'check', checkOf(scene.bob.keys.body)), 409, 'keys_differ')
      assert.equal((await scene.put(scene.bob, fresh.body.keys)).status, 204)
      assert.equal((await scene.post(scene.bob, 'check', checkOf(fresh.body))).status, 204)
    })

    for (const digest of ['', 'A'.repeat(42), 'A'.repeat(44), `${'A'.repeat(42)}B`, `${'A'.repeat(42)}=`]) {
      it(`refuses "${digest}", which is no digest`, async () =>
        assertProblem(await scene.post(scene.bob, 'check', { digest }), 400, 'malformed'))
    }
  })
})
