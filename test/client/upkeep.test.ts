/**
 * One's own keys on the server: refilled when they run low, after a random time; renewed when they are old, put right
 * when they differ.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { IdentityKeyPair } from '@signalapp/libsignal-client'
import { type Account, readAccount, readNumber } from '../../client/crypto/account.ts'
import { makeOneTime, makeRepeated, repeatedKeys } from '../../client/crypto/prekeys.ts'
import { REFILL_AT_ONCE_BELOW, REFILL_DELAY_MS_MAX } from '../../client/devices/key-upkeep.ts'
import { type Api, type Bundle, createApi } from '../../client/http/api.ts'
import { openStore } from '../../client/store/open.ts'
import { limits } from '../../topics/limits.ts'
import { type People, type Person, startPeople, userOf } from './people.ts'

const DAY_MS = 86_400_000
const TIMEOUT_MS = 10_000

/** Asks until the answer is the wanted one. */
async function eventually<T>(ask: () => Promise<T>, isIt: (answer: T) => boolean, what: string): Promise<T> {
  const endMs = performance.now() + TIMEOUT_MS
  for (;;) {
    const answer = await ask()
    if (isIt(answer)) return answer
    if (performance.now() > endMs) throw new Error(`no ${what}; last ${JSON.stringify(answer)}`)
    await delay(20)
  }
}

