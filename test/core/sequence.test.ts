import assert from 'node:assert/strict'
import fc from 'fast-check'
import { isSeqAhead, nextSeq } from '../../core/sequence.ts'
import { SEQ_EPOCH_MS, SEQ_PER_MS, seqFromMs, seqToUnixMs } from '../../topics/ids.ts'

const MINUTE_MS = 60_000
const ms = fc.integer({ min: SEQ_EPOCH_MS, max: Date.UTC(2041, 11, 31) })
const seq = ms.map((at) => seqFromMs(at) + 5)

describe('a seq', () => {
  it('is above the last one, the time and what the sender holds, by no more than it has to', () => {
    fc.assert(
      fc.property(seq, ms, fc.oneof(fc.constant(0), seq), (last, now, after) => {
        const next = nextSeq(last, now, after)
        assert.ok(next > last && next > after && next >= seqFromMs(now))
        assert.ok(next === last + 1 || next === after + 1 || next === seqFromMs(now))
      }),
    )
  })

  it('rises whatever the clock does', () => {
    fc.assert(
      fc.property(fc.array(ms, { minLength: 2, maxLength: 50 }), (clock) => {
        let last = 0
        for (const now of clock) {
          const next = nextSeq(last, now, 0)
          assert.ok(next > last)
          last = next
        }
      }),
    )
  })

  it('is a safe integer that keeps its millisecond until 2042', () => {
    fc.assert(
      fc.property(ms, (now) => {
        const next = nextSeq(0, now, 0)
        assert.ok(Number.isSafeInteger(next))
        assert.equal(seqToUnixMs(next), now)
      }),
    )
  })

  it('has 16,384 numbers in each millisecond, and goes on into the next', () => {
    let last = nextSeq(0, SEQ_EPOCH_MS + 10, 0)
    const first = last
    for (let i = 1; i < SEQ_PER_MS; i++) last = nextSeq(last, SEQ_EPOCH_MS + 10, 0)
    assert.equal(seqToUnixMs(last), SEQ_EPOCH_MS + 10)
    assert.equal(last - first, SEQ_PER_MS - 1)
    assert.equal(seqToUnixMs(nextSeq(last, SEQ_EPOCH_MS + 10, 0)), SEQ_EPOCH_MS + 11)
  })

  it('is held ahead when it is more than the bound above both the clock and the last number', () => {
    const now = SEQ_EPOCH_MS + 1_000_000
    const bound = seqFromMs(now + MINUTE_MS)
    assert.equal(isSeqAhead(bound, 0, now, MINUTE_MS), false)
    assert.equal(isSeqAhead(bound + 1, 0, now, MINUTE_MS), true)
    const last = seqFromMs(now + 5 * MINUTE_MS)
    assert.equal(isSeqAhead(last + MINUTE_MS * SEQ_PER_MS, last, now, MINUTE_MS), false)
    assert.equal(isSeqAhead(last + MINUTE_MS * SEQ_PER_MS + 1, last, now, MINUTE_MS), true)
  })
})
