/** PostgreSQL is killed, stands still, or answers with errors: those who are known go on, and it comes back by itself (D5). */
import assert from 'node:assert/strict'
import pg from 'pg'
import { CONNACK_UNAVAILABLE } from '../../topics/frames.ts'
import { type PostgresService, startPostgres } from '../services/postgres.ts'
import { openScene, type Scene, startSlowPath, until } from './degrade-scene.ts'

const PAUSE_MS = 4_000
const PERSON = { phone: '+4915112345678' }

describe('a node whose PostgreSQL', function () {
  this.timeout(90_000)
  let postgres: PostgresService
  let scene: Scene
  const ask = async (text: string): Promise<void> => {
    const client = new pg.Client({ connectionString: postgres.url })
    await client.connect()
    try {
      await client.query(text)
    } finally {
      await client.end()
    }
  }
  /** As a user that is bound by limits, as production's should be. */
  const urlOf = (): string => {
    const url = new URL(postgres.url)
    url.username = 'app'
    url.pathname = '/app'
    return url.href
  }
  before(async () => {
    postgres = await startPostgres()
    await ask('CREATE ROLE app LOGIN')
  })
  after(() => postgres.stop())
  beforeEach(async () => {
    await ask('CREATE DATABASE app OWNER app')
    scene = await openScene({ DATABASE_URL: urlOf() })
  })
  afterEach(async () => {
    await scene.stop()
    await ask('DROP DATABASE app')
  })

  /** What goes on, and what does not, while it does not answer. */
  async function assertWithout(): Promise<void> {
    await scene.untilMissing('postgres')
    assert.deepEqual(
      (await scene.missing()).map(({ what }) => what),
      ['postgres'],
    )
    assert.equal(await scene.metric('heliograph_breaker_state{store="cassandra"}'), 0)
    assert.ok((await scene.metric('heliograph_breaker_state{store="postgres"}')) > 0)
    await scene.send(20)
    await scene.allArrived()
    await scene.isAlive()
    const known = await scene.node.connect(scene.seen)
    assert.equal(known.connack?.returnCode, 0)
    await known.disconnect()
    const startedMs = performance.now()
    const unknown = await scene.node.connect(scene.unseen)
    assert.equal(unknown.connack?.returnCode, CONNACK_UNAVAILABLE)
    assert.ok(performance.now() - startedMs < 1_000, 'nobody waits for it')
    const refused = await scene.node.ask('/v1/admin/devices', { kind: 'thing', prefix: 'no', count: 1 })
    assert.deepEqual([refused.status, refused.body['code']], [503, 'storage_unavailable'])
  }
  async function assertBack(): Promise<void> {
    await scene.untilReady()
    assert.equal(await scene.metric('heliograph_breaker_state{store="postgres"}'), 0)
    const unknown = await scene.node.connect(scene.unseen)
    assert.equal(unknown.connack?.returnCode, 0)
    await scene.node.make({ kind: 'thing', prefix: 'yes', count: 1 })
    await scene.send(5)
    await scene.allArrived()
    await scene.isAlive()
  }

  it('is killed delivers among those who are known, and lets others in when it is back', async () => {
    await postgres.kill()
    await assertWithout()
    await postgres.revive()
    await assertBack()
  })

  it('stands still does the same', async () => {
    postgres.pause()
    const resumed = new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    await assertWithout()
    await resumed
    postgres.resume()
    await assertBack()
  })

  it('is slow goes on with everything', async () => {
    const path = await startSlowPath(postgres.port)
    const url = new URL(urlOf())
    url.port = String(path.port)
    const slow = await openScene({ DATABASE_URL: url.href })
    path.delayMs = 150
    await slow.node.make({ kind: 'thing', prefix: 'late', count: 1 })
    assert.equal((await slow.node.connect(slow.unseen)).connack?.returnCode, 0)
    await slow.send(20)
    await slow.allArrived()
    await slow.isAlive()
    assert.deepEqual(await slow.missing(), [])
    await slow.stop()
    await path.close()
  })

  it('takes no writes lets everybody in, refuses what it would have to store, and says which part is missing', async () => {
    await ask('ALTER ROLE app SET default_transaction_read_only = on')
    await ask(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'`)
    await until(async () => {
      const { status } = await scene.node.ask('/v1/admin/devices', { kind: 'thing', prefix: 'no', count: 1 })
      assert.equal(status, 503)
      return (await scene.missing()).some(({ what }) => what === 'postgres-writes')
    }, 'it takes no writes')
    assert.equal((await scene.node.connect(scene.unseen)).connack?.returnCode, 0)
    await scene.send(20)
    await scene.allArrived()
    await scene.isAlive()
    await ask('ALTER ROLE app RESET default_transaction_read_only')
    await ask(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'`)
    await assertBack()
  })

  it('has no connection left does without it, and connects again by itself', async () => {
    await ask('ALTER ROLE app CONNECTION LIMIT 0')
    await ask(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'`)
    await until(async () => {
      // Whoever asks finds it out.
      const { status } = await scene.node.ask('/v1/registrations', PERSON)
      assert.ok(status === 202 || status === 429 || status === 503, `${status}`)
      const { connack } = await scene.node.connect(scene.unseen)
      assert.equal(connack?.returnCode, CONNACK_UNAVAILABLE)
      return (await scene.missing()).some(({ what }) => what === 'postgres')
    }, 'it has no connection')
    await assertWithout()
    await ask('ALTER ROLE app CONNECTION LIMIT -1')
    await assertBack()
  })
})
