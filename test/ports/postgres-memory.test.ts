/** What the directory of PostgreSQL remembers, and for how long: no server is needed to know. */
import assert from 'node:assert/strict'
import { DEFAULT_LIMITS } from '../../adapters/postgres/limits.ts'
import { createMemory, type Memory } from '../../adapters/postgres/memory.ts'
import type { Account } from '../../core/ports.ts'

const SECOND_MS = 1_000
const MINUTE_MS = 60 * SECOND_MS
const user = (byte: number) => new Uint8Array(16).fill(byte)
const key = (byte: number) => Buffer.from(user(byte)).toString('latin1')
const device = { id: 'phone', number: 1, registrationId: 7, numbered: false }
const ALICE: Account = {
  user: user(1),
  key: key(1),
  kind: 'person',
  handle: 'alice',
  owner: undefined,
  allowed: new Set(),
  devices: [device],
}
const LOGIN = { device, token: 'tsecret' } as const

describe('the memory of the directory on PostgreSQL', () => {
  let nowMs: number
  let memory: Memory
  beforeEach(() => {
    nowMs = MINUTE_MS
    memory = createMemory({ ...DEFAULT_LIMITS, accountsCachedMax: 2 }, () => nowMs)
    memory.onHeard()
  })
  afterEach(() => memory.close())
  function read(account: Account, login?: typeof LOGIN): void {
    const reading = memory.begin()
    memory.keep(reading, account, login)
    memory.end(reading)
  }
  /** Time goes on, and the listening connection with it. */
  function hear(ms: number): void {
    nowMs += ms
    memory.onBeat(nowMs)
  }
  const isFresh = () => memory.account('halice', true) !== undefined
  const isServed = () => memory.account('halice', false) !== undefined

  it('answers by user, handle, device and token for 4 s', () => {
    read(ALICE, LOGIN)
    hear(4 * SECOND_MS)
    for (const name of [`u${key(1)}`, 'halice', 'dphone'] as const) assert.equal(memory.account(name, true), ALICE)
    assert.deepEqual(memory.login('phone', 'tsecret', true), { account: ALICE, device })
    assert.deepEqual(memory.login(undefined, 'tsecret', true), { account: ALICE, device })
    assert.equal(memory.login('desk', 'tsecret', true), undefined)
    assert.equal(memory.login('phone', 'tother', true), undefined)
    hear(1)
    assert.equal(isFresh(), false)
    assert.equal(memory.login('phone', 'tsecret', true), undefined)
  })

  it('forgets who changed, also for the time when nobody else answers', () => {
    read(ALICE, LOGIN)
    const before = memory.version()
    memory.onChange([ALICE.user])
    assert.ok(memory.version() > before)
    assert.equal(isServed(), false)
    assert.equal(memory.login('phone', 'tsecret', false), undefined)
  })

  it('does not keep what changed while it was read', () => {
    const [reading, other] = [memory.begin(), memory.begin()]
    memory.onChange([user(2)])
    memory.keep(other, ALICE)
    assert.equal(isFresh(), true)
    memory.onChange([ALICE.user])
    memory.end(other)
    memory.keep(reading, ALICE)
    assert.equal(isServed(), false)
    memory.end(reading)
    read(ALICE)
    assert.equal(isFresh(), true)
  })

  it('has nothing fresh when changes may have been missed, and what is read then for 1.5 s', () => {
    read(ALICE)
    hear(1)
    const before = memory.version()
    memory.onLost()
    assert.ok(memory.version() > before)
    assert.equal(isFresh(), false)
    nowMs += 1
    read(ALICE)
    nowMs += 1_500
    assert.equal(isFresh(), true)
    nowMs += 1
    assert.equal(isFresh(), false)
    read(ALICE)
    nowMs += 1
    memory.onHeard()
    assert.equal(isFresh(), false)
  })

  it('serves without the server until 10 minutes after the last moment at which it was heard that nothing changed', () => {
    read(ALICE, LOGIN)
    hear(60 * MINUTE_MS)
    memory.onLost()
    nowMs += 10 * MINUTE_MS
    assert.equal(isServed(), true)
    assert.deepEqual(memory.login('phone', 'tsecret', false), { account: ALICE, device })
    nowMs += 1
    assert.equal(isServed(), false)
    assert.equal(memory.login('phone', 'tsecret', false), undefined)
  })

  it('takes nothing for confirmed that was read before changes were missed', () => {
    read(ALICE, LOGIN)
    memory.onLost()
    nowMs += SECOND_MS
    memory.onHeard()
    read(ALICE)
    hear(10 * MINUTE_MS)
    assert.equal(isServed(), true)
    // The account was read again, and the token was not.
    assert.equal(memory.login('phone', 'tsecret', false), undefined)
  })

  it('drops the token of a device that is not there any more', () => {
    read(ALICE, LOGIN)
    read({ ...ALICE, devices: [] })
    assert.equal(memory.login('phone', 'tsecret', false), undefined)
    assert.equal(memory.account('dphone', false), undefined)
  })

  it('keeps so many accounts at most: the one that was read longest ago goes', () => {
    const named = (byte: number): Account => ({
      ...ALICE,
      user: user(byte),
      key: key(byte),
      handle: `n${byte}`,
      devices: [],
    })
    for (const byte of [2, 3, 2, 4]) read(named(byte))
    assert.equal(memory.size(), 2)
    assert.deepEqual(
      (['hn2', 'hn3', 'hn4'] as const).map((name) => memory.account(name, true) !== undefined),
      [true, false, true],
    )
  })
})
