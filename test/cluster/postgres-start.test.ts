/** What PostgreSQL and its schema have to be at start. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openPostgres } from '../../adapters/postgres/index.ts'
import { MIGRATIONS } from '../../adapters/postgres/schema.ts'
import { ConfigFault } from '../../core/config.ts'
import { startPostgres } from '../services/postgres.ts'
import { makeSchema, type Schema } from './postgres-scene.ts'

const says = (text: RegExp) => (error: unknown) => error instanceof ConfigFault && text.test(error.message)

describe('the start on PostgreSQL', () => {
  let schema: Schema
  beforeEach(async () => {
    schema = await makeSchema()
  })
  afterEach(() => schema.drop())

  it('brings an empty database up to date once, also when eight processes start at once', async () => {
    const stores = await Promise.all(Array.from({ length: 8 }, () => schema.open()))
    assert.deepEqual(await schema.query('SELECT version FROM schema_version'), [{ version: MIGRATIONS.length }])
    const user = new Uint8Array(16).fill(1)
    await stores[0]?.directory.create([{ user, kind: 'person', handle: 'alice', owner: undefined }], [])
    for (const { directory } of stores) assert.equal((await directory.accountByHandle('alice'))?.kind, 'person')
  })

  it('refuses a database that a newer version wrote, and leaves it as it is', async () => {
    await (await schema.open()).close()
    await schema.query('UPDATE schema_version SET version = 99')
    await assert.rejects(schema.open(), says(/newer version \(schema 99, this one knows \d+\); start that version/))
    assert.deepEqual(await schema.query('SELECT version FROM schema_version'), [{ version: 99 }])
  })

  it('makes nothing when one migration fails', async () => {
    await schema.query('CREATE TABLE prekeys (taken integer)')
    await assert.rejects(schema.open(), /prekeys/)
    const rows = await schema.query('SELECT tablename FROM pg_tables WHERE schemaname = current_schema()')
    assert.deepEqual(rows, [{ tablename: 'prekeys' }])
  })

  it('refuses a server that forgets what it confirmed, unless it is told not to mind', async () => {
    const url = new URL(schema.url)
    const options = url.searchParams.get('options')
    url.searchParams.set('options', `${options} -c synchronous_commit=off`)
    await assert.rejects(schema.open({ mayForget: false }, url.href), says(/synchronous_commit off.*Switch that on/))
    assert.deepEqual(await schema.query('SELECT 1 FROM pg_tables WHERE schemaname = current_schema()'), [])
    await schema.open({ mayForget: true }, url.href)
  })

  for (const [skewMs, text] of [
    [61_000, /clock of PostgreSQL is 61 s behind this machine's; let both follow NTP/],
    [-61_000, /clock of PostgreSQL is 6[01] s ahead of this machine's/],
  ] as const) {
    it(`refuses clocks that are apart by ${skewMs} ms`, async () => {
      await assert.rejects(schema.open({ now: () => Date.now() + skewMs }), says(text))
      await schema.open({ now: () => Date.now() + skewMs * 0.9 })
    })
  }

  it('refuses a version that is too old, and says what an account rests on', async () => {
    await assert.rejects(schema.open({ versionMin: 990_000 }), says(/^PostgreSQL \d+.* is too old; run 99 or later/))
    const { promise } = await schema.open()
    assert.match(
      promise,
      /^PostgreSQL \d+.*, fsync (on|off), synchronous_commit (on|off): an account is on its disk alone/,
    )
  })

  it('says so when nobody listens there, without the password', async () => {
    const cable = await schema.cable()
    const url = new URL(schema.through(cable))
    url.password = 'very-secret'
    cable.cut()
    await assert.rejects(schema.open({}, url.href), (error) => {
      assert.ok(error instanceof ConfigFault)
      assert.match(error.message, /cannot be reached .*mend DATABASE_URL/)
      assert.doesNotMatch(error.message, /very-secret/)
      return true
    })
  })
})

describe('the start on a PostgreSQL of its own', () => {
  it('refuses one with fsync off, and one that is a hot standby, and says what to do', async () => {
    const server = await startPostgres({ isFast: true })
    const open = (mayForget: boolean) =>
      openPostgres(server.url, { now: Date.now, onNotice: () => undefined, mayForget })
    try {
      await assert.rejects(open(false), says(/^PostgreSQL runs with fsync .* off: .*Switch that on/))
      await (await open(true)).close()
      await server.kill()
      // With this it follows a primary, here one that never sends anything, and is read from meanwhile.
      writeFileSync(join(server.folder, 'data', 'standby.signal'), '')
      await server.revive()
      await assert.rejects(open(true), says(/^PostgreSQL is a standby and takes no writes; let DATABASE_URL name the/))
    } finally {
      await server.stop()
    }
  }).timeout(60_000)
})
