import assert from 'node:assert/strict'
import { createLowWatermark, type LowWatermark } from '../../core/low-watermark.ts'
import type { EntryLog } from '../../core/ports.ts'

const SHARDS = 3
const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('the low watermark', () => {
  /** By shard. */
  const published = [0, 0, 0]
  let asked = 0
  let isDown = false
  /** An asking waits for it. */
  let gate: Promise<void> = Promise.resolve()
  let watermark: LowWatermark
  beforeEach(() => {
    published.fill(10)
    asked = 0
    isDown = false
    gate = Promise.resolve()
    const publish = async (shard: number) => {
      if (shard === 0) asked++
      const now = published[shard] as number
      await gate
      if (isDown) throw new Error('away')
      return now
    }
    watermark = createLowWatermark({ publish } as unknown as EntryLog, SHARDS)
  })
  afterEach(() => watermark.stop())

  it('is the least of all shards, and only rises', async () => {
    published[1] = 7
    assert.equal(await watermark.refresh(), 7)
    published[1] = 12
    assert.equal(await watermark.refresh(), 10)
    published[2] = 3
    assert.equal(await watermark.refresh(), 10)
    assert.equal(watermark.value(), 10)
  })

  it('is asked for once by all who ask while an asking is under way, and that one began after them', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    gate = promise
    const first = watermark.refresh()
    published.fill(20)
    const others = [watermark.refresh(), watermark.refresh(), watermark.refresh()]
    resolve()
    assert.equal(await first, 10)
    assert.deepEqual(await Promise.all(others), [20, 20, 20])
    assert.equal(asked, 2)
  })

  it('calls back at once for what can be read, and for the rest once, when it can', async () => {
    await watermark.refresh()
    const called: number[] = []
    for (const seq of [5, 15, 25]) watermark.onceReadable(seq, () => called.push(seq))
    assert.deepEqual(called, [5])
    published.fill(15)
    await watermark.refresh()
    assert.deepEqual(called, [5, 15])
    published.fill(30)
    await watermark.refresh()
    await watermark.refresh()
    assert.deepEqual(called, [5, 15, 25])
  })

  it('asks by itself while somebody waits, also when the store was away, and not when nobody does', async () => {
    isDown = true
    const { promise, resolve } = Promise.withResolvers<void>()
    watermark.onceReadable(15, resolve)
    while (asked === 0) await turn()
    isDown = false
    published.fill(15)
    await promise
    await turn()
    const before = asked
    for (let i = 0; i < 50; i++) await turn()
    assert.equal(asked, before)
  })

  it('calls nobody back once it is stopped', async () => {
    let calls = 0
    watermark.onceReadable(15, () => calls++)
    watermark.stop()
    published.fill(15)
    await watermark.refresh()
    assert.equal(calls, 0)
  })
})
