/**
 * What an operator sees from outside of a message that has its first tick and not its second: /metrics of a real node,
 * while Cassandra stands still and after.
 */
import assert from 'node:assert/strict'
import { unknownRow } from '../../core/row.ts'
import { seqFromMs } from '../../topics/ids.ts'
import { type CassandraService, startCassandra } from '../services/cassandra.ts'
import { openScene, type Scene, until } from './degrade-scene.ts'
import { connectPlain, redisUrl } from './redis-scene.ts'

const AGE = 'heliograph_watermark_age_seconds'
const HELD = 'heliograph_held_rows'
const BEHIND = 'heliograph_devices_behind'
const GAPS = 'heliograph_hearing_gaps_total'
const SHARDS = 8

describe('the metrics of the way from PUBACK to delivery', function () {
  this.timeout(120_000)
  let cassandra: CassandraService
  let scene: Scene

  before(async () => {
    cassandra = await startCassandra({ sync: 'batch' })
    scene = await openScene({
      CASSANDRA_CONTACT_POINTS: cassandra.contactPoints.join(','),
      CASSANDRA_KEYSPACE: 'way_metrics',
      CASSANDRA_REPLICAS: '1',
      INTAKE_SHARDS: String(SHARDS),
    })
  })
  after(async () => {
    await scene.stop()
    await cassandra.stop()
  })

  async function backlog(): Promise<number> {
    const shards = Array.from({ length: SHARDS }, (_, shard) =>
      scene.metric(`heliograph_shard_backlog{shard="${shard}"}`),
    )
    return (await Promise.all(shards)).reduce((sum, each) => sum + each, 0)
  }
  const all = () => Promise.all([scene.metric(HELD), scene.metric(BEHIND), backlog()])

  it('show where messages wait while Cassandra stands still, and that they went on', async () => {
    await until(async () => (await scene.metric(AGE)) < 3, 'the watermark follows the clock')
    await until(async () => (await all()).join() === '0,0,0', 'nothing waits')
    cassandra.pause()
    try {
      await scene.send(20)
      await until(async () => (await backlog()) > 0, 'entries wait for a worker')
      // Its inbox has something above the watermark: it is let in two seconds later, without.
      await scene.sendTo(scene.seen, 'waits')
      const reader = await scene.node.connect(scene.seen)
      assert.equal(reader.connack?.returnCode, 0)
      await until(async () => (await scene.metric(BEHIND)) === 1, 'a device is behind')
      // As of a worker that wrote a row of a shard that does not lag.
      const row = { ...unknownRow(scene.seen.device), seq: seqFromMs(Date.now()) }
      await scene.node.node.server.opened.storage?.wakes.hand([row])
      await until(async () => (await scene.metric(HELD)) === 1, 'a row waits for the watermark')
      await until(async () => (await scene.metric(AGE)) > 4, 'the watermark stands still')
    } finally {
      cassandra.resume()
    }
    await scene.allArrived()
    await until(async () => (await all()).join() === '0,0,0', 'nothing waits any more')
    await until(async () => (await scene.metric(AGE)) < 3, 'the watermark follows the clock again')
  })

  it('count how often the node did not hear', async () => {
    assert.equal(await scene.metric(GAPS), 0)
    const redis = await connectPlain(redisUrl())
    await redis.client('KILL', 'TYPE', 'PUBSUB')
    redis.disconnect()
    await until(async () => (await scene.metric(GAPS)) === 1, 'a gap')
    await scene.send(1)
    await scene.allArrived()
  })
})
