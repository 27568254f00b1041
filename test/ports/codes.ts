/** Conformance: what every adapter of the codes port owes (core/ports.ts). */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { SpentCode } from '../../core/people.ts'
import type { Codes } from '../../core/ports.ts'
import { limits } from '../../topics/limits.ts'
import type { Opener, Opening } from './opener.ts'

const hashOf = (text: string): Uint8Array => createHash('sha256').update(text).digest()
const MINUTE_MS = 60_000

/** Codes of core/ports.ts: every sentence of its comments. */
export function codesSuite(open: Opener): void {
  describe('Codes', () => {
    let opening: Opening
    const codes = (): Codes => opening.ports.codes
    const inAMinute = (): number => Date.now() + opening.clock.offsetMs + MINUTE_MS
    const isGood = async (phoneKey: string, hash: Uint8Array): Promise<boolean> =>
      (await codes().spend(phoneKey, hash)) !== undefined
    beforeEach(async () => {
      opening = await open()
    })
    afterEach(() => opening.close())

    it('are spent once', async () => {
      await codes().put('ann', hashOf('123456'), inAMinute())
      assert.equal(await isGood('ann', hashOf('123456')), true)
      assert.equal(await isGood('ann', hashOf('123456')), false)
    })

    it('are spent once by many at the same time', async () => {
      await codes().put('ann', hashOf('123456'), inAMinute())
      const spent = await Promise.all(Array.from({ length: 4 }, () => codes().spend('ann', hashOf('123456'))))
      assert.equal(spent.filter((each) => each !== undefined).length, 1)
    })

    it('are of one number', async () => {
      await codes().put('ann', hashOf('123456'), inAMinute())
      assert.equal(await isGood('bob', hashOf('123456')), false)
      assert.equal(await isGood('ann', hashOf('654321')), false)
      assert.equal(await isGood('ann', new Uint8Array(0)), false)
      assert.equal(await isGood('nobody', new Uint8Array(32)), false)
      assert.equal(await isGood('ann', hashOf('123456')), true)
    })

    it('replace the one before', async () => {
      await codes().put('ann', hashOf('111111'), inAMinute())
      await codes().put('ann', hashOf('222222'), inAMinute())
      assert.equal(await isGood('ann', hashOf('111111')), false)
      assert.equal(await isGood('ann', hashOf('222222')), true)
    })

    it('are over when their time is', async () => {
      await codes().put('ann', hashOf('123456'), inAMinute())
      opening.clock.offsetMs += MINUTE_MS
      assert.equal(await isGood('ann', hashOf('123456')), false)
      opening.clock.offsetMs -= MINUTE_MS
      assert.equal(await isGood('ann', hashOf('123456')), false)
    })

    for (const wrong of [limits.codeTriesMax - 1, limits.codeTriesMax]) {
      it(`${wrong < limits.codeTriesMax ? 'bear' : 'do not bear'} ${wrong} wrong tries`, async () => {
        await codes().put('ann', hashOf('123456'), inAMinute())
        for (let i = 0; i < wrong; i++) assert.equal(await isGood('ann', hashOf(`wrong ${i}`)), false)
        assert.equal(await isGood('ann', hashOf('123456')), wrong < limits.codeTriesMax)
      })
    }

    it('say what they had left when they were spent, and are given back so: no try more, no ms longer', async () => {
      const expiresMs = inAMinute()
      await codes().put('ann', hashOf('123456'), expiresMs)
      await isGood('ann', hashOf('wrong'))
      const spent = (await codes().spend('ann', hashOf('123456'))) as SpentCode
      assert.deepEqual(spent, { expiresMs, triesLeft: limits.codeTriesMax - 1 })
      await codes().giveBack('ann', hashOf('123456'), spent)
      assert.deepEqual(await codes().spend('ann', hashOf('123456')), spent)
      await codes().giveBack('ann', hashOf('123456'), spent)
      for (let i = 1; i < limits.codeTriesMax; i++) await isGood('ann', hashOf('wrong'))
      assert.equal(await isGood('ann', hashOf('123456')), false)
    })

    it('are over at the same time after they were given back', async () => {
      await codes().put('ann', hashOf('123456'), inAMinute())
      const spent = (await codes().spend('ann', hashOf('123456'))) as SpentCode
      opening.clock.offsetMs += MINUTE_MS - 1_000
      await codes().giveBack('ann', hashOf('123456'), spent)
      opening.clock.offsetMs += 1_000
      assert.equal(await isGood('ann', hashOf('123456')), false)
    })

    it('are not given back over another one that was put meanwhile', async () => {
      await codes().put('ann', hashOf('111111'), inAMinute())
      const spent = (await codes().spend('ann', hashOf('111111'))) as SpentCode
      await codes().put('ann', hashOf('222222'), inAMinute())
      await codes().giveBack('ann', hashOf('111111'), spent)
      assert.equal(await isGood('ann', hashOf('111111')), false)
      assert.equal(await isGood('ann', hashOf('222222')), true)
    })

    it('have new tries with a new code', async () => {
      for (let round = 0; round < 2; round++) {
        await codes().put('ann', hashOf('123456'), inAMinute())
        for (let i = 1; i < limits.codeTriesMax; i++) await codes().spend('ann', hashOf('wrong'))
      }
      assert.equal(await isGood('ann', hashOf('123456')), true)
    })
  })
}
