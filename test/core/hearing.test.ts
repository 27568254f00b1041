import assert from 'node:assert/strict'
import { createHearing, type Hearing } from '../../core/hearing.ts'
import { createHeldRows, heldLimits } from '../../core/held-rows.ts'
import { createLowWatermark, type LowWatermark } from '../../core/low-watermark.ts'
import { ROW_FRAME, type Row } from '../../core/ports.ts'

const row = (device: string, seq: number): Row => {
  const source = Buffer.from(`${seq}`)
  return { device, seq, sub: 0, kind: ROW_FRAME, peer: '', expiresMs: 0, source, start: 0, end: source.length }
}

describe('hearing', () => {
  /** `b 5`: sent to b without being read. `b reads`: its inbox is read up to the watermark. */
  let did: string[]
  let watermark: LowWatermark
  let hearing: Hearing
  let appended: (() => Promise<number>) | undefined
  const behind = new Set<string>()
  const wake = (device: string, { seq, source }: Row) => {
    did.push(source === undefined ? `${device} reads` : `${device} ${seq}`)
    return source === undefined ? ('woken' as const) : ('sent' as const)
  }

  beforeEach(() => {
    did = []
    behind.clear()
    watermark = createLowWatermark({ publish: () => Promise.resolve(0) })
    hearing = createHearing({
      held: createHeldRows(),
      watermark,
      claims: { wake },
      view: { sent: () => undefined, isBehind: (device) => behind.has(device) },
      appendedSeq: () => (appended === undefined ? Promise.reject(new Error('away')) : appended()),
      wakeAll: () => void did.push('all read'),
    })
  })
  afterEach(() => {
    hearing.stop()
    watermark.stop()
  })

  it('sends rows behind the watermark, in the order of their positions', () => {
    hearing.onRows([row('a', 5), row('a', 3), row('b', 9)])
    hearing.onWatermark(2)
    assert.deepEqual(did, [])
    hearing.onWatermark(5)
    assert.deepEqual(did, ['a 3', 'a 5'])
  })

  it('sends nothing from the loss of its connection on, until all that was appended before it heard again is read', async () => {
    let answer: (seq: number) => void = () => undefined
    appended = () =>
      new Promise((resolve) => {
        answer = resolve
      })
    hearing.onLost()
    // The driver may subscribe before we do: row 4 was told of before that, to nobody.
    hearing.onRows([row('a', 5)])
    hearing.onWatermark(5)
    hearing.onGap()
    hearing.onRows([row('a', 8)])
    hearing.onWatermark(8)
    answer(9)
    await Promise.resolve()
    assert.deepEqual(did, ['a reads', 'all read', 'a reads'])
    hearing.onRows([row('a', 11)])
    hearing.onWatermark(11)
    // Who reads comes first: row 9 was told of to nobody.
    assert.deepEqual(did.slice(3), ['all read', 'a 11'])
  })

  it('counts each loss once, however often it is said until it hears again', () => {
    appended = () => Promise.resolve(0)
    hearing.onLost()
    hearing.onLost()
    assert.equal(hearing.losses(), 1)
    hearing.onGap()
    hearing.onLost()
    assert.equal(hearing.losses(), 2)
  })

  it('forgets the answer of a gap when there is another one', async () => {
    const answers: ((seq: number) => void)[] = []
    appended = () => new Promise((resolve) => void answers.push(resolve))
    hearing.onGap()
    hearing.onGap()
    answers[0]?.(1)
    await Promise.resolve()
    hearing.onRows([row('a', 2)])
    hearing.onWatermark(2)
    assert.deepEqual(did, ['all read', 'all read', 'a reads'])
  })

  it('only wakes a device whose connection has not read what was there before it', () => {
    behind.add('a')
    hearing.onRows([row('a', 1), row('b', 2)])
    hearing.onWatermark(2)
    assert.deepEqual(did, ['a reads', 'b 2'])
  })
})

describe('rows that are held', () => {
  it('stop at the first one of a device that did not fit, which is read from there on', () => {
    const held = createHeldRows({ ...heldLimits, rowsMax: 2 })
    for (const seq of [1, 2, 3]) held.hold(row('a', seq))
    assert.deepEqual(
      held.take(1).map(({ seq, source }) => [seq, source !== undefined]),
      [[1, true]],
    )
    // There is room again, and still it may not be sent: 3 would be passed over.
    held.hold(row('a', 4))
    assert.deepEqual(
      held.take(3).map(({ seq, source }) => [seq, source !== undefined]),
      [
        [2, true],
        [3, false],
      ],
    )
    assert.deepEqual(
      held.take(4).map(({ seq, source }) => [seq, source !== undefined]),
      [[4, false]],
    )
    held.hold(row('a', 5))
    assert.equal(held.take(5)[0]?.source?.length, 1)
  })
})
