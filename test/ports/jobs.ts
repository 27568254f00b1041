/** Conformance: what every adapter of the job port owes (core/jobs.ts). */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import type { Job, JobQueue, Jobs, QueueRules } from '../../core/jobs.ts'

export interface JobsOpening {
  readonly jobs: Jobs
  close(): Promise<void>
}

const rules: QueueRules = { concurrency: 2, attemptsMax: 3, backoffMs: 20, waitingMax: 5, deadMax: 2 }

/** What was run, in order; `until` resolves when so many were. */
function recorder() {
  const runs: Job[] = []
  const target = new EventTarget()
  return {
    runs,
    note(job: Job) {
      runs.push({ id: job.id, data: job.data })
      target.dispatchEvent(new Event('run'))
    },
    async until(count: number): Promise<Job[]> {
      while (runs.length < count) await once(target, 'run')
      return runs
    },
  }
}

/** A promise and how to fulfil it. */
function gate(): { readonly open: () => void; readonly opened: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { open: () => resolve(), opened: promise }
}

/** Jobs of core/jobs.ts: every sentence of its comments that one process can show. */
export function jobsSuite(open: () => Promise<JobsOpening>): void {
  describe('Jobs', () => {
    let opening: JobsOpening
    let stops: (() => Promise<void>)[]
    let queue: JobQueue
    beforeEach(async () => {
      opening = await open()
      stops = []
      queue = opening.jobs.queue('q', rules)
    })
    afterEach(async () => {
      for (const stop of stops) await stop()
      await opening.close()
    })
    const work = (run: (job: Job) => Promise<void>, of = queue): (() => Promise<void>) => {
      const stop = of.work(run)
      stops.push(stop)
      return stop
    }
    /** Resolves when the queue says so. */
    async function counted(wanted: { waiting: number; dead: number }): Promise<void> {
      const deadline = performance.now() + 8_000
      for (;;) {
        const counts = await queue.counts()
        if (counts.waiting === wanted.waiting && counts.dead === wanted.dead) return
        if (performance.now() > deadline) assert.deepEqual(counts, wanted)
        await delay(5)
      }
    }

    it('run what was added before somebody works, and after, with its data', async () => {
      const seen = recorder()
      assert.equal(await queue.add({ id: 'a', data: { n: 1 } }), true)
      work(async (job) => seen.note(job))
      await seen.until(1)
      await queue.add({ id: 'b', data: ['x', null] })
      assert.deepEqual(await seen.until(2), [
        { id: 'a', data: { n: 1 } },
        { id: 'b', data: ['x', null] },
      ])
      await counted({ waiting: 0, dead: 0 })
    })

    it('are kept apart by queue', async () => {
      const [seen, other] = [recorder(), recorder()]
      const second = opening.jobs.queue('r', rules)
      work(async (job) => seen.note(job))
      work(async (job) => other.note(job), second)
      await second.add({ id: 'a', data: 2 })
      await queue.add({ id: 'a', data: 1 })
      assert.deepEqual(await seen.until(1), [{ id: 'a', data: 1 }])
      assert.deepEqual(await other.until(1), [{ id: 'a', data: 2 }])
    })

    it('of one id wait once: the first that was added', async () => {
      const seen = recorder()
      for (const n of [1, 2, 3]) assert.equal(await queue.add({ id: 'a', data: n }), true)
      await counted({ waiting: 1, dead: 0 })
      await queue.add({ id: 'b', data: 4 })
      work(async (job) => seen.note(job))
      await seen.until(2)
      await counted({ waiting: 0, dead: 0 })
      assert.deepEqual(
        seen.runs.map(({ data }) => data),
        [1, 4],
      )
    })

    it('of one id that is running wait behind it: the last that was added', async () => {
      const seen = recorder()
      const held = gate()
      let running = 0
      work(async (job) => {
        seen.note(job)
        assert.equal(++running, 1)
        if (job.data === 1) await held.opened
        running--
      })
      await queue.add({ id: 'a', data: 1 })
      await seen.until(1)
      for (const n of [2, 3]) await queue.add({ id: 'a', data: n })
      held.open()
      await seen.until(2)
      await counted({ waiting: 0, dead: 0 })
      assert.deepEqual(
        seen.runs.map(({ data }) => data),
        [1, 3],
      )
      // And then it is free again.
      await queue.add({ id: 'a', data: 4 })
      await seen.until(3)
    })

    it('may add themselves again with a delay: a chain', async () => {
      const seen = recorder()
      let lastMs = 0
      const gaps: number[] = []
      work(async (job) => {
        const now = performance.now()
        if (lastMs > 0) gaps.push(now - lastMs)
        lastMs = now
        seen.note(job)
        if ((job.data as number) < 3) await queue.add({ id: 'a', data: (job.data as number) + 1, delayMs: 40 })
      })
      await queue.add({ id: 'a', data: 0 })
      await seen.until(4)
      assert.deepEqual(
        seen.runs.map(({ data }) => data),
        [0, 1, 2, 3],
      )
      // Timers may fire a millisecond early.
      for (const gap of gaps) assert.ok(gap >= 38, `${gap} ms`)
    })

    it('that throw are tried so often and no more, then they are dead, with their reason', async () => {
      const seen = recorder()
      work(async (job) => {
        seen.note(job)
        if (job.id === 'bad') throw new Error(`no ${seen.runs.length}`)
      })
      await queue.add({ id: 'bad', data: 1 })
      await seen.until(3)
      await counted({ waiting: 0, dead: 1 })
      assert.deepEqual(await queue.dead(9), [{ id: 'bad', reason: 'no 3' }])
      await queue.add({ id: 'good', data: 2 })
      await seen.until(4)
      assert.equal(opening.jobs.facts().jobsFailed, 3)
      // Its id is free.
      await queue.add({ id: 'bad', data: 3 })
      await seen.until(7)
      await counted({ waiting: 0, dead: 2 })
      const deadline = performance.now() + 8_000
      while (opening.jobs.dead()['q'] !== 2 && performance.now() < deadline) await delay(5)
      assert.deepEqual(opening.jobs.dead(), { q: 2 })
    })

    it('that succeed at the second attempt are not dead', async () => {
      const seen = recorder()
      work(async (job) => {
        seen.note(job)
        if (seen.runs.length === 1) throw new Error('not yet')
      })
      await queue.add({ id: 'a', data: 1 })
      assert.deepEqual(await seen.until(2), [
        { id: 'a', data: 1 },
        { id: 'a', data: 1 },
      ])
      await counted({ waiting: 0, dead: 0 })
    })

    it('that are dead are so many at most: the oldest go', async () => {
      work(async ({ id }) => {
        throw new Error(id)
      })
      for (const id of ['a', 'b', 'c']) {
        const before = await queue.dead(9)
        await queue.add({ id, data: 0 })
        while ((await queue.dead(1))[0]?.id !== id) await delay(5)
        assert.ok(before.length <= rules.deadMax)
      }
      const dead = await queue.dead(9)
      assert.deepEqual(
        dead.map(({ id }) => id),
        ['c', 'b'],
      )
      assert.deepEqual(await queue.dead(1), [{ id: 'c', reason: 'c' }])
    })

    it('run so many at one time', async () => {
      const held = gate()
      const seen = recorder()
      let most = 0
      let running = 0
      work(async (job) => {
        most = Math.max(most, ++running)
        seen.note(job)
        await held.opened
        running--
      })
      for (const id of ['a', 'b', 'c', 'd']) await queue.add({ id, data: 0 })
      await seen.until(2)
      await counted({ waiting: 2, dead: 0 })
      held.open()
      await seen.until(4)
      assert.equal(most, 2)
    })

    it('wait so many at most: one more is not added, and counted', async () => {
      for (let i = 0; i < rules.waitingMax; i++) assert.equal(await queue.add({ id: `${i}`, data: 0 }), true)
      assert.equal(await queue.add({ id: 'more', data: 0 }), false)
      await counted({ waiting: rules.waitingMax, dead: 0 })
      const { jobsAdded, jobsRefused } = opening.jobs.facts()
      assert.deepEqual([jobsAdded, jobsRefused], [rules.waitingMax, 1])
    })

    it('under way end before stopping does, and none is begun after it', async () => {
      const held = gate()
      const seen = recorder()
      const stop = work(async (job) => {
        seen.note(job)
        await held.opened
      })
      for (const id of ['a', 'b', 'c']) await queue.add({ id, data: 0 })
      await seen.until(2)
      let isStopped = false
      const stopped = stop().then(() => {
        isStopped = true
      })
      await delay(50)
      assert.equal(isStopped, false)
      held.open()
      await stopped
      assert.equal(seen.runs.length, 2)
      await counted({ waiting: 1, dead: 0 })
    })
  })
}
