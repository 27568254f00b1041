/** Conformance: what every adapter of the keys port owes (core/ports.ts). The port does not judge keys: any bytes do. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { KeySet, Ports, Prekey, PrekeyBundle, SignedPrekey } from '../../core/ports.ts'
import { newUserId } from '../../topics/ids.ts'
import type { Opener, Opening } from './opener.ts'

const EC_BYTES = 33
const KEM_BYTES = 1_569
const ALICE = newUserId('person', new Uint8Array(16).fill(1))
const ID_MAX = 2 ** 32 - 1

const filled = (size: number, name: string): Uint8Array => {
  const bytes = new Uint8Array(size)
  bytes.set(createHash('sha512').update(name).digest().subarray(0, size))
  return bytes
}
const ec = (name: string, id: number): Prekey => ({ id, key: filled(EC_BYTES, `ec ${name} ${id}`) })
const kem = (name: string, id: number): SignedPrekey => ({
  id,
  key: filled(KEM_BYTES, `kem ${name} ${id}`),
  signature: filled(64, `signature ${name} ${id}`),
})
const signed = (name: string, id: number): SignedPrekey => ({ ...ec(name, id), signature: filled(64, `${name} ${id}`) })

/** Keys that are told from those of another name. Ids begin at 1. */
function keySet(name: string, oneTime: number, oneTimeKem = oneTime): KeySet {
  return {
    signedPrekey: signed(name, 7),
    lastResortPrekey: kem(`last of ${name}`, ID_MAX),
    oneTimePrekeys: Array.from({ length: oneTime }, (_, i) => ec(name, i + 1)),
    oneTimeKemPrekeys: Array.from({ length: oneTimeKem }, (_, i) => kem(name, i + 1)),
  }
}

const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString('hex')
/** Bytes as text, whatever kind of array they are in. */
const shown = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_, each) => (each instanceof Uint8Array ? hex(each) : each)))
const assertSame = (actual: unknown, wanted: unknown) => assert.deepEqual(shown(actual), shown(wanted))

/** The one-time keys of bundles, as texts that tell any two keys apart. */
function spentIn(bundles: readonly (PrekeyBundle | undefined)[], lastResort: SignedPrekey): string[] {
  return bundles.flatMap((bundle) => [
    ...(bundle?.oneTimePrekey === undefined ? [] : [hex(bundle.oneTimePrekey.key)]),
    ...(bundle === undefined || hex(bundle.kemPrekey.key) === hex(lastResort.key) ? [] : [hex(bundle.kemPrekey.key)]),
  ])
}

type Given = Pick<Ports, 'directory' | 'keys'>

