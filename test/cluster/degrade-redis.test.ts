/**
 * Redis is killed, stands still, is slow, or answers with errors: nothing new is accepted, whoever is connected stays, and
 * everything goes on over the same connections when it is back (D5).
 */
import assert from 'node:assert/strict'
import { Redis } from 'ioredis'
import { type RedisService, startRedis } from '../services/redis.ts'
import type { Client } from '../world/client.ts'
import { openScene, type Scene, startSlowPath, until } from './degrade-scene.ts'

const PAUSE_MS = 6_000
/** Pauses between attempts have grown by then. */
const AWAY_MS = 12_000
/** From the server's return until everything is as before. */
const BACK_MS_MAX = 5_000
const QUICK_MS_MAX = 1_000
const MIB = 1024 * 1024

describe('a node whose Redis', function () {
  this.timeout(90_000)
  let redis: RedisService
  let admin: Redis
  let scene: Scene
  let other: Client
  before(async () => {
    redis = await startRedis()
    admin = new Redis(redis.url)
    admin.on('error', () => undefined)
  })
  after(async () => {
    admin.disconnect()
    await redis.stop()
  })
  beforeEach(async () => {
    scene = await openScene({ REDIS_URL: redis.url })
    other = await scene.node.connect(scene.seen)
  })
  afterEach(() => scene.stop())

  /** Over a connection that was there before: no PUBACK, held, then closed (A4). */
  async function assertRefused(): Promise<void> {
    scene.postFrom(other, 'x')
    await other.closed(20_000)
    assert.equal(other.packets.filter(({ cmd }) => cmd === 'puback').length, 0)
  }
  async function assertBack(): Promise<void> {
    const startedMs = performance.now()
    await scene.untilReady()
    await scene.send(1)
    await scene.allArrived()
    const tookMs = performance.now() - startedMs
    assert.ok(tookMs < BACK_MS_MAX, `${tookMs} ms`)
    assert.equal(await scene.metric('heliograph_breaker_state{store="redis"}'), 0)
    await scene.isAlive()
    await scene.send(20)
    await scene.allArrived()
    await scene.isAlive()
    assert.equal((await scene.node.connect(scene.unseen)).connack?.returnCode, 0)
  }

  it('is killed keeps its connections, refuses what is new, and goes on when that is back', async () => {
    await redis.kill()
    const { breaker } = await scene.untilMissing('redis')
    assert.notEqual(breaker, 'closed')
    assert.ok((await scene.missing()).some(({ what, why }) => what === 'intake' && why === 'storage_unavailable'))
    await scene.isAlive()
    const startedMs = performance.now()
    const refused = await scene.node.connect(scene.unseen)
    assert.notEqual(refused.connack?.returnCode, 0)
    assert.ok(performance.now() - startedMs < QUICK_MS_MAX, 'nobody who comes is held')
    await new Promise((resolve) => setTimeout(resolve, AWAY_MS))
    await assertRefused()
    await scene.isAlive()
    await redis.revive()
    await assertBack()
  })

  it('stands still keeps them too, and what was sent meanwhile is stored once', async () => {
    redis.pause()
    scene.post()
    const resumed = new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    assert.notEqual((await scene.untilMissing('redis')).breaker, 'closed')
    await scene.isAlive()
    await resumed
    redis.resume()
    // It was not answered in time, and is asked again until it is (A6).
    await scene.sender.until(({ packets }) => packets.filter(({ cmd }) => cmd === 'puback').length === 2, 'its PUBACK')
    scene.stored.push(2)
    await assertBack()
  })

  it('is slow goes on with everything', async () => {
    const path = await startSlowPath(redis.port)
    const slow = await openScene({ REDIS_URL: `redis://127.0.0.1:${path.port}` })
    path.delayMs = 100
    await slow.send(20)
    await slow.allArrived()
    await slow.isAlive()
    assert.deepEqual(await slow.missing(), [])
    path.delayMs = 0
    await slow.stop()
    await path.close()
  })

  it('became a replica gets nothing, until it is a master again', async () => {
    await admin.replicaof('127.0.0.1', 1)
    assert.notEqual((await scene.untilMissing('redis')).breaker, 'closed')
    await scene.isAlive()
    await assertRefused()
    await until(() => scene.node.logged.some(({ text }) => /is a replica and takes no writes/.test(text)), 'it is said')
    await admin.replicaof('NO', 'ONE')
    await assertBack()
  })

  it('is full refuses what is new, delivers what it has, and is ready again when there is space', async () => {
    const used = Number(/used_memory:(\d+)/.exec(await admin.info('memory'))?.[1])
    await admin.config('SET', 'maxmemory', String(used - MIB / 2))
    await until(
      async () => (await scene.missing()).some(({ what, why }) => what === 'intake' && why === 'overloaded'),
      'full',
    )
    assert.deepEqual(
      (await scene.missing()).map(({ what }) => what),
      ['intake'],
    )
    await scene.isAlive()
    await assertRefused()
    await admin.config('SET', 'maxmemory', '0')
    await assertBack()
  })
})
