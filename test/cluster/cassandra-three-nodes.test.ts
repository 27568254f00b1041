/**
 * Three nodes, three copies, one of them killed and one stopped (D4). It starts the nodes itself, on 127.0.0.1 to
 * 127.0.0.3, and takes two minutes and 2 GiB: `npm run test:cluster` gives it a run of its own.
 */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { cassandraLimits } from '../../adapters/cassandra/driver.ts'
import { type InboxRows, type Row, StoreDownFault } from '../../core/ports.ts'
import { type CassandraService, startCassandra } from '../services/cassandra.ts'
import { openScene, row, type Scene, seqOnDay, textOfRow } from './cassandra-scene.ts'

const START_MS_MAX = 300_000
const TEST_MS_MAX = 300_000
const STOPPED_MS = 15_000
const ROWS = 2_000
const DEVICES = 20
const NEVER = Number.MAX_SAFE_INTEGER
/** A call's own bound, and what rounding adds. How late timers ran is measured beside it: a busy machine adds that. */
const CALL_MS_MAX = cassandraLimits.callTimeoutMs + 500
const TICK_MS = 50

interface Course {
  /** The longest call of all, how late a timer of this process ran at most, and how many calls were refused. */
  longestMs: number
  latestMs: number
  refused: number
  /** Up to which seq everything is applied: what a turn publishes. */
  watermark: number
  isDone: boolean
}

async function timed<T>(course: Course, call: () => Promise<T>): Promise<T | undefined> {
  const startedMs = performance.now()
  try {
    return await call()
  } catch (error) {
    assert.ok(error instanceof StoreDownFault, String(error))
    course.refused++
    return undefined
  } finally {
    course.longestMs = Math.max(course.longestMs, performance.now() - startedMs)
  }
}

/** A turn: entry after entry, each again until it is applied. */
async function applyAll(rows: InboxRows, course: Course, from: number, pauseMs: number): Promise<void> {
  for (let i = 0; i < ROWS; i += 10) {
    const entry = Array.from({ length: 10 }, (_, k) => row(`t${(i + k) % DEVICES}`, from + i + k, `${from + i + k}`))
    while ((await timed(course, () => rows.apply(entry).then(() => true))) !== true) await sleep(50)
    course.watermark = from + i + 9
    await sleep(pauseMs)
  }
  course.isDone = true
}

/** A pump: what is above the last row and not above the watermark, until all of it was read. */
async function readAll(rows: InboxRows, course: Course, device: string, from: number): Promise<Row[]> {
  const got: Row[] = []
  for (;;) {
    const { watermark, isDone } = course
    const last = got.at(-1)
    const next = await timed(course, () => rows.page(device, last?.seq ?? from - 1, 0, watermark, 100))
    got.push(...(next ?? []))
    if (isDone && next?.length === 0) return got
    if (!next?.length) await sleep(20)
  }
}

describe('three nodes of Cassandra', () => {
  let nodes: CassandraService
  let scene: Scene
  let from = seqOnDay(1)
  before(async function () {
    this.timeout(START_MS_MAX)
    // One that is quick does not flush its schema: killed, it would come back without tables and answer for them.
    nodes = await startCassandra({ nodes: 3, isFast: false })
    process.env['CASSANDRA_CONTACT_POINTS'] = nodes.contactPoints.join()
    scene = await openScene('three', { replication: 3 })
  })
  after(async function () {
    this.timeout(START_MS_MAX)
    await scene?.store.close()
    await scene?.client.shutdown()
    await nodes?.stop()
  })

  /** Applies and reads while `trouble` runs; then everything is there, once and in order. */
  async function throughTrouble(pauseMs: number, trouble: () => Promise<void>): Promise<Course> {
    const course: Course = { longestMs: 0, latestMs: 0, refused: 0, watermark: from - 1, isDone: false }
    const { rows } = scene.store
    const first = from
    from += 16_384 * 1_000
    const devices = Array.from({ length: DEVICES }, (_, i) => `t${i}`)
    let tickedMs = performance.now()
    const ticking = setInterval(() => {
      course.latestMs = Math.max(course.latestMs, performance.now() - tickedMs - TICK_MS)
      tickedMs = performance.now()
    }, TICK_MS)
    const [, , ...got] = await Promise.all([
      trouble(),
      applyAll(rows, course, first, pauseMs),
      ...devices.map((device) => readAll(rows, course, device, first)),
    ]).finally(() => clearInterval(ticking))
    for (const [i, each] of got.entries()) {
      const wanted = Array.from({ length: ROWS / DEVICES }, (_, k) => `${first + k * DEVICES + i}`)
      assert.deepEqual(each.map(textOfRow), wanted)
      const again = await rows.page(`t${i}`, first - 1, 0, first + ROWS, 1_000)
      assert.deepEqual(again.map(textOfRow), wanted)
    }
    console.log(`      ${course.refused} calls were refused; the longest took ${Math.round(course.longestMs)} ms`)
    // Three tries of a call wait for three timers.
    assert.ok(course.longestMs < CALL_MS_MAX + 3 * course.latestMs, `${course.longestMs} ms`)
    assert.equal(scene.store.down(), undefined)
    return course
  }

  it('lose nothing and go on while one of them is killed and comes back', async () => {
    await throughTrouble(50, async () => {
      await sleep(1_000)
      await nodes.kill(3)
      await sleep(5_000)
      await nodes.revive(3)
    })
  }).timeout(TEST_MS_MAX)

  it('lose nothing and go on while one of them is stopped', async () => {
    await throughTrouble(50, async () => {
      await sleep(1_000)
      nodes.pause(2)
      await sleep(STOPPED_MS)
      nodes.resume(2)
    })
  }).timeout(TEST_MS_MAX)

  it('refuse in time while two are away, and lose nothing of what they had', async () => {
    const course = await throughTrouble(10, async () => {
      await sleep(500)
      await nodes.kill(3)
      nodes.pause(2)
      await sleep(STOPPED_MS)
      nodes.resume(2)
      await nodes.revive(3)
    })
    assert.ok(course.refused > 0)
  }).timeout(TEST_MS_MAX)

  it('have everything that was applied when another one is away', async () => {
    const all = Array.from({ length: 500 }, (_, i) => row('kept', from + i))
    await nodes.kill(1)
    let isApplied = false
    while (!isApplied) {
      isApplied = await scene.store.rows.apply(all).then(
        () => true,
        () => false,
      )
    }
    await scene.store.rows.saveCursor('kept', { seq: from + 99, sub: 0, above: [{ seq: from + 101, sub: 0 }] })
    await nodes.revive(1)
    await nodes.kill(2)
    const course: Course = { longestMs: 0, latestMs: 0, refused: 0, watermark: NEVER, isDone: true }
    const got = await readAll(scene.store.rows, course, 'kept', 1)
    assert.deepEqual(
      got.map(({ seq }) => seq - from),
      Array.from({ length: 500 }, (_, i) => i).filter((i) => i > 99 && i !== 101),
    )
    await nodes.revive(2)
  }).timeout(TEST_MS_MAX)
})
