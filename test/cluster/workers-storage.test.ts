/**
 * The turn of a shard with an entry that cannot be applied: real entries and rows, and a device whose rows the store
 * refuses. Only what is wrong stays behind, and what is behind it comes through, in its order.
 */
import assert from 'node:assert/strict'
import type { OpenedRedis } from '../../adapters/redis/index.ts'
import type { Envelope } from '../../core/envelope.ts'
import { StoreDownFault } from '../../core/ports.ts'
import { type StoragePorts, takeTurn } from '../../workers/storage.ts'
import { envelope } from '../ports/envelopes.ts'
import { type Scene as CassandraScene, keepingLog, openScene as openCassandraScene } from './cassandra-scene.ts'
import { openScene as openRedisScene, type Scene as RedisScene } from './redis-scene.ts'

const SETUP_MS_MAX = 60_000

describe('the turn of a shard', () => {
  let cassandra: CassandraScene
  let redis: RedisScene
  let node: OpenedRedis
  let buried: [seq: number, reason: string][]
  let turns = 0
  let device = ''
  before(async function () {
    this.timeout(SETUP_MS_MAX)
    cassandra = await openCassandraScene('turns')
  })
  after(async function () {
    this.timeout(SETUP_MS_MAX)
    await cassandra.close()
  })
  beforeEach(async () => {
    redis = await openRedisScene()
    node = await redis.node()
    buried = []
    device = `t${++turns}`
  })
  afterEach(() => redis.close())

  /** Rows of the device `bad` are refused with this. */
  function portsWith(fault: () => Error | undefined): StoragePorts {
    const { rows } = cassandra.store
    return {
      entries: node.entries,
      rows: {
        ...rows,
        async apply(all) {
          const error = fault()
          if (error !== undefined && all.some((row) => row.device === 'bad')) throw error
          await rows.apply(all)
        },
      },
      wakes: node.wakes,
      log: keepingLog(),
      written: () => undefined,
      bury: async ({ seq }, reason) => void buried.push([seq, reason]),
    }
  }
  const turn = (ports: StoragePorts) => takeTurn(ports, 0, () => false)
  const append = async (...batch: Envelope[]): Promise<Envelope[]> => {
    await node.intake.append(0, batch)
    return batch
  }
  async function seqs(): Promise<number[]> {
    const rows = await cassandra.store.rows.page(device, 0, 0, Number.MAX_SAFE_INTEGER, 100)
    return rows.map(({ seq }) => seq)
  }

  it('takes an entry envelope by envelope at the third attempt, and only what is wrong stays behind', async () => {
    const before = await append(envelope(device, '1'))
    const wrong = await append(envelope(device, '2'), envelope('bad', 'x'), envelope(device, '3'))
    const behind = await append(envelope(device, '4'))
    const ports = portsWith(() => new RangeError('too wide'))
    // What is in front of it is done at once; the entry is tried once in a turn.
    await assert.rejects(turn(ports), /too wide/)
    assert.deepEqual(await seqs(), [before[0]?.seq])
    assert.equal(await node.entries.backlog(0), 2)
    await assert.rejects(turn(ports), /too wide/)
    assert.deepEqual(buried, [])
    assert.equal(await turn(ports), false)
    assert.deepEqual(buried, [[wrong[1]?.seq, 'too wide']])
    const wanted = [...before, wrong[0], wrong[2], ...behind].map((each) => each?.seq)
    assert.deepEqual(await seqs(), wanted)
    assert.equal(await node.entries.backlog(0), 0)
  })

  it('does not end an entry as long as what is wrong could not be kept', async () => {
    await append(envelope('bad', 'x'))
    const ports = { ...portsWith(() => new RangeError('too wide')), bury: () => Promise.reject(new Error('away')) }
    await assert.rejects(turn(ports))
    await assert.rejects(turn(ports))
    await assert.rejects(turn(ports), /away/)
    assert.equal(await node.entries.backlog(0), 1)
    assert.equal(await turn(portsWith(() => new RangeError('too wide'))), false)
    assert.equal(buried.length, 1)
  })

  it('blames no entry for a store that is down, however often', async () => {
    const sent = await append(envelope('bad', 'x'), envelope(device, '1'))
    let isDown = true
    const ports = portsWith(() => (isDown ? new StoreDownFault('cassandra', 'away') : undefined))
    for (let i = 0; i < 5; i++) await assert.rejects(turn(ports), StoreDownFault)
    isDown = false
    assert.equal(await turn(ports), false)
    assert.deepEqual(buried, [])
    assert.deepEqual(await seqs(), [sent[1]?.seq])
  })

  it('says which devices are connected nowhere, before the entry is done', async () => {
    await append(envelope(device, '1'))
    const said: [string[], readonly string[], number][] = []
    const ports = portsWith(() => undefined)
    const epoch = node.claims.claim('here', { onWake: () => false, onLost: () => undefined })
    await node.claims.known('here', epoch)
    await append(envelope('here', '2'))
    const backlogs: Promise<number>[] = []
    await turn({
      ...ports,
      written(rows, absent) {
        backlogs.push(node.entries.backlog(0))
        said.push([rows.map((row) => row.device), absent, said.length])
      },
    })
    assert.deepEqual(said.flatMap(([rows]) => rows).sort(), ['here', device].sort())
    assert.deepEqual(
      said.flatMap(([, absent]) => absent),
      [device],
    )
    assert.ok((await Promise.all(backlogs)).every((backlog) => backlog > 0))
  })
})
