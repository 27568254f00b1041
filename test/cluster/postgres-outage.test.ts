/**
 * PostgreSQL stops, goes silent, is slow, or answers with errors: what is known is served, what is not known is a fault
 * and never "unknown", nobody waits for longer than 5 s, and when it is back everything goes on by itself.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { Client } from 'pg'
import type { PostgresOptions, PostgresStore } from '../../adapters/postgres/index.ts'
import { IntakeFault } from '../../core/envelope.ts'
import type { Log, Ports } from '../../core/ports.ts'
import { authenticate } from '../../plugins/authenticate.ts'
import { CONNACK_CREDENTIALS, CONNACK_UNAVAILABLE, type Connect } from '../../topics/frames.ts'
import { limits } from '../../topics/limits.ts'
import { type Cable, makeSchema, QUICK, type Schema, until } from './postgres-scene.ts'

const [ALICE, BOB] = [new Uint8Array(16).fill(1), new Uint8Array(16).fill(2)]
const READ_MS_MAX = 5_000
const QUICK_MS_MAX = 1_000
const hashOf = (token: string) => createHash('sha256').update(token).digest()
const isFault = (error: unknown) => error instanceof IntakeFault && error.code === 'storage_unavailable'
const isOverload = (error: unknown) => error instanceof IntakeFault && error.code === 'overloaded'

describe('an outage of PostgreSQL', () => {
  let schema: Schema
  let cable: Cable
  let store: PostgresStore
  const notices: string[] = []
  const logIn = (id: string) => store.directory.authenticate(id, hashOf(id))
  async function start(options: Partial<PostgresOptions> = { limits: QUICK }): Promise<void> {
    notices.length = 0
    const onNotice = (text: string) => void notices.push(text)
    store = await schema.open({ onNotice, ...options }, schema.through(cable))
    const account = (user: Uint8Array, handle: string) => ({ user, kind: 'person', handle, owner: undefined }) as const
    const device = (id: string, user: Uint8Array) => {
      return { id, user, number: 1, registrationId: 7, numbered: false, tokenHash: hashOf(id) }
    }
    const version = store.directory.version()
    await store.directory.create(
      [account(ALICE, 'alice'), account(BOB, 'bob')],
      [device('phone', ALICE), device('bobs', BOB)],
    )
    // Told by itself, and by the server: two users each.
    await until(() => store.directory.version() >= version + 4, QUICK_MS_MAX)
    assert.notEqual(await logIn('phone'), undefined)
  }
  beforeEach(async () => {
    schema = await makeSchema()
    cable = await schema.cable()
  })
  afterEach(() => schema.drop())

  async function assertServed(): Promise<void> {
    const { directory } = store
    assert.equal((await logIn('phone'))?.account.handle, 'alice')
    assert.equal((await directory.authenticate(undefined, hashOf('phone')))?.device.id, 'phone')
    for (const found of [
      directory.account(ALICE),
      directory.accountByHandle('alice'),
      directory.accountOfDevice('phone'),
    ]) {
      assert.equal((await found)?.devices.length, 1)
    }
  }
  async function assertNotUnknown(): Promise<void> {
    const { directory, accounts, keys } = store
    const bob = { user: new Uint8Array(16), kind: 'person', handle: undefined, owner: undefined } as const
    const asked = [
      () => logIn('bobs'),
      () => directory.authenticate('phone', hashOf('wrong')),
      () => directory.account(BOB),
      () => directory.accountByHandle('bob'),
      () => directory.accountOfDevice('bobs'),
      () => accounts.person(ALICE),
      () => accounts.personByPhone(hashOf('phone')),
      () => accounts.erase(BOB),
      () => directory.create([bob], []),
      () => directory.revoke('phone'),
      () => keys.take([{ device: 'phone', spend: true }]),
      () => keys.count('phone'),
      () => keys.repeated('phone'),
    ]
    for (const ask of asked) await assert.rejects(ask(), isFault, `${ask}`)
  }
  async function assertWell(): Promise<void> {
    await until(() => store.facts().isAnswering === 1 && store.facts().isHearing === 1, READ_MS_MAX)
    assert.notEqual(await logIn('bobs'), undefined)
    assert.equal(await store.directory.revoke('phone'), true)
    assert.equal(await logIn('phone'), undefined)
  }

  for (const how of ['cut', 'stall'] as const) {
    it(`(${how}) leaves what is known, makes faults of the rest, and is over without a restart`, async () => {
      await start()
      cable[how]()
      await assert.rejects(store.directory.account(BOB), isFault)
      assert.equal(store.facts().isAnswering, 0)
      await until(() => store.facts().isHearing === 0, READ_MS_MAX)
      const startedMs = performance.now()
      await assertServed()
      await assertNotUnknown()
      assert.ok(performance.now() - startedMs < QUICK_MS_MAX, 'nobody waits for a server that does not answer')
      assert.match(notices.join(), /^PostgreSQL does not answer/)
      cable.heal()
      await assertWell()
      assert.equal(notices.length, 2)
      assert.match(notices[1] ?? '', /answers again/)
    })
  }

  it('is noticed within 5 s with the limits as they are, by whoever asks first, and by a thousand at once', async () => {
    await start({})
    cable.stall()
    const startedMs = performance.now()
    const ids = Array.from({ length: 1_000 }, (_, i) => `d${i}`)
    const results = await Promise.allSettled(ids.map((id) => store.directory.accountOfDevice(id)))
    assert.ok(performance.now() - startedMs < READ_MS_MAX)
    for (const result of results) assert.ok(result.status === 'rejected' && result.reason instanceof IntakeFault)
    cable.heal()
    await assertWell()
  })

  it('lets nobody in of whom it is known that the device was revoked', async () => {
    await start()
    const other = await schema.open()
    const version = store.directory.version()
    await other.directory.revoke('phone')
    await until(() => store.directory.version() > version, QUICK_MS_MAX)
    cable.cut()
    await assert.rejects(logIn('phone'), isFault)
    await assert.rejects(store.directory.accountOfDevice('phone'), isFault)
  })

  it('makes a fault of what was known, after a time', async () => {
    await start({ limits: { ...QUICK, staleMs: 600 } })
    cable.cut()
    await assertServed()
    await until(() => logIn('phone').then(() => false, isFault), READ_MS_MAX)
    await assert.rejects(store.directory.account(ALICE), isFault)
    cable.heal()
    await assertWell()
  })

  it('is told to a device that connects as such, not as a wrong password', async () => {
    await start()
    const quiet: Log = { info: () => undefined, warn: () => undefined, error: () => undefined }
    const ports = { directory: store.directory, log: quiet } as unknown as Ports
    const connect = (id: string, password: string) =>
      authenticate(
        ports,
        { clientId: id, username: id, password: Buffer.from(password) } as unknown as Connect,
        hashOf(''),
        limits.authenticateTimeoutMs,
      )
    const codeOf = async (id: string, password = id) => {
      const login = await connect(id, password)
      return login.who === 'refused' ? login.returnCode : login.who
    }
    assert.equal(await codeOf('bobs', 'wrong'), CONNACK_CREDENTIALS)
    cable.cut()
    assert.equal(await codeOf('bobs'), CONNACK_UNAVAILABLE)
    assert.equal(await codeOf('phone'), 'device')
  })

  it('in the middle of writes leaves each of them whole or undone', async () => {
    await start()
    const writes = Array.from({ length: 40 }, (_, i) => {
      const user = new Uint8Array(16).fill(100 + i)
      const devices = [`a${i}`, `b${i}`].map((id, number) => {
        return { id, user, number, registrationId: 7, numbered: false, tokenHash: hashOf(id) }
      })
      return store.directory.create([{ user, kind: 'person', handle: undefined, owner: undefined }], devices)
    })
    await writes[0]
    cable.cut()
    const results = await Promise.allSettled(writes)
    for (const result of results) assert.ok(result.status === 'fulfilled' || isFault(result.reason))
    const rows = await schema.query(`SELECT u.user_id, count(d.id) AS n FROM users u LEFT JOIN devices d USING (user_id)
      WHERE handle IS NULL GROUP BY u.user_id`)
    assert.ok(rows.every((row) => row['n'] === '2'))
    const stored = results.filter(({ status }) => status === 'fulfilled').length
    assert.ok(stored >= 1 && rows.length >= stored)
  })

  it('of one table is no outage of the server: faults where it is needed, and answers elsewhere', async () => {
    await start()
    await schema.query('ALTER TABLE devices RENAME TO elsewhere')
    await assert.rejects(store.directory.account(BOB), isFault)
    await assert.rejects(logIn('bobs'), isFault)
    assert.deepEqual(await store.keys.count('phone'), { ec: 0, kem: 0 })
    assert.equal(store.facts().isAnswering, 1)
    await schema.query('ALTER TABLE elsewhere RENAME TO devices')
    await assertWell()
  })

  it('that is a lock which is held for long makes an overload, not an outage', async () => {
    await start()
    const blocker = new Client({ connectionString: schema.url })
    await blocker.connect()
    await blocker.query('BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE')
    await assert.rejects(store.directory.account(BOB), isOverload)
    await assert.rejects(
      store.directory.allow(BOB, ALICE).then(() => store.accounts.erase(BOB)),
      isOverload,
    )
    assert.equal((await logIn('phone'))?.device.id, 'phone')
    assert.equal(store.facts().isAnswering, 1)
    await blocker.query('COMMIT')
    await blocker.end()
    await assertWell()
  })

  it('of single connections is not noticed', async () => {
    await start()
    for (let round = 0; round < 2; round++) {
      await Promise.all(Array.from({ length: 10 }, () => store.keys.count('phone')))
      await schema.query(`SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity
        WHERE application_name = 'heliograph' AND datname = current_database()`)
      assert.deepEqual(await store.keys.count('phone'), { ec: 0, kem: 0 })
      await store.directory.allow(ALICE, BOB)
    }
    // Gone, and nobody has heard of it yet: what was begun over them is begun again.
    await Promise.all(Array.from({ length: 2 }, () => store.keys.count('phone')))
    cable.cut('heliograph\0')
    cable.heal()
    const [counts] = await Promise.all([store.keys.count('phone'), store.directory.allow(ALICE, BOB)])
    assert.deepEqual(counts, { ec: 0, kem: 0 })
    assert.deepEqual(notices, [])
    await assertWell()
  })

  it('does not keep a process from closing', async () => {
    for (const how of ['cut', 'stall'] as const) {
      await start()
      cable[how]()
      await assert.rejects(store.directory.account(BOB))
      const startedMs = performance.now()
      await store.close()
      assert.ok(performance.now() - startedMs < QUICK_MS_MAX)
      await assert.rejects(store.directory.account(BOB), isFault)
      cable.heal()
      await schema.query('TRUNCATE users CASCADE')
    }
  })
})
