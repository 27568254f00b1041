/** What counting rows rests on: positions that Cassandra counts, guesses that Redis keeps, and what is done with both. */
import assert from 'node:assert/strict'
import type { CountPorts } from '../../workers/count.ts'
import { createRowCounter, lookAtFull } from '../../workers/count.ts'
import {
  type Scene as CassandraScene,
  keepingLog,
  openScene as openCassandraScene,
  row,
  seqOnDay,
} from './cassandra-scene.ts'
import { openScene as openRedisScene, type Scene as RedisScene, until } from './redis-scene.ts'

const SETUP_MS_MAX = 60_000

describe('rows that are counted', () => {
  let cassandra: CassandraScene
  let redis: RedisScene
  let devices = 0
  let device = ''
  before(async function () {
    this.timeout(SETUP_MS_MAX)
    cassandra = await openCassandraScene('count')
  })
  after(async function () {
    this.timeout(SETUP_MS_MAX)
    await cassandra.close()
  })
  beforeEach(async () => {
    redis = await openRedisScene()
    device = `d${++devices}`
  })
  afterEach(() => redis.close())

  const rows = () => cassandra.store.rows
  const some = (count: number, daysAgo: number) =>
    Array.from({ length: count }, (_, i) => row(device, seqOnDay(daysAgo) + i, 'x'))

  it('are those of all days, above the cursor and not named by it, up to a limit', async () => {
    assert.equal(await rows().waiting(device, 10), 0)
    await rows().apply([...some(4, 2), ...some(3, 0)])
    assert.equal(await rows().waiting(device, 100), 7)
    assert.equal(await rows().waiting(device, 5), 5)
    const above = [{ seq: seqOnDay(0) + 1, sub: 0 }]
    await rows().saveCursor(device, { seq: seqOnDay(2) + 2, sub: 0, above })
    assert.equal(await rows().waiting(device, 100), 3)
  })

  it('are counted beyond one read', async function () {
    this.timeout(SETUP_MS_MAX)
    await rows().apply(some(6_001, 0))
    assert.equal(await rows().waiting(device, 100_000), 6_001)
    assert.equal(await rows().waiting(device, 6_000), 6_000)
  })

  it('are guessed by all nodes together, from what each of them notes', async () => {
    const [one, other] = [(await redis.node()).counts, (await redis.node()).counts]
    assert.deepEqual(
      [
        ...(await one.add(
          new Map([
            ['a', 3],
            ['b', 1],
          ]),
        )),
      ],
      [
        ['a', 3],
        ['b', 1],
      ],
    )
    assert.deepEqual([...(await other.add(new Map([['a', 2]])))], [['a', 5]])
    await one.set('a', 1)
    assert.deepEqual([...(await other.add(new Map([['a', 1]])))], [['a', 2]])
    assert.deepEqual([...(await one.add(new Map()))], [])
    const ttl = await redis.redis.pttl(`${redis.prefix}rows:a`)
    assert.ok(ttl > 34 * 86_400_000, `${ttl} ms`)
    await one.setFull('a', true)
    assert.deepEqual(await other.fullDevices(9), ['a'])
  })

  async function counting(inboxRowsMax: number): Promise<CountPorts> {
    return { rows: rows(), counts: (await redis.node()).counts, inboxRowsMax, log: keepingLog() }
  }

  it('make a device full at the bound and not one row before', async () => {
    const ports = await counting(8)
    const counter = createRowCounter(ports)
    await rows().apply(some(7, 0))
    for (let i = 0; i < 7; i++) counter.note(device)
    await counter.flush()
    assert.deepEqual(await ports.counts.fullDevices(9), [])
    await rows().apply(some(8, 0))
    counter.note(device)
    await counter.flush()
    assert.deepEqual(await ports.counts.fullDevices(9), [device])
  })

  it('are looked at, not guessed: what was noted twice, or is acknowledged, makes nobody full', async () => {
    const ports = await counting(8)
    const counter = createRowCounter(ports)
    await rows().apply(some(5, 0))
    for (let i = 0; i < 50; i++) counter.note(device)
    await counter.flush()
    assert.deepEqual(await ports.counts.fullDevices(9), [])
    assert.deepEqual([...(await ports.counts.add(new Map([[device, 1]])))], [[device, 6]])
  })

  it('are kept while the store is away, and handed over when it is back', async () => {
    const ports = await counting(100)
    let isAway = true
    const counts: CountPorts['counts'] = {
      ...ports.counts,
      add: (written) => (isAway ? Promise.reject(new Error('away')) : ports.counts.add(written)),
    }
    const counter = createRowCounter({ ...ports, counts })
    counter.note(device)
    await assert.rejects(counter.flush(), /away/)
    counter.note(device)
    isAway = false
    await counter.flush()
    assert.deepEqual([...(await ports.counts.add(new Map([[device, 1]])))], [[device, 3]])
  })

  it('let a full device in again only when an eighth of its inbox is free, and are read only when its cursor moved', async () => {
    let counted = 0
    const ports = await counting(8)
    const watched: CountPorts = {
      ...ports,
      rows: {
        cursor: rows().cursor,
        waiting(of, limit) {
          counted++
          return rows().waiting(of, limit)
        },
      },
    }
    const node = await redis.node()
    await rows().apply(some(9, 0))
    await ports.counts.setFull(device, true)
    const seen = new Map<string, string>()
    await lookAtFull(watched, seen)
    await lookAtFull(watched, seen)
    assert.equal(counted, 1)
    await rows().saveCursor(device, { seq: seqOnDay(0) + 1, sub: 0, above: [] })
    await lookAtFull(watched, seen)
    assert.equal(counted, 2)
    assert.deepEqual(await ports.counts.fullDevices(9), [device])
    await until(() => node.intake.isFull(device), 'every node knows it')
    await rows().saveCursor(device, { seq: seqOnDay(0) + 2, sub: 0, above: [] })
    await lookAtFull(watched, seen)
    assert.deepEqual(await ports.counts.fullDevices(9), [])
    assert.equal(seen.size, 0)
    await until(() => !node.intake.isFull(device), 'every node knows it again')
    assert.deepEqual([...(await ports.counts.add(new Map([[device, 1]])))], [[device, 7]])
  })
})
