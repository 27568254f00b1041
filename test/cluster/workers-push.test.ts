/** Queues of a deployment: a worker process pushes, and its chains (retention, full inboxes) are there once. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createJobs } from '../../adapters/bullmq/jobs.ts'
import { queues } from '../../workers/index.ts'
import { attendAt, messages, send } from '../data-plane/scene.ts'
import { startWorker, type WorkerProcess } from '../workers/worker-process.ts'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import { type ServerProcess, spawnServer } from '../world/process.ts'
import { makeDeployment } from '../world/profile.ts'
import { until } from './redis-scene.ts'

describe('the queues of a deployment', function () {
  this.timeout(60_000)
  let folder: string
  let env: Record<string, string>
  let broker: ServerProcess
  let workers: WorkerProcess[]
  const clients: Client[] = []
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'heliograph-push-'))
    env = await makeDeployment()
    broker = await spawnServer(folder, { ...env, WORKERS_INLINE: 'no' })
    const spawn = (name: string) => startWorker({ ...env, DATA_DIR: folder, NODE_NAME: name })
    workers = await Promise.all([spawn('one'), spawn('two')])
  })
  after(async () => {
    for (const client of clients) client.destroy()
    for (const worker of workers) worker.signal('SIGKILL')
    await Promise.all(workers.map(({ ended }) => ended))
    await broker.kill()
    rmSync(folder, { recursive: true, force: true })
  })
  async function attend(device: TestDevice): Promise<Client> {
    const client = await attendAt(broker.port, device)
    clients.push(client)
    return client
  }
  const pushes = (): unknown[] =>
    workers.flatMap(({ output }) =>
      output()
        .split('\n')
        .filter((line) => line.includes('a push was not sent but written here'))
        .map((line) => {
          const { device, waiting } = JSON.parse(line) as Record<string, unknown>
          return { device, waiting }
        }),
    )

  it('pushes to who is connected to no broker, once for what came together', async () => {
    const [alice, bob, carol] = [
      await broker.devices.person('alice'),
      await broker.devices.person('bob'),
      await broker.devices.person('carol'),
    ]
    const [from, here] = [await attend(alice), await attend(carol)]
    for (let i = 0; i < 5; i++) await send(from, alice, [carol])
    await here.until(() => messages(here).length === 5, 'what is delivered')
    await send(from, alice, [bob])
    await until(() => pushes().length > 0, 'a push')
    for (let i = 0; i < 5; i++) await send(from, alice, [bob])
    const to = await attend(bob)
    await to.until(() => messages(to).length === 6, 'what waited')
    // Two workers may have written the first row and a later one.
    assert.ok(pushes().length <= 2, JSON.stringify(pushes()))
    assert.deepEqual(pushes()[0], { device: 'bob', waiting: 1 })
  })

  it('has each chain once, however many workers there are, and keeps it when one is killed', async () => {
    const jobs = createJobs({ url: env['REDIS_URL'] as string, prefix: env['REDIS_PREFIX'] as string })
    const [retention, full] = [
      jobs.queue('retention', queues.retention.rules),
      jobs.queue('full', queues.full.rules),
    ] as const
    const isWaitingOnce = async () =>
      (await Promise.all([retention.counts(), full.counts()])).every(({ waiting, dead }) => waiting === 1 && dead === 0)
    await until(isWaitingOnce, 'both chains')
    const [first] = workers as [WorkerProcess]
    first.signal('SIGKILL')
    await first.ended
    await until(isWaitingOnce, 'both chains again')
    await jobs.close()
  })
})
