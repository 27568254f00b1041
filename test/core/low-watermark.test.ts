import assert from 'node:assert/strict'
import { createLowWatermark, type LowWatermark } from '../../core/low-watermark.ts'

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('the low watermark', () => {
  let published = 0
  let isDown = false
  let watermark: LowWatermark
  beforeEach(() => {
    published = 0
    isDown = false
    watermark = createLowWatermark({
      async publish() {
        published++
        if (isDown) throw new Error('away')
        return 15
      },
    })
  })
  afterEach(() => watermark.stop())

  it('is the highest that was heard', () => {
    assert.equal(watermark.value(), 0)
    for (const heard of [7, 10, 3]) watermark.hear(heard)
    assert.equal(watermark.value(), 10)
  })

  it('calls back at once for what can be read, and for the rest once, when it can', () => {
    watermark.hear(10)
    const called: number[] = []
    for (const seq of [5, 15, 25]) watermark.onceReadable(seq, () => called.push(seq))
    assert.deepEqual(called, [5])
    watermark.hear(15)
    assert.deepEqual(called, [5, 15])
    watermark.hear(30)
    watermark.hear(40)
    assert.deepEqual(called, [5, 15, 25])
  })

  it('is published here while somebody waits and nobody else does, also when the store was away', async () => {
    isDown = true
    let calls = 0
    watermark.onceReadable(15, () => calls++)
    while (published === 0) await turn()
    isDown = false
    const before = published
    while (published === before) await turn()
    watermark.hear(15)
    assert.equal(calls, 1)
  })

  it('calls nobody back once it is stopped', () => {
    let calls = 0
    watermark.onceReadable(15, () => calls++)
    watermark.stop()
    watermark.hear(15)
    assert.equal(calls, 0)
  })
})
