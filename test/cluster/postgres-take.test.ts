/** Takes of many connections and many processes at once: each key to one taker, and to nobody none while there is one. */
import assert from 'node:assert/strict'
import { type Database, openDatabase } from '../../adapters/postgres/database.ts'
import { takeGroup } from '../../adapters/postgres/keys.ts'
import { DEFAULT_LIMITS } from '../../adapters/postgres/limits.ts'
import type { Keys, PrekeyBundle, SignedPrekey } from '../../core/ports.ts'
import { makeSchema, type Schema } from './postgres-scene.ts'

const USER = new Uint8Array(16).fill(1)
const KEYS = 1_000
const numbers = (count: number) => Array.from({ length: count }, (_, i) => i + 1)
const prekey = (id: number, size: number): SignedPrekey => {
  const key = new Uint8Array(size)
  new DataView(key.buffer).setUint32(1, id)
  return { id, key, signature: new Uint8Array(64) }
}
const stock = (from: number, count: number) => ({
  signedPrekey: prekey(from, 33),
  lastResortPrekey: prekey(0xffff_ffff, 1_569),
  oneTimePrekeys: numbers(count).map((n) => prekey(from + n, 33)),
  oneTimeKemPrekeys: numbers(count).map((n) => prekey(from + n, 1_569)),
})
const idsOf = (bundles: readonly (PrekeyBundle | undefined)[]) => bundles.map((bundle) => bundle?.oneTimePrekey?.id)
const rising = (ids: readonly (number | undefined)[]) => [...ids].sort((a, b) => (a ?? 0) - (b ?? 0))

describe('takes on PostgreSQL', () => {
  let schema: Schema
  let keys: Keys
  const open: Database[] = []
  beforeEach(async () => {
    schema = await makeSchema()
    const store = await schema.open()
    keys = store.keys
    const devices = ['phone', 'desk'].map((id, i) => {
      return { id, user: USER, number: i + 1, registrationId: 1, numbered: false, tokenHash: new Uint8Array(32) }
    })
    await store.directory.create([{ user: USER, kind: 'person', handle: undefined, owner: undefined }], devices)
    for (const { id } of devices) await keys.put(id, stock(0, KEYS))
  })
  afterEach(async () => {
    for (const database of open.splice(0)) await database.close()
    await schema.drop()
  })
  function connections(count: number): Database {
    const limits = { ...DEFAULT_LIMITS, connectionsMax: count, connectMs: 15_000 }
    const database = openDatabase(schema.url, limits, () => undefined)
    open.push(database)
    return database
  }
  const one = async (database: Database) => (await takeGroup(database, [{ device: 'phone', spend: true }]))[0]

  it('give a thousand keys to a thousand takers over 32 connections', async () => {
    const database = connections(32)
    const bundles = await Promise.all(numbers(KEYS).map(() => one(database)))
    assert.equal(database.facts().connections, 32)
    assert.deepEqual(rising(idsOf(bundles)), numbers(KEYS))
    assert.deepEqual(rising(bundles.map((bundle) => bundle?.kemPrekey.id)), numbers(KEYS))
    // Each count is told once: none of those at which a device is warned is passed by.
    assert.deepEqual(rising(bundles.map((bundle) => (bundle?.left.ec ?? -1) + 1)), numbers(KEYS))
    assert.deepEqual(await keys.count('phone'), { ec: 0, kem: 0 })
  })

  it('give a thousand keys to 1,600 takers of eight processes, and the last-resort key to the others', async () => {
    const stores = await Promise.all(numbers(8).map(() => schema.open({ limits: { connectionsMax: 2 } })))
    const take = async (n: number) => (await stores[n % 8]?.keys.take([{ device: 'phone', spend: true }]))?.[0]
    const bundles = await Promise.all(numbers(1_600).map(take))
    const ids = idsOf(bundles)
    assert.deepEqual(rising(ids.filter((id) => id !== undefined)), numbers(KEYS))
    const without = bundles.filter((bundle) => bundle?.oneTimePrekey === undefined)
    assert.equal(without.length, 600)
    assert.ok(without.every((bundle) => bundle?.kemPrekey.id === 0xffff_ffff))
  })

  it('of several devices in any order never wait in a circle', async () => {
    const database = connections(16)
    const both = ['phone', 'desk'].map((device) => ({ device, spend: true }))
    const turns = numbers(400).map((n) => takeGroup(database, n % 2 === 0 ? both : [...both].reverse()))
    const bundles = (await Promise.all(turns)).flat()
    assert.deepEqual(
      rising(idsOf(bundles)),
      numbers(400).flatMap((n) => [n, n]),
    )
  })

  it('find a set whole while another process replaces it over and over', async () => {
    const database = connections(8)
    let isOver = false
    const puts = (async () => {
      for (let round = 1; round <= 20; round++) await keys.put('phone', stock(round * 100_000, 50))
      isOver = true
    })()
    const bundles: (PrekeyBundle | undefined)[] = []
    while (!isOver) bundles.push(...(await Promise.all(numbers(8).map(() => one(database)))))
    await puts
    for (const bundle of bundles) {
      const from = bundle?.signedPrekey.id ?? -1
      const { oneTimePrekey, kemPrekey } = bundle as PrekeyBundle
      // Eight at a time may use up the fifty of a set; then there is none, never one of another set.
      if (oneTimePrekey !== undefined) assert.equal(Math.floor((oneTimePrekey.id - 1) / 100_000), from / 100_000)
      assert.equal(oneTimePrekey === undefined, kemPrekey.id === 0xffff_ffff)
    }
    const spent = idsOf(bundles).filter((id) => id !== undefined)
    assert.equal(new Set(spent).size, spent.length)
    assert.ok(new Set(bundles.map((bundle) => bundle?.signedPrekey.id)).size > 2)
  })
})
