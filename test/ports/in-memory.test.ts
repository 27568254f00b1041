/** What holds of the adapters in memory alone: their bounds. */
import assert from 'node:assert/strict'
import { createCodes } from '../../adapters/memory/codes.ts'
import { createJobs } from '../../adapters/memory/jobs.ts'
import { createLimiter } from '../../adapters/memory/limiter.ts'
import { jobsSuite } from './jobs.ts'

const HASH = new Uint8Array(32).fill(1)
const SECOND_MS = 1_000

describe('jobs in memory', () => {
  jobsSuite(async () => {
    const jobs = createJobs()
    return { jobs, close: () => jobs.close() }
  })
})

describe('codes in memory', () => {
  it('are so many at most: the oldest goes, and those that are over go first', async () => {
    let nowMs = 0
    const codes = createCodes(() => nowMs, 3)
    await codes.put('short', HASH, SECOND_MS)
    await codes.put('ann', HASH, 100 * SECOND_MS)
    await codes.put('bob', HASH, 100 * SECOND_MS)
    nowMs = 2 * SECOND_MS
    await codes.put('cem', HASH, 100 * SECOND_MS)
    assert.notEqual(await codes.spend('ann', HASH), undefined)
    await codes.put('dora', HASH, 100 * SECOND_MS)
    await codes.put('ed', HASH, 100 * SECOND_MS)
    assert.equal(await codes.spend('bob', HASH), undefined)
    for (const who of ['cem', 'dora', 'ed']) assert.notEqual(await codes.spend(who, HASH), undefined)
  })
})

describe('buckets in memory', () => {
  it('are so many at most: the one that was used longest ago is taken for full', async () => {
    const limiter = createLimiter(() => 0, 3)
    const take = (key: string) => limiter.take('asks', key, 1, SECOND_MS)
    for (const key of ['a', 'b', 'c']) assert.equal(await take(key), 0)
    for (const key of ['a', 'b', 'c']) assert.equal(await take(key), SECOND_MS)
    assert.equal(await take('d'), 0)
    for (const key of ['b', 'c', 'd']) assert.equal(await take(key), SECOND_MS)
    assert.equal(await take('a'), 0)
  })

  it('are forgotten when they are full again, so that those in use are kept', async () => {
    let nowMs = 0
    const limiter = createLimiter(() => nowMs, 3)
    const take = (key: string, everyMs: number) => limiter.take('asks', key, 1, everyMs)
    await take('short', SECOND_MS)
    await take('long', 100 * SECOND_MS)
    nowMs = 2 * SECOND_MS
    for (const key of ['x', 'y']) assert.equal(await take(key, 100 * SECOND_MS), 0)
    assert.notEqual(await take('long', 100 * SECOND_MS), 0)
  })
})
