/** Conformance: what every adapter of the limiter port owes (core/ports.ts). */
import assert from 'node:assert/strict'
import type { Limiter } from '../../core/ports.ts'
import type { Opener, Opening } from './opener.ts'

const SECOND_MS = 1_000
/** Real time goes on while a test runs. */
const SLACK_MS = 900

/** Limiter of core/ports.ts: every sentence of its comments. */
export function limiterSuite(open: Opener): void {
  describe('Limiter', () => {
    let opening: Opening
    const limiter = (): Limiter => opening.ports.limiter
    const take = (key = 'ann', count?: number): Promise<number> => limiter().take('asks', key, 3, 10 * SECOND_MS, count)
    const isNear = (actual: number, expected: number): void =>
      assert.ok(actual <= expected && actual > expected - SLACK_MS, `${actual} ms, not ${expected}`)
    beforeEach(async () => {
      opening = await open()
    })
    afterEach(() => opening.close())

    it('gives what a bucket holds, then says how long it will be until there is enough', async () => {
      for (let i = 0; i < 3; i++) assert.equal(await take(), 0)
      isNear(await take(), 10 * SECOND_MS)
      isNear(await take('ann', 2), 20 * SECOND_MS)
    })

    it('takes nothing when it says no', async () => {
      for (let i = 0; i < 3; i++) await take()
      for (let i = 0; i < 5; i++) isNear(await take(), 10 * SECOND_MS)
      opening.clock.offsetMs += 10 * SECOND_MS
      assert.equal(await take(), 0)
      isNear(await take(), 10 * SECOND_MS)
    })

    it('tells the truth: after that time there is enough', async () => {
      assert.equal(await take('ann', 3), 0)
      const waitMs = await take('ann', 2)
      opening.clock.offsetMs += waitMs
      assert.equal(await take('ann', 2), 0)
      assert.notEqual(await take(), 0)
    })

    it('fills up to what a bucket holds and no further', async () => {
      await take('ann', 3)
      opening.clock.offsetMs += 3_600 * SECOND_MS
      assert.equal(await take('ann', 3), 0)
      assert.notEqual(await take(), 0)
    })

    it('has again what was given back, and no more than a bucket holds', async () => {
      const giveBack = (key: string, count?: number) => limiter().giveBack('asks', key, 10 * SECOND_MS, count)
      assert.equal(await take('ann', 3), 0)
      await giveBack('ann')
      assert.equal(await take(), 0)
      isNear(await take(), 10 * SECOND_MS)
      await giveBack('ann', 2)
      assert.equal(await take('ann', 2), 0)
      isNear(await take(), 10 * SECOND_MS)
      for (const key of ['ann', 'nobody']) {
        await giveBack(key, 9)
        assert.equal(await take(key, 3), 0)
        isNear(await take(key), 10 * SECOND_MS)
      }
      assert.equal(await take('bob', 3), 0)
      await giveBack('ann', 3)
      isNear(await take('bob'), 10 * SECOND_MS)
    })

    it('has a bucket for each name and key', async () => {
      await take('ann', 3)
      assert.equal(await take('bob', 3), 0)
      assert.equal(await limiter().take('other', 'ann', 3, SECOND_MS, 3), 0)
      assert.notEqual(await take('ann'), 0)
    })

    it('lets no more through when many ask at once', async () => {
      const waits = await Promise.all(Array.from({ length: 20 }, () => take()))
      assert.equal(waits.filter((ms) => ms === 0).length, 3)
    })
  })
}
