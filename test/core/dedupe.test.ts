import assert from 'node:assert/strict'
import fc from 'fast-check'
import { judgeRequest, judgeRising } from '../../core/dedupe.ts'
import { VERDICT_AGAIN, VERDICT_BEHIND, VERDICT_FULL, VERDICT_NEW } from '../../core/envelope.ts'

interface Step {
  readonly stamp: number
  readonly hash: number
  readonly settles: boolean
}
const step: fc.Arbitrary<Step> = fc.record({
  stamp: fc.integer({ min: 1, max: 12 }),
  hash: fc.integer({ min: 1, max: 2 }),
  settles: fc.boolean(),
})

describe('the decision "sent before?"', () => {
  it('takes a stamp above the last one as new while records have room', () => {
    assert.equal(judgeRequest(11, 1, 10, undefined, 0, 4), VERDICT_NEW)
    assert.equal(judgeRequest(11, 1, 10, undefined, 3, 4), VERDICT_NEW)
    assert.equal(judgeRequest(11, 1, 10, undefined, 4, 4), VERDICT_FULL)
  })

  it('takes the same stamp as again only while its record waits with the same hash', () => {
    assert.equal(judgeRequest(10, 7, 10, 7, 1, 4), VERDICT_AGAIN)
    assert.equal(judgeRequest(10, 7, 10, 8, 1, 4), VERDICT_BEHIND)
    assert.equal(judgeRequest(10, 7, 10, undefined, 0, 4), VERDICT_BEHIND)
    assert.equal(judgeRequest(3, 7, 10, 7, 1, 4), VERDICT_AGAIN)
    assert.equal(judgeRequest(3, 7, 10, undefined, 1, 4), VERDICT_BEHIND)
  })

  it('recognises what waits even when no more may wait', () => {
    assert.equal(judgeRequest(10, 7, 10, 7, 4, 4), VERDICT_AGAIN)
  })

  it('stores no stamp twice, and no lower one later, whatever is sent and settled in whatever order', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 4 }), (steps, waitingMax) => {
        const waiting = new Map<number, number>()
        const stored: number[] = []
        for (const { stamp, hash, settles } of steps) {
          const last = stored.at(-1) ?? 0
          const verdict = judgeRequest(stamp, hash, last, waiting.get(stamp), waiting.size, waitingMax)
          if (verdict === VERDICT_NEW) {
            stored.push(stamp)
            waiting.set(stamp, hash)
          } else if (verdict === VERDICT_AGAIN) assert.equal(waiting.get(stamp), hash)
          if (settles) waiting.delete(stamp)
          assert.ok(waiting.size <= waitingMax)
        }
        assert.deepEqual(
          stored,
          [...new Set(stored)].sort((a, b) => a - b),
        )
      }),
    )
  })

  it('answers a number that is not above the last one as done', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 60 }), (numbers) => {
        let last = 0
        for (const number of numbers) {
          const verdict = judgeRising(number, last)
          assert.equal(verdict, number > last ? VERDICT_NEW : VERDICT_AGAIN)
          if (verdict === VERDICT_NEW) last = number
        }
        assert.equal(last, Math.max(0, ...numbers))
      }),
    )
  })
})
