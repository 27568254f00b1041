/** What one CONNECT asks of the stores, counted: it does not grow with rows that wait, nor with other devices. */
import assert from 'node:assert/strict'
import { Client as Cassandra } from 'cassandra-driver'
import { Redis } from 'ioredis'
import pg from 'pg'
import { makeDeployment } from '../world/profile.ts'
import { startWorld, type TestDevice, type World } from '../world/world.ts'
import { until } from './redis-scene.ts'

interface Cost {
  redis: number
  postgres: number
  cassandra: number
}

/** As docs/operations.md says it, with the eight shards of the default. */
const MOST: Cost = { redis: 26, postgres: 1, cassandra: 6 }

/**
 * Calls that leave this process, in which the server runs, for one device: those that name it, and those that only an
 * opening makes. What nodes and workers ask by the clock is no part of it.
 */
function countCalls(device: string): { readonly counts: Readonly<Cost>; taken(): Cost; stop(): void } {
  const counts: Cost = { redis: 0, postgres: 0, cassandra: 0 }
  const names = (value: unknown): boolean => {
    if (Array.isArray(value)) return value.some(names)
    if (Buffer.isBuffer(value)) return value.toString('latin1') === device
    return typeof value === 'string' && (value === device || value.endsWith(`:${device}`))
  }
  const { sendCommand } = Redis.prototype
  const { query } = pg.Client.prototype
  const { execute } = Cassandra.prototype
  Redis.prototype.sendCommand = function (this: Redis, ...args: Parameters<typeof sendCommand>) {
    const [{ name, args: of }] = args
    if (
      names(of) ||
      of.some((each) => String(each).endsWith(`records:${device}`)) ||
      (name === 'hget' && of[1] === 'last')
    ) {
      counts.redis++
    }
    return sendCommand.apply(this, args)
  } as typeof sendCommand
  pg.Client.prototype.query = function (this: pg.Client, ...args: unknown[]) {
    if (names((args[0] as { values?: unknown[] }).values ?? args[1])) counts.postgres++
    return (query as (...all: unknown[]) => unknown).apply(this, args)
  } as typeof query
  Cassandra.prototype.execute = function (this: Cassandra, ...args: unknown[]) {
    if (names(args[1])) counts.cassandra++
    return (execute as (...all: unknown[]) => unknown).apply(this, args)
  } as typeof execute
  return {
    counts,
    taken() {
      const now = { ...counts }
      Object.assign(counts, { redis: 0, postgres: 0, cassandra: 0 })
      return now
    },
    stop() {
      Redis.prototype.sendCommand = sendCommand
      pg.Client.prototype.query = query
      Cassandra.prototype.execute = execute
    },
  }
}

describe('one CONNECT in the cluster', function () {
  this.timeout(90_000)
  let world: World
  let device: TestDevice
  let calls: ReturnType<typeof countCalls>
  before(async () => {
    // Before there are connections: they take sendCommand as it is when they open.
    calls = countCalls('quiet')
    world = await startWorld({ env: { ...(await makeDeployment()), DISK_RESERVE_MIB: '1' } })
    device = await world.thing('quiet')
  })
  after(async () => {
    calls.stop()
    await world.stop()
  })

  /** CONNECT, SUBSCRIBE, and what waits, up to `rows`. */
  async function cost(rows: number): Promise<Cost> {
    calls.taken()
    const client = await world.connect(device, { autoAck: false })
    await client.subscribe('d/quiet/from/#')
    await client.receive(rows, 20_000)
    await client.ping()
    // Its inbox is read behind the SUBACK, and what would be asked too often comes behind that.
    await until(() => calls.counts.cassandra > 0, 'the inbox is read')
    await new Promise((resolve) => setTimeout(resolve, 300))
    const took = calls.taken()
    client.destroy()
    await new Promise((resolve) => setTimeout(resolve, 300))
    return took
  }

  it('asks a number of things that stays, whatever waits and however many devices there are', async () => {
    const uncached = await cost(0)
    let cached = await cost(0)
    // Known for some seconds, which a machine that is busy may need for one connection.
    for (let tries = 0; cached.postgres > 0 && tries < 5; tries++) cached = await cost(0)
    const sender = await world.connect(await world.thing('sender'))
    for (let i = 0; i < 50; i++) await sender.publish('d/sender/raw/d-quiet', `row ${i}`)
    // A device that reads while rows are being written reads again.
    const { inbox } = world.server.opened.ports
    await until(async () => (await inbox.page('quiet', 0, 0, 60)).length === 50, 'the rows are written')
    const waiting = await cost(50)
    await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const other = await world.connect(await world.thing(`other${i}`))
        await other.subscribe(`d/other${i}/from/#`)
      }),
    )
    const many = await cost(50)
    const all = { uncached, cached, waiting, many }
    for (const [what, took] of Object.entries(all)) {
      for (const store of ['redis', 'postgres', 'cassandra'] as const) {
        assert.ok(took[store] <= MOST[store], `${what}: ${JSON.stringify(all)}`)
      }
      assert.ok(took.redis > 0 && took.cassandra > 0, `${what} is counted: ${JSON.stringify(all)}`)
    }
    assert.equal(uncached.postgres, 1)
    assert.equal(cached.postgres, 0)
  })
})