describe('the keys of a device on the server', () => {
  let people: People
  let alice: Person
  let bob: Person
  let own: { api: Api; account: Account }
  let other: { api: Api }
  /** What Alice draws; 0 is "at once". */
  let drawn = 0
  const random = () => drawn
  /** Requests of everybody here: told when they begin, and when they were answered. */
  const begun: string[] = []
  const answered: string[] = []
  const realFetch = globalThis.fetch
  before(async () => {
    globalThis.fetch = async (input, init) => {
      const line = `${init?.method} ${new URL(input as string).pathname}`
      begun.push(line)
      const response = await realFetch(input, init)
      answered.push(line)
      return response
    }
    people = await startPeople()
    alice = await people.person('alice', { random })
    bob = await people.person('bob')
    own = await apiOf(alice)
    other = await apiOf(bob)
    await reconnect(bob)
  })
  after(async () => {
    globalThis.fetch = realFetch
    await people.stop()
  })

  /** Comes back, looks at its keys, and does what it then does: no upload. */
  async function looksAndLeaves(): Promise<void> {
    await alice.client.close()
    begun.length = 0
    answered.length = 0
    await reconnect(alice)
    await alice.until(() => answered.includes('GET /v1/keys/count'), 'look at the keys')
    // An upload is made in a turn, and this one is behind it.
    await alice.client.setVerified(userOf(bob), false)
    assert.ok(begun.includes('POST /v1/keys/check'))
    assert.deepEqual(
      begun.filter((line) => line === 'PUT /v1/keys'),
      [],
    )
  }

  /** The API with the token of a person, who is closed and opened again. */
  async function apiOf(person: Person): Promise<{ api: Api; account: Account }> {
    await person.client.close()
    const store = openStore(person.folder, { keyFile: join(person.folder, 'key') })
    const account = readAccount(store) as Account
    await store.close()
    await person.reopen()
    return { api: createApi(people.node.url, () => account.token), account }
  }

  async function reconnect(person: Person): Promise<void> {
    await person.reopen()
    person.events.length = 0
    person.client.connect()
    await person.until(() => person.events.some(({ event }) => event === 'caughtUp'), 'caught up')
  }

  /** Puts one-time keys of the client itself on the server, so many of each kind and no more. */
  async function leave(count: number): Promise<void> {
    await alice.client.close()
    const store = openStore(alice.folder, { keyFile: join(alice.folder, 'key') })
    const kinds = { ec: true, kem: true }
    const made = await store.turn(() => makeOneTime(store, own.account.identity, kinds, Date.now()))
    await store.close()
    await own.api.putKeys({
      oneTimePrekeys: made.oneTimePrekeys?.slice(0, count) ?? [],
      oneTimeKemPrekeys: made.oneTimeKemPrekeys?.slice(0, count) ?? [],
    })
    assert.deepEqual(await own.api.countKeys(), { ec: count, kem: count })
    await alice.reopen()
  }

  const full = ({ ec, kem }: { ec: number; kem: number }) =>
    ec === limits.oneTimePrekeysMax && kem === limits.oneTimePrekeysMax

  /** The signed prekey that others are given; it takes a one-time key. */
  async function handedOut(): Promise<Bundle> {
    const { devices } = await other.api.takeKeys(userOf(alice))
    return devices[0] as Bundle
  }
  async function inForce(): Promise<{ signed: number; last: number }> {
    await alice.client.close()
    const store = openStore(alice.folder, { keyFile: join(alice.folder, 'key') })
    const keys = repeatedKeys(store)
    await store.close()
    await alice.reopen()
    return { signed: keys?.signed.id ?? 0, last: keys?.last.id ?? 0 }
  }

  it('are filled up at the next connection when few are left', async () => {
    await leave(limits.prekeysLow - 1)
    await reconnect(alice)
    await eventually(() => own.api.countKeys(), full, 'full set')
  })

  it('are left alone while there are enough', async () => {
    await leave(limits.prekeysLow)
    await looksAndLeaves()
    assert.deepEqual(await own.api.countKeys(), { ec: limits.prekeysLow, kem: limits.prekeysLow })
  })

  it('are filled up while it is online, as soon as the server says that few are left', async () => {
    await handedOut()
    await eventually(() => own.api.countKeys(), full, 'full set')
  })

  describe('that are few are filled up after a random time', () => {
    const LONGEST = 1 - Number.EPSILON
    let aheadMs = 0
    before(async () => {
      // The keys that were made in two days would be renewed under this clock.
      alice.settings = { random }
      await alice.client.close()
      answered.length = 0
      await reconnect(alice)
      await alice.until(() => answered.includes('PUT /v1/keys'), 'upload')
    })
    beforeEach(() => {
      aheadMs = 0
      alice.settings = { random, now: () => Date.now() + aheadMs }
    })
    afterEach(() => {
      drawn = 0
    })

    /** Ms from now until the refill that is written down; Alice is closed and opened for it. */
    async function dueInMs(): Promise<number> {
      await alice.client.close()
      const store = openStore(alice.folder, { keyFile: join(alice.folder, 'key') })
      const dueMs = readNumber(store, 'refill_due_ms')
      await store.close()
      await alice.reopen()
      return dueMs - Date.now()
    }

    it(`between nothing and ${REFILL_DELAY_MS_MAX} ms, both included, that is drawn once and outlives a restart`, async () => {
      await leave(limits.prekeysLow - 1)
      drawn = LONGEST
      await looksAndLeaves()
      const longest = await dueInMs()
      assert.ok(longest <= REFILL_DELAY_MS_MAX && longest > REFILL_DELAY_MS_MAX - TIMEOUT_MS, `${longest}`)
      // Whoever makes it come back again and again gets no other time.
      drawn = 0
      await looksAndLeaves()
      assert.ok((await dueInMs()) <= longest)
      aheadMs = longest - 60_000
      await looksAndLeaves()
      assert.deepEqual(await own.api.countKeys(), { ec: limits.prekeysLow - 1, kem: limits.prekeysLow - 1 })
      aheadMs = REFILL_DELAY_MS_MAX + 1
      await reconnect(alice)
      await eventually(() => own.api.countKeys(), full, 'full set')
      // The next one draws anew.
      await leave(limits.prekeysLow - 1)
      drawn = LONGEST
      await looksAndLeaves()
    })

    it('by themselves when the time has come, without another connection', async () => {
      drawn = 3_000 / REFILL_DELAY_MS_MAX
      // What the test before drew lies too far ahead for this clock.
      aheadMs = -2 * REFILL_DELAY_MS_MAX
      await leave(limits.prekeysLow - 1)
      await looksAndLeaves()
      await eventually(() => own.api.countKeys(), full, 'full set')
      assert.equal(begun.filter((line) => line === 'PUT /v1/keys').length, 1)
    })

    it(`at once when fewer than ${REFILL_AT_ONCE_BELOW} are left`, async () => {
      drawn = LONGEST
      await leave(REFILL_AT_ONCE_BELOW)
      await looksAndLeaves()
      await leave(REFILL_AT_ONCE_BELOW - 1)
      await reconnect(alice)
      await eventually(() => own.api.countKeys(), full, 'full set')
      await leave(1)
      await reconnect(alice)
      await eventually(() => own.api.countKeys(), full, 'full set again')
    })

    it('that was drawn under a clock far ahead does not hold', async () => {
      drawn = LONGEST
      aheadMs = DAY_MS
      await leave(limits.prekeysLow - 1)
      await looksAndLeaves()
      aheadMs = 0
      drawn = 0
      await reconnect(alice)
      await eventually(() => own.api.countKeys(), full, 'full set')
    })
  })

  it('that are used once can be written to', async () => {
    const carol = await people.person('carol')
    await carol.client.send(userOf(alice), 'with a new one-time key')
    await alice.until(() => alice.received.some(({ author }) => author === userOf(carol)), 'the message')
    assert.deepEqual(
      alice.events.filter(({ event }) => event === 'unreadable' || event === 'fault'),
      [],
    )
  })

  it('that repeat are renewed after two days, not before, and the ones before still open messages', async () => {
    const first = await handedOut()
    alice.settings = { random, now: () => Date.now() + 2 * DAY_MS - 60_000 }
    await looksAndLeaves()
    // Somebody who has the old bundle and uses it late.
    const dave = await people.person('dave')
    await alice.client.close()
    await dave.client.send(userOf(alice), 'under the old keys')
    await dave.until(() => dave.client.waiting() === 0, 'stored')
    alice.settings = { random, now: () => Date.now() + 2 * DAY_MS + 60_000 }
    answered.length = 0
    await reconnect(alice)
    await alice.until(() => answered.includes('PUT /v1/keys'), 'upload')
    const second = await handedOut()
    assert.notEqual(second.signedPrekey.id, first.signedPrekey.id)
    assert.notDeepEqual(second.signedPrekey.key, first.signedPrekey.key)
    await alice.until(() => alice.received.some(({ text }) => text === 'under the old keys'), 'the late message')
    assert.equal(second.signedPrekey.id, (await inForce()).signed)
  })

  it('that are not those of the device are uploaded again', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'heliograph-keys-'))
    const store = openStore(folder, { keyFile: join(folder, 'key') })
    const alien = await store.turn(() => makeRepeated(store, own.account.identity, Date.now()))
    await store.close()
    rmSync(folder, { recursive: true, force: true })
    const before = await inForce()
    await alice.client.close()
    await own.api.putKeys(alien)
    answered.length = 0
    await reconnect(alice)
    await alice.until(() => answered.includes('PUT /v1/keys'), 'upload')
    const now = await inForce()
    assert.equal((await handedOut()).signedPrekey.id, now.signed)
    assert.notDeepEqual(now, before)
  })

  it('are signed by its identity; others are refused', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'heliograph-keys-'))
    const store = openStore(folder, { keyFile: join(folder, 'key') })
    const forged = await store.turn(() => makeRepeated(store, IdentityKeyPair.generate(), Date.now()))
    await store.close()
    rmSync(folder, { recursive: true, force: true })
    await assert.rejects(own.api.putKeys(forged), (error: { code?: string }) => error.code === 'signature_wrong')
  })
})
