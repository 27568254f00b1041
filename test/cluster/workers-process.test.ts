/**
 * `npm run worker` as processes beside a broker that takes no turns: they share the shards, and what one had when it
 * was stopped or killed goes to the other. Load runs meanwhile; everything arrives, in order, once.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import {
  connectRecipient,
  connectSender,
  createLane,
  type Lane,
  type Path,
  settled,
  startLoad,
} from '../flows/kill-lane.ts'
import { startWorker, type WorkerProcess } from '../workers/worker-process.ts'
import { type ServerProcess, spawnServer } from '../world/process.ts'
import { makeDeployment } from '../world/profile.ts'

const LOAD_MS = 400
/** A worker's lock, the look for such locks, and what gathered meanwhile, on a machine that does other things too. */
const GO_ON_MS_MAX = 15_000

describe('workers beside a broker', function () {
  this.timeout(90_000)
  let folder: string
  let env: Record<string, string>
  let broker: ServerProcess
  let workers: WorkerProcess[]
  let lanes: Lane[]

  const spawnWorker = () => startWorker({ ...env, DATA_DIR: folder })

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'heliograph-workers-'))
    env = await makeDeployment()
    broker = await spawnServer(folder, { ...env, WORKERS_INLINE: 'no' })
    lanes = []
    for (const path of ['numbered', 'request'] as const satisfies readonly Path[]) {
      for (let i = 0; i < 2; i++) {
        const make = path === 'request' ? broker.devices.person : broker.devices.thing
        lanes.push(createLane(path, await make(`s${lanes.length}`), await make(`r${lanes.length}`), false))
      }
    }
    workers = []
    for (const lane of lanes) {
      await connectRecipient(lane, broker.port)
      await connectSender(lane, broker.port)
    }
  })
  after(async () => {
    for (const { sender, recipient } of lanes) {
      sender?.destroy()
      recipient?.destroy()
    }
    for (const worker of workers) worker.signal('SIGKILL')
    await Promise.all(workers.map(({ ended }) => ended))
    await broker.kill()
    rmSync(folder, { recursive: true, force: true })
  })

  const arrived = (): number => lanes.reduce((sum, lane) => sum + lane.arrived, 0)

  /** Load on all lanes while `fault` happens. Everything sent arrives. */
  async function underLoad(fault: () => Promise<void>): Promise<void> {
    for (const lane of lanes) startLoad(lane)
    await delay(LOAD_MS)
    await fault()
    for (const lane of lanes) lane.isLoading = false
    await Promise.all(lanes.map(settled))
    assert.deepEqual(
      lanes.flatMap(({ faults }) => faults),
      [],
    )
  }

  /** Resolves when every lane got something that was sent after this call. */
  async function allGoOn(): Promise<void> {
    const sent = lanes.map((lane) => lane.sent)
    await Promise.all(
      lanes.map(async (lane, i) =>
        lane.recipient?.until(() => lane.arrived > (sent[i] as number), 'a later message', GO_ON_MS_MAX),
      ),
    )
  }

  it('nothing is delivered while there are none, and everything once there are two', async () => {
    for (const lane of lanes) startLoad(lane)
    await delay(LOAD_MS)
    for (const lane of lanes) lane.isLoading = false
    assert.equal(arrived(), 0)
    assert.ok(lanes.some(({ sent }) => sent > 0))
    workers = await Promise.all([spawnWorker(), spawnWorker()])
    await Promise.all(lanes.map(settled))
    assert.deepEqual(
      lanes.flatMap(({ faults }) => faults),
      [],
    )
  })

  it('one that is told to stop hands back what it has, ends with 0, and the other goes on', async () => {
    const [first] = workers as [WorkerProcess, WorkerProcess]
    await underLoad(async () => {
      first.signal('SIGTERM')
      const { code, output } = await first.ended
      assert.equal(code, 0, output)
      assert.match(output, /"msg":"stopped"/)
      assert.doesNotMatch(output, /"level":"(error|fatal)"/)
      await allGoOn()
    })
  })

  it('what one had that is killed goes to the other', async () => {
    workers.push(await spawnWorker())
    const [, second] = workers as [WorkerProcess, WorkerProcess]
    await underLoad(async () => {
      second.signal('SIGKILL')
      await second.ended
      await allGoOn()
    })
  })
})