/** Keys of core/ports.ts: every sentence of its comments. */
export function keysSuite(open: Opener<Given>): void {
  describe('Keys', () => {
    let opening: Opening<Given>
    const keys = () => opening.ports.keys
    const makeDevices = (...ids: string[]) =>
      opening.ports.directory.create(
        [{ user: ALICE, kind: 'person', handle: undefined, owner: undefined }],
        ids.map((id, i) => ({
          id,
          user: ALICE,
          number: i + 1,
          registrationId: 7,
          numbered: false,
          tokenHash: filled(32, id),
        })),
      )
    const take = async (device: string, spend = true): Promise<PrekeyBundle | undefined> =>
      (await keys().take([{ device, spend }]))[0]
    beforeEach(async () => {
      opening = await open()
      await makeDevices('phone', 'desk', 'tablet')
    })
    afterEach(() => opening.close())

    for (const again of ['', 'reopen', 'crash'] as const) {
      it(`gives what was put, byte for byte${again === '' ? '' : `, after ${again} too`}`, async () => {
        const set = keySet('a', 2)
        await keys().put('phone', set)
        if (again !== '') await opening[again]()
        assertSame(await keys().repeated('phone'), {
          signedPrekey: set.signedPrekey,
          lastResortPrekey: set.lastResortPrekey,
        })
        assert.deepEqual(await keys().count('phone'), { ec: 2, kem: 2 })
        assertSame(await take('phone'), {
          signedPrekey: set.signedPrekey,
          oneTimePrekey: set.oneTimePrekeys[0],
          kemPrekey: set.oneTimeKemPrekeys[0],
          left: { ec: 1, kem: 1 },
        })
      })
    }

    it('knows nothing of a device that put nothing', async () => {
      assert.equal(await take('phone'), undefined)
      assert.equal(await keys().repeated('phone'), undefined)
      assert.deepEqual(await keys().count('phone'), { ec: 0, kem: 0 })
    })

    it('gives one-time keys in the order of their ids, and then the last-resort key for ever', async () => {
      const set = keySet('a', 2, 3)
      await keys().put('phone', { ...set, oneTimePrekeys: [ec('a', ID_MAX), ec('a', 0)] })
      const bundles = [await take('phone'), await take('phone'), await take('phone'), await take('phone')]
      assert.deepEqual(
        bundles.map((bundle) => [bundle?.oneTimePrekey?.id, bundle?.kemPrekey.id]),
        [
          [0, 1],
          [ID_MAX, 2],
          [undefined, 3],
          [undefined, ID_MAX],
        ],
      )
      assert.deepEqual(
        bundles.map((bundle) => shown(bundle?.left)),
        [{ ec: 1, kem: 2 }, { ec: 0, kem: 1 }, { kem: 0 }, {}],
      )
      assertSame((await take('phone'))?.kemPrekey, set.lastResortPrekey)
      assert.deepEqual(await keys().count('phone'), { ec: 0, kem: 0 })
    })

    it('spends nothing where it may not', async () => {
      const set = keySet('a', 2)
      await keys().put('phone', set)
      assertSame(await take('phone', false), {
        signedPrekey: set.signedPrekey,
        kemPrekey: set.lastResortPrekey,
        left: {},
      })
      assert.deepEqual(await keys().count('phone'), { ec: 2, kem: 2 })
    })

    it('answers for many devices in the order asked, also twice for one, and undefined for those without keys', async () => {
      await keys().put('phone', keySet('a', 2))
      await keys().put('tablet', keySet('c', 2))
      const wanted = ['tablet', 'desk', 'phone', 'nobody', 'tablet'].map((device) => ({ device, spend: true }))
      const bundles = await keys().take([{ device: 'phone', spend: false }, ...wanted])
      assert.deepEqual(
        bundles.map((bundle) => bundle && hex(bundle.oneTimePrekey?.key)),
        ['', hex(ec('c', 1).key), undefined, hex(ec('a', 1).key), undefined, hex(ec('c', 2).key)],
      )
      assert.deepEqual(await keys().take([]), [])
    })

    it('replaces the whole set of a kind, and leaves what an upload leaves out', async () => {
      const [old, fresh] = [keySet('old', 3), keySet('new', 1)]
      await keys().put('phone', old)
      await keys().put('desk', old)
      await keys().put('phone', { oneTimePrekeys: fresh.oneTimePrekeys })
      assert.deepEqual(await keys().count('phone'), { ec: 1, kem: 3 })
      await keys().put('phone', { signedPrekey: fresh.signedPrekey })
      await keys().put('phone', { oneTimeKemPrekeys: [] })
      assert.deepEqual(await keys().count('phone'), { ec: 1, kem: 0 })
      assertSame(await take('phone'), {
        signedPrekey: fresh.signedPrekey,
        oneTimePrekey: fresh.oneTimePrekeys[0],
        kemPrekey: old.lastResortPrekey,
        left: { ec: 0 },
      })
      await keys().put('phone', { lastResortPrekey: fresh.lastResortPrekey })
      assertSame((await take('phone'))?.kemPrekey, fresh.lastResortPrekey)
      assert.deepEqual(await keys().count('desk'), { ec: 3, kem: 3 })
    })

    it('gives a thousand keys to a thousand takers at once, each to one', async () => {
      const set = keySet('a', 1_000)
      await keys().put('phone', set)
      const bundles = await Promise.all(Array.from({ length: 1_000 }, () => take('phone')))
      const spent = spentIn(bundles, set.lastResortPrekey)
      assert.equal(spent.length, 2_000)
      assert.equal(new Set(spent).size, 2_000)
      assert.deepEqual(await keys().count('phone'), { ec: 0, kem: 0 })
      const left = bundles.map((bundle) => bundle?.left.ec as number)
      assert.deepEqual(
        [...left].sort((a, b) => a - b),
        Array.from({ length: 1_000 }, (_, i) => i),
      )
    })

    it('gives a thousand keys to a thousand of 1,600 takers, and the others the last-resort key', async () => {
      const set = keySet('a', 1_000)
      await keys().put('phone', set)
      const bundles = await Promise.all(Array.from({ length: 1_600 }, () => take('phone')))
      const spent = spentIn(bundles, set.lastResortPrekey)
      assert.equal(new Set(spent).size, 2_000)
      assert.equal(spent.length, 2_000)
      const without = bundles.filter((bundle) => bundle?.oneTimePrekey === undefined)
      assert.equal(without.length, 600)
      for (const bundle of without) assert.equal(hex(bundle?.kemPrekey.key), hex(set.lastResortPrekey.key))
    })

    it('never gives a key again that was given before the process ended', async () => {
      const set = keySet('a', 200)
      await keys().put('phone', set)
      const before: PrekeyBundle[] = []
      let hasCrashed = false
      const asked = Array.from({ length: 100 }, async () => {
        // Nobody hears of it when the process has ended.
        const bundle = await take('phone').catch((fault) => (hasCrashed ? undefined : assert.fail(fault)))
        if (bundle !== undefined) before.push(bundle)
      })
      await asked[0]
      const late = Array.from({ length: 20 }, () => take('phone').catch(() => undefined))
      const answered = [...before]
      hasCrashed = true
      await opening.crash()
      assert.ok(answered.length > 0)
      const { ec: left } = await keys().count('phone')
      const after = await Promise.all(Array.from({ length: left }, () => take('phone')))
      const spent = spentIn([...answered, ...after], set.lastResortPrekey)
      assert.equal(new Set(spent).size, spent.length)
      assert.equal(spent.length, (answered.length + left) * 2)
      await Promise.all([...asked, ...late])
    })

    it('gives keys of one set, the old or the new one, while a set is replaced', async () => {
      const [old, fresh] = [keySet('old', 50), keySet('new', 50)]
      await keys().put('phone', old)
      const first = Array.from({ length: 20 }, () => take('phone'))
      const put = keys().put('phone', fresh)
      const second = Array.from({ length: 20 }, () => take('phone'))
      await put
      const after = await take('phone')
      const bundles = await Promise.all([...first, ...second])
      const names = (set: KeySet) =>
        new Set([...set.oneTimePrekeys, ...set.oneTimeKemPrekeys].map(({ key }) => hex(key)))
      const [oldKeys, freshKeys] = [names(old), names(fresh)]
      for (const bundle of [...bundles, after]) {
        assert.ok(bundle?.oneTimePrekey !== undefined)
        const set = hex(bundle.signedPrekey.key) === hex(old.signedPrekey.key) ? oldKeys : freshKeys
        assert.ok(set.has(hex(bundle.oneTimePrekey.key)) && set.has(hex(bundle.kemPrekey.key)))
      }
      assert.equal(hex(after?.signedPrekey.key), hex(fresh.signedPrekey.key))
      const spent = spentIn([...bundles, after], fresh.lastResortPrekey)
      assert.equal(new Set(spent).size, 82)
      const ofFresh = spent.filter((key) => freshKeys.has(key)).length
      assert.deepEqual(await keys().count('phone'), { ec: 50 - ofFresh / 2, kem: 50 - ofFresh / 2 })
    })

    it('leaves no keys behind of a device that ends, also when it puts some at that moment', async () => {
      await keys().put('phone', keySet('a', 2))
      await keys().put('desk', keySet('b', 2))
      const put = keys().put('phone', keySet('late', 2))
      await Promise.all([opening.ports.directory.revoke('phone'), put, take('phone')])
      await keys().put('phone', keySet('later', 2))
      assert.equal(await take('phone'), undefined)
      assert.equal(await keys().repeated('phone'), undefined)
      assert.deepEqual(await keys().count('phone'), { ec: 0, kem: 0 })
      assert.deepEqual(await keys().count('desk'), { ec: 2, kem: 2 })
    })
  })
}
