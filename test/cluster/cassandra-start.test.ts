/** How the store of inbox rows starts, refuses to, and lives with a Cassandra that is away (D4, D5). */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { Client, errors, types } from 'cassandra-driver'
import { type CassandraSettings, cassandraLimits } from '../../adapters/cassandra/driver.ts'
import { openCassandra } from '../../adapters/cassandra/index.ts'
import { nodeDemands } from '../../adapters/cassandra/nodes.ts'
import { SchemaFault } from '../../adapters/cassandra/schema.ts'
import { StoreDownFault } from '../../core/ports.ts'
import {
  freshKeyspace,
  keepingLog,
  openScene,
  rawClient,
  row,
  type Scene,
  seqOnDay,
  settingsFor,
  textOfRow,
} from './cassandra-scene.ts'

const SETUP_MS_MAX = 60_000
const NEVER = Number.MAX_SAFE_INTEGER
const noFatal = (error: Error) => assert.fail(error)

/** Stands between the store and a node: it can be cut like a cable, go silent like a stopped process, and come back. */
interface Cable {
  readonly point: string
  cut(): Promise<void>
  silence(): void
  heal(): Promise<void>
}

async function laidCable(to: string): Promise<Cable> {
  const [host = '', port = '9042'] = to.split(':')
  const sockets = new Set<Socket>()
  let isSilent = false
  const accept = (near: Socket) => {
    const far = connect(Number(port), host)
    for (const [from, into] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from)
      from.on('data', (bytes) => isSilent || into.write(bytes))
      from.on('error', () => undefined)
      from.on('close', () => {
        sockets.delete(from)
        into.destroy()
      })
    }
  }
  let server: Server = createServer(accept).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const own = (server.address() as AddressInfo).port
  return {
    point: `127.0.0.1:${own}`,
    async cut() {
      for (const socket of sockets) socket.destroy()
      if (server.listening) await new Promise((resolve) => server.close(resolve))
    },
    silence() {
      isSilent = true
    },
    async heal() {
      isSilent = false
      // Bytes were lost on those that are open, as after a firewall's restart.
      for (const socket of sockets) socket.destroy()
      if (server.listening) return
      server = createServer(accept).listen(own, '127.0.0.1')
      await once(server, 'listening')
    },
  }
}

/** Milliseconds until it rejects with a StoreDownFault. */
async function refusedAfter(work: Promise<unknown>): Promise<number> {
  const startedMs = performance.now()
  await assert.rejects(work, StoreDownFault)
  return performance.now() - startedMs
}

