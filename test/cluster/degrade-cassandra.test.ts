/**
 * Cassandra is killed, stands still, is slow, or answers with errors: what is accepted waits in Redis and is delivered over
 * the same connections when it is back; beyond the bound of a shard nothing more is accepted (D5).
 */
import assert from 'node:assert/strict'
import { Client } from 'cassandra-driver'
import { MIGRATIONS } from '../../adapters/cassandra/schema.ts'
import { type CassandraService, startCassandra } from '../services/cassandra.ts'
import { cassandraErrors, startErringPath } from './cassandra-errors.ts'
import { openScene, type Scene, startSlowPath, until } from './degrade-scene.ts'

const PAUSE_MS = 7_000
const BACKLOG_MAX = 8

describe('a node whose Cassandra', function () {
  this.timeout(120_000)
  let cassandra: CassandraService
  let scene: Scene
  let keyspaces = 0
  let keyspace: string

  const env = () => ({
    CASSANDRA_CONTACT_POINTS: cassandra.contactPoints.join(','),
    CASSANDRA_KEYSPACE: keyspace,
    CASSANDRA_REPLICAS: '1',
  })
  const ask = async (...statements: string[]): Promise<void> => {
    const { contactPoints, localDataCenter, port } = cassandra
    const client = new Client({ contactPoints: [...contactPoints], localDataCenter, protocolOptions: { port } })
    try {
      for (const each of statements) await client.execute(each, [], { readTimeout: 30_000 })
    } finally {
      await client.shutdown()
    }
  }
  before(async () => {
    cassandra = await startCassandra({ sync: 'batch' })
  })
  after(() => cassandra.stop())
  beforeEach(() => {
    keyspace = `degrade_${++keyspaces}`
  })
  afterEach(() => scene.stop())

  /** Sends are stored and wait, connections stay, those who come are let in. */
  async function assertWithout(): Promise<void> {
    await scene.send(20)
    await scene.untilMissing('cassandra')
    await scene.isAlive()
    const before = scene.receiver.received.length
    await scene.send(20)
    assert.equal(scene.receiver.received.length, before, 'what is stored now is delivered later')
    for (const device of [scene.seen, scene.unseen]) {
      const client = await scene.node.connect(device)
      assert.equal(client.connack?.returnCode, 0)
      await client.disconnect()
    }
    assert.deepEqual(
      (await scene.missing()).map(({ what }) => what),
      ['cassandra'],
    )
    await scene.isAlive()
  }
  async function assertBack(): Promise<void> {
    await scene.allArrived()
    await scene.untilReady()
    assert.equal(await scene.metric('heliograph_breaker_state{store="cassandra"}'), 0)
    await scene.send(5)
    await scene.allArrived()
    await scene.isAlive()
    assert.equal(await scene.node.node.server.opened.storage?.deadLetters.count(), 0)
  }

  it('is killed stores what is sent, and delivers it when that is back', async () => {
    scene = await openScene(env())
    await cassandra.kill()
    await assertWithout()
    await cassandra.revive()
    await assertBack()
  })

  it('stands still does the same', async () => {
    scene = await openScene(env())
    cassandra.pause()
    const resumed = new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    await assertWithout()
    await resumed
    cassandra.resume()
    await assertBack()
  })

  it('is slow stores at once and delivers later', async () => {
    const path = await startSlowPath(cassandra.port)
    scene = await openScene({ ...env(), CASSANDRA_CONTACT_POINTS: `127.0.0.1:${path.port}` })
    path.delayMs = 300
    const before = scene.receiver.received.length
    await scene.send(20)
    assert.equal(scene.receiver.received.length, before, 'PUBACK did not wait for it')
    await assertBack()
    path.delayMs = 0
    await path.close()
  })

  for (const error of cassandraErrors) {
    it(`answers ${error} has rows wait, and gives none up`, async () => {
      const path = await startErringPath(cassandra.port)
      try {
        scene = await openScene({ ...env(), CASSANDRA_CONTACT_POINTS: `127.0.0.1:${path.port}` })
        path.answer = error
        await assertWithout()
        assert.ok(path.answered() > 0)
        path.answer = undefined
        await assertBack()
      } finally {
        path.answer = undefined
        await path.close()
      }
    })
  }

  it('lost its table gives nothing up: rows wait until it is made again', async () => {
    scene = await openScene(env())
    await ask(`DROP TABLE ${keyspace}.inbox_rows`)
    await assertWithout()
    assert.equal((await scene.untilMissing('cassandra')).breaker === 'closed', false)
    const [rows = ''] = MIGRATIONS[0] ?? []
    await ask(rows.replace('inbox_rows', `${keyspace}.inbox_rows`))
    // What had become rows before went with the table, and was delivered.
    await assertBack()
  })

  it('is away for long has a bound: what is beyond it is not acknowledged, what is below it arrives', async () => {
    scene = await openScene({ ...env(), INTAKE_SHARDS: '1', INTAKE_SHARD_BACKLOG_MAX: String(BACKLOG_MAX) })
    await cassandra.kill()
    // One after the other, so that each is a batch of its own.
    for (let i = 0; i < BACKLOG_MAX; i++) await scene.send(1)
    scene.post()
    // A thing that could not be served is held, then closed (A4).
    await scene.sender.closed(20_000)
    assert.equal(scene.sender.packets.filter(({ cmd }) => cmd === 'puback').length, scene.stored.length)
    assert.equal(scene.node.node.server.metrics.refused['overloaded'], 1)
    await scene.receiver.ping()
    await cassandra.revive()
    await scene.allArrived()
    await scene.untilReady()
  })

  it('is away when its rows are to be read has them read later, over the same connection', async () => {
    scene = await openScene(env())
    // The rows are written, and their reader comes when they cannot be read.
    const reader = await scene.node.connect(scene.seen)
    await reader.subscribe(`d/${scene.seen.device}/from/#`)
    await reader.disconnect()
    for (let i = 0; i < 3; i++) await scene.sendTo(scene.seen, `${i}`)
    const { storage } = scene.node.node.server.opened
    await until(async () => {
      const left = await Promise.all(Array.from({ length: 8 }, async (_, shard) => storage?.entries.backlog(shard)))
      return left.every((each) => each === 0)
    }, 'they are rows')
    await cassandra.kill()
    const again = await scene.node.connect(scene.seen)
    assert.equal(again.connack?.sessionPresent, true)
    await scene.untilMissing('cassandra')
    await again.ping()
    await cassandra.revive()
    const received = await again.receive(3, 25_000)
    assert.deepEqual(
      received.map(({ payload }) => String(payload)),
      ['0', '1', '2'],
    )
    await scene.untilReady()
  })
})
