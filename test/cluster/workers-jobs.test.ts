/** Queues of jobs on BullMQ: the conformance suite, and what only several processes can show. */
import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { createJobs } from '../../adapters/bullmq/jobs.ts'
import type { QueueRules } from '../../core/jobs.ts'
import { jobsSuite } from '../ports/jobs.ts'
import { openScene, redisUrl } from './redis-scene.ts'

const rules: QueueRules = { concurrency: 1, attemptsMax: 3, backoffMs: 20, waitingMax: 100, deadMax: 10 }
const HOLDER = fileURLToPath(new URL('./workers-holder.ts', import.meta.url))

describe('BullMQ', () => {
  jobsSuite(async () => {
    const scene = await openScene()
    const jobs = createJobs({ url: scene.url, prefix: scene.prefix })
    return {
      jobs,
      async close() {
        await jobs.close()
        await scene.close()
      },
    }
  })

  it('has one queue for all processes: a job waits once and runs once', async () => {
    const scene = await openScene()
    const [one, other] = [createJobs(scene), createJobs(scene)]
    const runs: string[] = []
    const queues = [one.queue('q', rules), other.queue('q', rules)] as const
    const [first, second] = queues
    for (const queue of queues) await queue.add({ id: 'a', data: 0 })
    assert.deepEqual(await second.counts(), { waiting: 1, dead: 0 })
    const { promise, resolve } = Promise.withResolvers<void>()
    const stops = [first, second].map((queue) =>
      queue.work(async ({ id }) => {
        runs.push(id)
        if (id === 'end') resolve()
      }),
    )
    await first.add({ id: 'end', data: 0 })
    await promise
    for (const stop of stops) await stop()
    assert.deepEqual(runs.sort(), ['a', 'end'])
    await Promise.all([one.close(), other.close()])
    await scene.close()
  })

  it('gives a job whose process was killed to another one, and what was added behind it too', async function () {
    this.timeout(60_000)
    const scene = await openScene()
    const holder = fork(HOLDER, [redisUrl(), scene.prefix], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    await once(holder, 'message')
    const jobs = createJobs(scene)
    const queue = jobs.queue('q', rules)
    await queue.add({ id: 'chain', data: 0 })
    assert.deepEqual(await once(holder, 'message'), [{ held: 0 }, undefined])
    await queue.add({ id: 'chain', data: 1 })
    holder.kill('SIGKILL')
    await once(holder, 'exit')
    const seen: unknown[] = []
    const { promise, resolve } = Promise.withResolvers<void>()
    const stop = queue.work(async ({ data }) => {
      seen.push(data)
      if (seen.length === 2) resolve()
    })
    await promise
    assert.deepEqual(seen, [0, 1])
    await stop()
    await jobs.close()
    await scene.close()
  })
})
