/** Two processes on one database: what one changes, the other knows, within 5 s whatever happens to its connections. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { PostgresStore } from '../../adapters/postgres/index.ts'
import { type Cable, makeSchema, type Schema, until } from './postgres-scene.ts'

const ALICE = new Uint8Array(16).fill(1)
const LATE_MS_MAX = 5_000
/** Far below the age at which anything is read again anyway. */
const TOLD_MS_MAX = 1_000
const LISTENING = 'heliograph listening'
const hashOf = (id: string) => createHash('sha256').update(id).digest()

describe('changes between processes on PostgreSQL', () => {
  let schema: Schema
  let cable: Cable
  let here: PostgresStore
  let there: PostgresStore
  const isLetIn = async (id = 'phone') => (await there.directory.authenticate(id, hashOf(id))) !== undefined
  const isKnown = async () => (await there.directory.accountOfDevice('phone')) !== undefined
  const isHearing = () => there.facts().isHearing === 1
  beforeEach(async () => {
    schema = await makeSchema()
    cable = await schema.cable()
    here = await schema.open()
    there = await schema.open({}, schema.through(cable))
    const devices = ['phone', 'desk'].map((id, i) => {
      return { id, user: ALICE, number: i + 1, registrationId: 7, numbered: false, tokenHash: hashOf(id) }
    })
    const alice = { user: ALICE, kind: 'person', handle: 'alice', owner: undefined } as const
    await heardOf(() => here.directory.create([alice], devices))
    assert.ok((await isLetIn()) && (await isKnown()))
  })
  afterEach(() => schema.drop())
  /** Asks all the time, so that whatever may be remembered is. */
  const untilRefused = () => until(async () => !(await isLetIn()) && !(await isKnown()), LATE_MS_MAX)
  const heardOf = async (change: () => Promise<unknown>) => {
    const before = there.directory.version()
    await change()
    await until(() => there.directory.version() > before, TOLD_MS_MAX)
  }

  it('are told at once: devices, grants, accounts', async () => {
    await heardOf(() => here.directory.revoke('phone'))
    assert.equal(await isLetIn(), false)
    assert.equal(await isKnown(), false)
    await heardOf(() => here.directory.allow(ALICE, new Uint8Array(16).fill(2)))
    assert.equal((await there.directory.account(ALICE))?.allowed.size, 1)
    await heardOf(() => here.accounts.change('desk', { tokenHash: hashOf('fresh') }))
    assert.equal(await isLetIn('desk'), false)
    // Who was not there a moment ago: nobody may go on taking it for unknown.
    assert.equal(await there.directory.accountByHandle('bob'), undefined)
    const bob = { user: new Uint8Array(16).fill(3), kind: 'person', handle: 'bob', owner: undefined } as const
    await heardOf(() => here.directory.create([bob], []))
    assert.notEqual(await there.directory.accountByHandle('bob'), undefined)
  })

  it('are told of a thousand accounts that are made at once', async () => {
    const version = there.directory.version()
    const users = Array.from({ length: 1_000 }, (_, i) => {
      const user = new Uint8Array(16).fill(9)
      new DataView(user.buffer).setUint32(0, i)
      return { user, kind: 'thing', handle: undefined, owner: ALICE } as const
    })
    await here.directory.create(users, [])
    await until(() => there.directory.version() >= version + 1_000, TOLD_MS_MAX)
  })

  it('that nobody tells are seen within 5 s', async () => {
    await schema.query(`UPDATE devices SET revoked_ms = 1 WHERE id = 'phone'`)
    // From memory, or this would be a test of nothing.
    assert.ok((await isLetIn()) && (await isKnown()))
    assert.ok((await untilRefused()) > TOLD_MS_MAX)
  })

  it('are seen within 5 s when the listening connection is ended and cannot come back', async () => {
    cable.cut(LISTENING)
    const version = there.directory.version()
    await here.directory.revoke('phone')
    await untilRefused()
    assert.equal(isHearing(), false)
    // Whoever resolved something before resolves it again.
    assert.ok(there.directory.version() > version)
    const later = there.directory.version()
    await until(() => there.directory.version() > later, LATE_MS_MAX / 2)
    cable.heal()
    await until(isHearing, LATE_MS_MAX)
    await heardOf(() => here.directory.revoke('desk'))
    assert.equal(await isLetIn('desk'), false)
  })

  it('are seen within 5 s when the listening connection goes silent', async () => {
    cable.stall(LISTENING)
    const version = there.directory.version()
    await here.directory.revoke('phone')
    await untilRefused()
    assert.equal(isHearing(), false, 'it was noticed, and not only read again')
    assert.ok(there.directory.version() > version)
    cable.heal()
    await until(isHearing, LATE_MS_MAX)
  })

  it('may be missed from the moment on at which the listening connection ends, not only when it is tried', async () => {
    const other = await schema.open({ limits: { beatEveryMs: 60_000 } }, schema.through(cable))
    const version = other.directory.version()
    cable.cut(LISTENING)
    await until(() => other.facts().isHearing === 0 && other.directory.version() > version, TOLD_MS_MAX)
  })

  it('are heard again after the server ended the listening connections', async () => {
    const listening = `SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity
      WHERE application_name = $1 AND datname = current_database()`
    assert.equal((await schema.query(listening, [LISTENING])).length, 2)
    await here.directory.revoke('phone')
    await untilRefused()
    await until(() => isHearing() && here.facts().isHearing === 1, LATE_MS_MAX)
    await heardOf(() => here.directory.revoke('desk'))
    assert.equal(await isLetIn('desk'), false)
  })
})
