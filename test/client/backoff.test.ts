import assert from 'node:assert/strict'
import fc from 'fast-check'
import { createBackoff } from '../../client/transport/backoff.ts'

describe('the backoff', () => {
  const waits = (count: number, random: () => number): number[] => {
    const backoff = createBackoff(random)
    return Array.from({ length: count }, () => backoff.next())
  }

  it('doubles its ceiling from half a second to a minute', () => {
    assert.deepEqual(
      waits(9, () => 1),
      [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000],
    )
  })

  it('takes anything between nothing and the ceiling: full jitter', () => {
    assert.deepEqual(
      waits(3, () => 0),
      [0, 0, 0],
    )
    assert.deepEqual(
      waits(3, () => 0.5),
      [250, 500, 1_000],
    )
    const parts = new Set(waits(2_000, Math.random).map((wait) => Math.floor(wait / 15_000)))
    assert.deepEqual([...parts].sort(), [0, 1, 2, 3])
  })

  it('begins anew after a reset', () => {
    const backoff = createBackoff(() => 1)
    for (let i = 0; i < 5; i++) backoff.next()
    backoff.reset()
    assert.equal(backoff.next(), 500)
    assert.equal(backoff.next(), 1_000)
  })

  it('stays a whole number within its bounds, however often it is asked', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3_000 }), fc.double({ min: 0, max: 1, noNaN: true }), (count, value) => {
        const last = waits(count, () => value).at(-1) as number
        assert.ok(Number.isInteger(last) && last >= 0 && last <= 60_000, `${last}`)
      }),
    )
  })
})