async function untilItServes(work: () => Promise<unknown>): Promise<void> {
  for (;;) {
    const served = await work().then(
      () => true,
      (error: unknown) => {
        assert.ok(error instanceof StoreDownFault)
        return false
      },
    )
    if (served) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

describe('the start of the store in Cassandra', () => {
  const keyspaces: string[] = []
  const fresh = (more: Partial<CassandraSettings> = {}) => {
    const settings = settingsFor(freshKeyspace('start'), more)
    keyspaces.push(settings.keyspace)
    return settings
  }
  after(async function () {
    this.timeout(SETUP_MS_MAX)
    const client = rawClient(settingsFor('none'))
    for (const keyspace of new Set(keyspaces)) {
      await client.execute(`DROP KEYSPACE IF EXISTS ${keyspace}`, [], { prepare: false, readTimeout: 60_000 })
    }
    await client.shutdown()
  })

  it('makes the keyspace, by five processes at once', async () => {
    const settings = fresh()
    const stores = await Promise.all(Array.from({ length: 5 }, () => openCassandra(settings, keepingLog(), noFatal)))
    for (const [i, store] of stores.entries()) await store.rows.apply([row('d', seqOnDay(0) + i)])
    for (const store of stores) assert.equal((await store.rows.page('d', 0, 0, NEVER, 9)).length, 5)
    await Promise.all(stores.map((store) => store.close()))
  }).timeout(SETUP_MS_MAX)

  it('goes on where a migration was cut short', async () => {
    const settings = fresh()
    const client = rawClient(settings)
    const simple = "{'class': 'NetworkTopologyStrategy', 'datacenter1': 1}"
    await client.execute(`CREATE KEYSPACE ${settings.keyspace} WITH replication = ${simple}`, [], { prepare: false })
    await client.execute(`CREATE TABLE ${settings.keyspace}.migrations (version int PRIMARY KEY)`, [], {
      prepare: false,
    })
    await client.shutdown()
    const store = await openCassandra(settings, keepingLog(), noFatal)
    await store.rows.apply([row('d', seqOnDay(0))])
    await store.close()
  }).timeout(SETUP_MS_MAX)

  it('refuses a keyspace without the schema when it may not migrate, and takes one that has it', async () => {
    const settings = fresh()
    const forbidden = { ...settings, migrate: false }
    await assert.rejects(openCassandra(forbidden, keepingLog(), noFatal), (error: Error) => {
      assert.ok(error instanceof SchemaFault)
      assert.match(error.message, /has schema 0 and this program needs 1; start one process with CASSANDRA_MIGRATE=yes/)
      return true
    })
    await (await openCassandra(settings, keepingLog(), noFatal)).close()
    const store = await openCassandra(forbidden, keepingLog(), noFatal)
    assert.equal(store.down(), undefined)
    await store.close()
  }).timeout(SETUP_MS_MAX)

  it('refuses a newer schema, another number of copies, a name that is none and a data centre that is not there', async () => {
    const settings = fresh()
    await (await openCassandra(settings, keepingLog(), noFatal)).close()
    const refuses = async (more: Partial<CassandraSettings>, why: RegExp) => {
      await assert.rejects(openCassandra({ ...settings, ...more }, keepingLog(), noFatal), why)
    }
    await refuses({ replication: 3 }, /keeps 1 copies in datacenter1 and the setting says 3/)
    await refuses({ keyspace: 'a; DROP' }, /is no name of a keyspace/)
    await refuses({ localDataCenter: 'elsewhere' }, /elsewhere/)
    const client = rawClient(settings)
    await client.execute(`INSERT INTO ${settings.keyspace}.migrations (version) VALUES (99)`, [], { prepare: false })
    await client.shutdown()
    await refuses({}, /made by a newer version \(99\)/)
  }).timeout(SETUP_MS_MAX)

  it('refuses to start as a user that may not make tables', async () => {
    const { execute } = Client.prototype
    Client.prototype.execute = function forbidden(this: Client, ...given: unknown[]) {
      const isAllowed = !String(given[0]).startsWith('CREATE')
      if (isAllowed) return (execute as (...all: unknown[]) => Promise<never>).apply(this, given)
      return Promise.reject(new errors.ResponseError(types.responseErrorCodes.unauthorized, 'User u has no CREATE'))
    } as typeof execute
    try {
      const opened = openCassandra(fresh(), keepingLog(), noFatal)
      await assert.rejects(opened, /may not make the tables of keyspace .*no CREATE.*grant it CREATE and ALTER/)
    } finally {
      Client.prototype.execute = execute
    }
  }).timeout(SETUP_MS_MAX)

  for (const [aheadMs, says] of [
    [61_000, /clock of Cassandra 127.0.0.1:\d+ is 61 s behind this machine's; let both follow NTP/],
    [-61_000, /clock of Cassandra 127.0.0.1:\d+ is 6[01] s ahead of this machine's/],
  ] as const) {
    it(`refuses clocks that are apart by ${aheadMs} ms`, async () => {
      const settings = fresh()
      const open = (ms: number) =>
        openCassandra(settings, keepingLog(), noFatal, cassandraLimits, () => Date.now() + ms)
      await assert.rejects(open(aheadMs), says)
      await (await open(aheadMs * 0.9)).close()
    }).timeout(SETUP_MS_MAX)
  }

  it('refuses a version that is too old, and says what a row rests on', async () => {
    const open = (versionMin: number) =>
      openCassandra(fresh(), keepingLog(), noFatal, cassandraLimits, Date.now, { ...nodeDemands, versionMin })
    await assert.rejects(open(99), /^Error: Cassandra 127.0.0.1:\d+ runs [\d.]+.*, which is too old; run 99.0 or later/)
    const store = await open(nodeDemands.versionMin)
    assert.match(store.promise(), /^Cassandra \d[\d.]+\S*, commitlog_sync (periodic|batch|group), one copy: /)
    await store.close()
  }).timeout(SETUP_MS_MAX)

  it('warns of a commit log that is synced periodically', async () => {
    const log = keepingLog()
    const store = await openCassandra(fresh(), log, noFatal)
    const client = rawClient(settingsFor('none'))
    const found = await client.execute("SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'")
    await client.shutdown()
    const isPeriodic = found.first()['value'] === 'periodic'
    assert.equal(store.warnings().length, isPeriodic ? 1 : 0)
    if (isPeriodic)
      assert.match(store.warnings()[0] ?? '', /syncs its commit log periodically: .* can lose the last seconds/)
    assert.deepEqual(log.texts, store.warnings())
    await store.close()
  }).timeout(SETUP_MS_MAX)

  it('does not wait for a Cassandra that is away: it serves when that comes, in a new Client', async () => {
    const point = settingsFor('none').contactPoints[0] as string
    const cable = await laidCable(point)
    await cable.cut()
    const store = await openCassandra(fresh({ contactPoints: [cable.point] }), keepingLog(), noFatal)
    assert.match(store.down() ?? '', /not reached yet/)
    assert.ok((await refusedAfter(store.rows.apply([row('d', seqOnDay(0))]))) < 100)
    assert.ok((await refusedAfter(store.rows.page('d', 0, 0, NEVER, 1))) < 100)
    assert.ok((await refusedAfter(store.backlog.deviceAfter(''))) < 100)
    await cable.heal()
    await untilItServes(() => store.rows.apply([row('d', seqOnDay(0))]))
    assert.equal(store.down(), undefined)
    await store.close()
    await cable.cut()
  }).timeout(SETUP_MS_MAX)

  it('tells of a wrong keyspace also when Cassandra comes later', async () => {
    const cable = await laidCable(settingsFor('none').contactPoints[0] as string)
    await cable.cut()
    let told: (error: Error) => void = () => undefined
    const fatal = new Promise<Error>((resolve) => (told = resolve))
    const settings = fresh({ contactPoints: [cable.point], migrate: false })
    const store = await openCassandra(settings, keepingLog(), (error) => told(error))
    await cable.heal()
    assert.ok((await fatal) instanceof SchemaFault)
    await store.close()
    await cable.cut()
  }).timeout(SETUP_MS_MAX)
})

describe('a Cassandra that goes away', () => {
  let scene: Scene
  let cable: Cable
  beforeEach(async function () {
    this.timeout(SETUP_MS_MAX)
    cable = await laidCable(settingsFor('none').contactPoints[0] as string)
    scene = await openScene('away', { contactPoints: [cable.point] })
    await scene.store.rows.apply([row('d', seqOnDay(0), 'before')])
  })
  afterEach(async function () {
    this.timeout(SETUP_MS_MAX)
    await cable.heal()
    await untilItServes(() => scene.store.rows.cursor('d'))
    await scene.client.shutdown()
    await scene.store.close()
    const client = rawClient(settingsFor('none'))
    await client.execute(`DROP KEYSPACE ${scene.keyspace}`, [], { prepare: false, readTimeout: 60_000 })
    await client.shutdown()
    await cable.cut()
  })

  const ways: readonly (readonly ['cut' | 'silent', number])[] = [
    // Three tries with up to 200 and 400 ms between them.
    ['cut', 1_500],
    ['silent', cassandraLimits.callTimeoutMs + 500],
  ]
  for (const [way, refusedMsMax] of ways) {
    it(`is refused with one fault in time, and served again without a restart: ${way}`, async () => {
      const { rows, backlog } = scene.store
      if (way === 'cut') await cable.cut()
      else cable.silence()
      const many = Array.from({ length: 500 }, (_, i) => row(`d${i}`, seqOnDay(0)))
      const calls = [
        rows.apply([row('d', seqOnDay(0) + 1, 'during')]),
        rows.apply(many),
        rows.page('d', 0, 0, NEVER, 9),
        rows.cursor('d'),
        rows.saveCursor('d', { seq: 1, sub: 0, above: [] }),
        rows.purge('d'),
        rows.drop('other', seqOnDay(0)),
        backlog.deviceAfter(''),
        // More than may be on their way: those who wait for their turn are refused in time as well.
        ...Array.from({ length: 300 }, (_, i) => rows.page(`d${i}`, 0, 0, NEVER, 9)),
      ]
      const times = await Promise.all(calls.map(refusedAfter))
      assert.ok(Math.max(...times) < refusedMsMax, `${Math.max(...times)} ms`)
      await cable.heal()
      await untilItServes(() => rows.apply([row('d', seqOnDay(0) + 1, 'during'), row('d', seqOnDay(0) + 2, 'after')]))
      assert.deepEqual((await rows.page('d', 0, 0, NEVER, 9)).map(textOfRow), ['before', 'during', 'after'])
      assert.equal(scene.store.down(), undefined)
    }).timeout(SETUP_MS_MAX)
  }

  it('has the days of its rows written again: it may have lost them with its last seconds', async () => {
    const { rows } = scene.store
    await cable.cut()
    await refusedAfter(rows.cursor('d'))
    const lost = rawClient(settingsFor('none'))
    await lost.execute(`TRUNCATE ${scene.keyspace}.inboxes`, [], {
      consistency: types.consistencies.one,
      readTimeout: 60_000,
    })
    await lost.shutdown()
    await cable.heal()
    await untilItServes(() => rows.apply([row('d', seqOnDay(0), 'before')]))
    assert.deepEqual((await rows.page('d', 0, 0, NEVER, 9)).map(textOfRow), ['before'])
  }).timeout(SETUP_MS_MAX)
})
