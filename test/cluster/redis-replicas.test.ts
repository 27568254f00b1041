/**
 * REDIS_REPLICAS_MIN (ADR 0017): no PUBACK before the disk of a replica has the message too, on a Valkey, which can
 * wait for it. Also that the intake, as it is on Redis, is the same on Valkey.
 */
import assert from 'node:assert/strict'
import { openRedis } from '../../adapters/redis/index.ts'
import { readConfig } from '../../core/config.ts'
import type { Envelope } from '../../core/envelope.ts'
import { DEDUPE_RECORD, VERDICT_AGAIN, VERDICT_NEW } from '../../core/envelope.ts'
import { append, envelope } from '../ports/envelopes.ts'
import { startRedis } from '../services/redis.ts'
import { valkeyServer } from '../services/valkey.ts'
import { type Scene as NodeScene, openScene as openNode } from './degrade-scene.ts'
import { allTexts, connectPlain, type OwnRedis, openScene, type Scene, startOwnRedis, until } from './redis-scene.ts'

const request = (stamp: number): Envelope =>
  envelope('b', `request ${stamp}`, { device: 'a', dedupe: DEDUPE_RECORD, stamp, hash: stamp, peer: 'p' })

/** How often the server is asked for its replicas by one flight. */
const WAITS_OF_FLIGHT = 3

describe('a Valkey with a replica', function () {
  this.timeout(120_000)
  let primary: OwnRedis
  let replica: OwnRedis

  before(async () => {
    const program = await valkeyServer()
    primary = await startOwnRedis({ 'repl-diskless-sync-delay': '0' }, program)
    replica = await startOwnRedis({ replicaof: `127.0.0.1 ${new URL(primary.url).port}` }, program)
    const redis = await connectPlain(replica.url)
    await until(async () => (await redis.info('replication')).includes('master_link_status:up'), 'the replica follows')
    redis.disconnect()
  })
  after(async () => {
    replica?.resume()
    await replica?.stop()
    await primary?.stop()
  })

  describe('under an intake', () => {
    let scene: Scene
    beforeEach(async () => {
      scene = await openScene(primary.url)
    })
    afterEach(() => scene.close())

    it('says what a PUBACK rests on, by its own name', async () => {
      assert.match(
        (await scene.node({ intake: { replicasMin: 1 } })).promise,
        /^Valkey 8\.\d+\.\d+, .*appendfsync always: a PUBACK leaves after fsync, on this server and on 1 of its replicas$/,
      )
      assert.match((await scene.node()).promise, /^Valkey 8.* on this server alone$/)
    })

    it('takes a request once, knows it again, and gives rising numbers', async () => {
      const { intake } = await scene.node({ intake: { replicasMin: 1 } })
      const first = await append(intake, request(1))
      assert.equal(first.verdict, VERDICT_NEW)
      const again = await append(intake, request(1))
      assert.deepEqual([again.verdict, again.seq], [VERDICT_AGAIN, first.seq])
      assert.ok((await append(intake, request(2))).seq > first.seq)
    })

    it('answers nothing while the replica stands still, and stores nothing twice', async () => {
      const node = await scene.node({ intake: { replicasMin: 1, replicasWaitMs: 100 } })
      await append(node.intake, request(1))
      replica.pause()
      try {
        let isAnswered = false
        const waiting = append(node.intake, envelope('b', 'two')).then(() => {
          isAnswered = true
        })
        await until(() => Number(node.facts()['resends']) >= 2, 'it is asked again')
        assert.equal(isAnswered, false)
        replica.resume()
        await waiting
      } finally {
        replica.resume()
      }
      assert.deepEqual(await allTexts(node), ['request 1', 'two'])
    })
  })

  describe('under a broker with REDIS_REPLICAS_MIN=1', () => {
    let scene: NodeScene
    before(async () => {
      scene = await openNode({ REDIS_URL: primary.url, REDIS_REPLICAS_MIN: '1' })
    })
    after(() => scene?.stop())

    it('gives no PUBACK while the replica stands still, all of them after, and each message arrives once', async () => {
      await scene.send(3)
      const pubacks = () => scene.sender.packets.filter(({ cmd }) => cmd === 'puback').length
      const arrived = () => scene.receiver.received.filter(({ qos }) => qos === 1).map(({ payload }) => Number(payload))
      const redis = await connectPlain(primary.url)
      const waits = async () => Number(/cmdstat_waitaof:calls=(\d+)/.exec(await redis.info('commandstats'))?.[1])
      const [pubacksBefore, waitsBefore] = [pubacks(), await waits()]
      replica.pause()
      try {
        for (let i = 0; i < 5; i++) scene.post()
        await until(async () => (await waits()) > waitsBefore + 2 * WAITS_OF_FLIGHT, 'it is asked again, twice')
        assert.equal(pubacks(), pubacksBefore)
      } finally {
        replica.resume()
        redis.disconnect()
      }
      await scene.sender.until(() => pubacks() === pubacksBefore + 5, 'all PUBACKs', 20_000)
      await scene.send(1)
      await scene.receiver.until(() => arrived().includes(10), 'the one behind them', 20_000)
      assert.deepEqual(arrived(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    })
  })
})

describe('a Valkey Cluster', () => {
  it('is refused as a Redis Cluster is, also when one server has all of it', async () => {
    const own = await startOwnRedis({ 'cluster-enabled': 'yes' }, await valkeyServer())
    try {
      const redis = await connectPlain(own.url)
      await redis.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
      await until(async () => String(await redis.call('CLUSTER', 'INFO')).includes('cluster_state:ok'), 'the slots')
      redis.disconnect()
      await assert.rejects(
        openRedis(own.url, Date.now, () => undefined),
        /Redis Cluster is not supported/,
      )
    } finally {
      await own.stop()
    }
  })
})

describe('REDIS_REPLICAS_MIN', () => {
  it('is 0 unless it is set, and a whole number', () => {
    assert.equal(readConfig({}).redisReplicasMin, 0)
    assert.equal(readConfig({ REDIS_REPLICAS_MIN: '2' }).redisReplicasMin, 2)
    for (const wrong of ['-1', '1.5', 'one']) {
      assert.throws(() => readConfig({ REDIS_REPLICAS_MIN: wrong }), /REDIS_REPLICAS_MIN is ".*"; give a whole number/)
    }
  })

  it('above 0 is refused on a Redis that cannot wait, and the refusal says what to do', async () => {
    const redis = await startRedis()
    const plain = await connectPlain(redis.url)
    const [, major, minor] = /redis_version:(\d+)\.(\d+)/.exec(await plain.info('server')) ?? []
    plain.disconnect()
    try {
      const starts = openNode({ REDIS_URL: redis.url, REDIS_REPLICAS_MIN: '1' })
      if (Number(major) > 7 || Number(minor) >= 2) return await (await starts).stop()
      await assert.rejects(
        starts,
        /Redis 7\.[01]\.\d+ cannot wait for the disks of 1 replicas: run 7\.2 or later, or Valkey, or set REDIS_REPLICAS_MIN=0/,
      )
    } finally {
      await redis.stop()
    }
  })
})
