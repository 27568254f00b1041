/** Codes, links and buckets on Redis: the suites that the adapters in memory pass, and their bounds. */
import assert from 'node:assert/strict'
import type { Ports } from '../../core/ports.ts'
import { codesSuite } from '../ports/codes.ts'
import { limiterSuite } from '../ports/limiter.ts'
import { linksSuite } from '../ports/links.ts'
import type { Opening } from '../ports/opener.ts'
import { openScene, type Scene } from './redis-scene.ts'

const HASH = new Uint8Array(32).fill(1)
const SECOND_MS = 1_000

/** The server's clock cannot be moved: what is added to it can. */
async function openOnRedis(): Promise<Opening> {
  const scene = await openScene()
  const clock = { offsetMs: 0 }
  const { codes, links, limiter } = await scene.node({ clockOffsetMs: () => clock.offsetMs })
  const other = async (): Promise<void> => assert.fail('these suites do not do that')
  return {
    ports: { codes, links, limiter } as unknown as Ports,
    pendingMarks: [],
    clock,
    facts: () => ({}),
    commit: other,
    age: other,
    reopen: other,
    crash: other,
    close: () => scene.close(),
  }
}

describe('the adapters on Redis', () => {
  codesSuite(openOnRedis)
  linksSuite(openOnRedis)
  limiterSuite(openOnRedis)
})

describe('bounds on Redis', () => {
  let scene: Scene
  let offsetMs = 0
  beforeEach(async () => {
    offsetMs = 0
    scene = await openScene()
  })
  afterEach(() => scene.close())

  it('of codes: so many at most, the oldest goes, and those that are over go first', async () => {
    const { codes } = await scene.node({ codesMax: 3, clockOffsetMs: () => offsetMs })
    const inSeconds = (count: number) => Date.now() + count * SECOND_MS
    await codes.put('short', HASH, inSeconds(1))
    await codes.put('ann', HASH, inSeconds(100))
    await codes.put('bob', HASH, inSeconds(100))
    offsetMs = 2 * SECOND_MS
    await codes.put('cem', HASH, inSeconds(100))
    assert.ok(await codes.spend('ann', HASH))
    await codes.put('dora', HASH, inSeconds(100))
    await codes.put('ed', HASH, inSeconds(100))
    assert.equal(await codes.spend('bob', HASH), undefined)
    for (const who of ['cem', 'dora', 'ed']) assert.ok(await codes.spend(who, HASH))
  })

  it('of codes: what is over leaves the server by itself', async () => {
    const { codes } = await scene.node()
    await codes.put('ann', HASH, Date.now() + 60 * SECOND_MS)
    const ttlMs = await scene.redis.pttl(`${scene.prefix}{codes}:of:ann`)
    assert.ok(ttlMs > 50 * SECOND_MS && ttlMs <= 60 * SECOND_MS, `${ttlMs} ms`)
  })

  it('of buckets: so many at most, and what is full again is forgotten', async () => {
    const { limiter } = await scene.node({ bucketsMax: 3, clockOffsetMs: () => offsetMs })
    const take = (key: string, everyMs = 100 * SECOND_MS) => limiter.take('asks', key, 1, everyMs)
    const count = () => scene.redis.zcard(`${scene.prefix}buckets`)
    for (const key of ['a', 'b', 'c']) assert.equal(await take(key), 0)
    assert.equal(await take('d'), 0)
    assert.equal(await count(), 3)
    for (const key of ['b', 'c', 'd']) assert.notEqual(await take(key), 0)
    offsetMs = 200 * SECOND_MS
    assert.equal(await take('e'), 0)
    assert.equal(await count(), 1)
  })

  it('are shared: what one node takes or spends is gone for another', async () => {
    const [one, other] = [await scene.node(), await scene.node()]
    await one.codes.put('ann', HASH, Date.now() + SECOND_MS * 60)
    const spent = await Promise.all([one.codes.spend('ann', HASH), other.codes.spend('ann', HASH)])
    assert.equal(spent.filter((each) => each !== undefined).length, 1)
    assert.equal(await one.limiter.take('asks', 'ann', 1, SECOND_MS), 0)
    assert.notEqual(await other.limiter.take('asks', 'ann', 1, SECOND_MS), 0)
    await one.links.open('box', Date.now() + SECOND_MS * 60)
    const waiting = other.links.read('box', 10 * SECOND_MS)
    assert.equal(await one.links.put('box', new Uint8Array([7])), true)
    assert.deepEqual(await waiting, new Uint8Array([7]))
  })
})
