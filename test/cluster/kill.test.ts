/**
 * Kills and pauses of what a cluster is made of, under load: two brokers of which one works inline, a Redis of their own.
 * Senders are on one broker, recipients on the other; every acknowledged message arrives once more or once, in order.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { timeouts } from '../../plugins/timeouts.ts'
import {
  connectRecipient,
  connectSender,
  createLane,
  type Lane,
  type Path,
  settled,
  startLoad,
} from '../flows/kill-lane.ts'
import { type RedisService, startRedis } from '../services/redis.ts'
import { type ServerProcess, spawnServer } from '../world/process.ts'
import { makeDeployment } from '../world/profile.ts'

const ROUNDS = 2
const TRIES_MAX = 3
const LOAD_MS = 400
/** Longer than a worker's lock, so that its turns go to others. */
const PAUSE_MS = 6_000

describe('a cluster of two brokers', function () {
  this.timeout(120_000)
  let folder: string
  let redis: RedisService
  let env: Record<string, string>
  let senders: ServerProcess
  let recipients: ServerProcess
  let lanes: Lane[]

  const spawn = (isInline: boolean) =>
    spawnServer(folder, { ...env, NODE_NAME: isInline ? 'a' : 'b', WORKERS_INLINE: isInline ? 'yes' : 'no' })

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'heliograph-cluster-'))
    redis = await startRedis()
    env = { ...(await makeDeployment()), REDIS_URL: redis.url }
    senders = await spawn(true)
    recipients = await spawn(false)
    lanes = []
    for (const path of ['raw', 'numbered', 'request'] as const satisfies readonly Path[]) {
      for (const isAway of [false, true]) {
        const make = path === 'request' ? senders.devices.person : senders.devices.thing
        lanes.push(createLane(path, await make(`s${lanes.length}`), await make(`r${lanes.length}`), isAway))
      }
    }
    await connectAll()
  })
  after(async () => {
    for (const { sender, recipient } of lanes) {
      sender?.destroy()
      recipient?.destroy()
    }
    await Promise.all([senders.kill(), recipients.kill()])
    await redis.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  async function connectAll(): Promise<void> {
    for (const lane of lanes) if (lane.recipient?.isClosed !== false) await connectRecipient(lane, recipients.port)
    for (const lane of lanes) if (lane.sender?.isClosed !== false) await connectSender(lane, senders.port)
  }

  /** A thing whose message could not be stored is held, then closed: it comes again, and sends again. */
  async function settleAll(): Promise<void> {
    for (let tries = 1; ; tries++) {
      await connectAll()
      try {
        await Promise.all(lanes.map(settled))
        return
      } catch (error) {
        if (tries === TRIES_MAX) throw error
      }
    }
  }

  async function round(fault: () => Promise<void>): Promise<void> {
    for (const lane of lanes) {
      if (lane.isAway) await lane.recipient?.disconnect()
      startLoad(lane)
    }
    await delay(LOAD_MS)
    await fault()
    for (const lane of lanes) lane.isLoading = false
    await settleAll()
    assert.deepEqual(
      lanes.flatMap(({ faults }) => faults),
      [],
    )
  }

  const closed = (clients: readonly (Lane['sender'] | undefined)[]) =>
    Promise.all(clients.map(async (client) => client?.closed()))

  const faults: Record<string, () => Promise<void>> = {
    async 'the broker of the senders, with its workers, is killed'() {
      await senders.kill()
      await closed(lanes.map(({ sender }) => sender))
      senders = await spawn(true)
    },
    async 'the broker of the recipients is killed'() {
      await recipients.kill()
      await closed(lanes.map(({ recipient, isAway }) => (isAway ? undefined : recipient)))
      recipients = await spawn(false)
    },
    async 'Redis is killed and comes back with its data'() {
      await redis.kill()
      await delay(300)
      await redis.revive()
      // Things whose messages could not be stored are held for so long, then closed: they come again.
      await delay(timeouts.refusedHoldMs + 500)
    },
    async 'Redis does not answer for some seconds'() {
      redis.pause()
      await delay(PAUSE_MS)
      redis.resume()
      await delay(timeouts.refusedHoldMs + 500)
    },
    async 'the broker that works stands still for longer than its lock'() {
      senders.pause()
      await delay(PAUSE_MS)
      senders.resume()
    },
  }
  for (const [what, fault] of Object.entries(faults)) {
    it(`loses nothing when ${what}, ${ROUNDS} times`, async () => {
      for (let i = 0; i < ROUNDS; i++) await round(fault)
    })
  }
})
