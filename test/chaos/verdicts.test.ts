/** The judges of `npm run chaos`: each of them says so when something is wrong. */
import assert from 'node:assert/strict'
import { createLane, type Lane, missing, onArrival } from '../flows/kill-lane.ts'
import type { TestDevice } from '../world/devices.ts'
import { bars, kindResult } from './report.ts'
import type { Outcome } from './rounds.ts'

const device = (id: string): TestDevice => ({
  ...{ id, token: '', kind: 'thing', user: new Uint8Array(16), number: 1, registrationId: 1 },
})

describe('the judges of chaos', () => {
  let lane: Lane
  beforeEach(() => {
    lane = createLane('numbered', device('a'), device('b'), false)
    for (let i = 0; i < 3; i++) lane.acked[i] = true
    lane.sent = 3
  })
  const arrives = (text: string, dup = false) => onArrival(lane, Buffer.from(text), dup)

  it('are content with what arrives once and in order, and with a resend that says so', () => {
    for (const text of ['0 b', '1 b', '2 b']) arrives(text)
    arrives('2 b', true)
    assert.deepEqual(lane.faults, [])
    assert.equal(missing(lane), 0)
  })

  it('call lost what was acknowledged and did not arrive, passed over or at the end', () => {
    assert.equal(missing(lane), 3)
    arrives('1 b')
    assert.equal(missing(lane), 2)
    lane.acked[2] = false
    assert.equal(missing(lane), 1)
  })

  it('call misordered, misdelivered and shown twice by their names', () => {
    arrives('1 b')
    arrives('0 b')
    assert.deepEqual(lane.counts, { misordered: 1, misdelivered: 0, shownTwice: 0 })
    arrives('2 c')
    arrives('1 b')
    assert.deepEqual(lane.counts, { misordered: 1, misdelivered: 1, shownTwice: 1 })
    assert.equal(lane.faults.length, 3)
  })

  const good: Outcome = {
    ...{
      kind: 'kill-worker',
      tookMs: 5_000,
      healMs: bars.healP99MsMax,
      goOnMs: bars.goOnMsMax,
      slowest: '',
      dropped: 0,
    },
    ...{ acked: 10, lost: 0, misordered: 0, misdelivered: 0, shownTwice: 0, failure: undefined },
  }

  it('pass a kind that reaches its bars in every round', () => {
    const result = kindResult('kill-worker', [good, { ...good, healMs: 1 }])
    assert.deepEqual(result.failures, [])
    assert.equal(result.isPassed, true)
    assert.deepEqual([result.acked, result.rounds, result.healP50Ms, result.healP99Ms], [20, 2, 1, bars.healP99MsMax])
  })

  const bad: Partial<Outcome>[] = [
    ...[{ lost: 1 }, { misordered: 1 }, { misdelivered: 1 }, { shownTwice: 1 }, { dropped: 1 }],
    ...[{ healMs: bars.healP99MsMax + 1 }, { goOnMs: bars.goOnMsMax + 1 }, { failure: 'it did not start' }],
  ]
  for (const each of bad) {
    it(`fail a kind of which one round has ${JSON.stringify(each)}`, () => {
      assert.equal(kindResult('kill-worker', [good, { ...good, ...each }]).isPassed, false)
    })
  }

  it('fail a kind that was not played', () => {
    assert.equal(kindResult('kill-worker', []).isPassed, false)
  })
})
