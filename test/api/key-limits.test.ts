/**
 * Limits of the key directory as those who take bundles meet them: every bundle is asked for over HTTP, as many as the
 * limit says, and one more. The clock stands still, so that the limit is exact however long that takes.
 */
import assert from 'node:assert/strict'
import { limits } from '../../topics/limits.ts'
import { call, type HttpAnswer, link, makeKeys, type Person, register } from '../world/person.ts'
import { accountOf, waitMs } from './key-scene.ts'
import { assertProblem, startTestNode, type TestNode } from './node.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
/** Requests that are under way at one time. */
const SIDE_BY_SIDE = 16
/** What is not tested here: how many register from one address. */
const UNLIMITED = {
  CODES_PER_MINUTE_MAX: '1000000',
  CODES_PER_ADDRESS_PER_HOUR_MAX: '1000000',
  CODES_TRIED_PER_ADDRESS_PER_HOUR_MAX: '1000000',
}

/** The time of the node stands still, but for what `offsetMs` is moved by. */
function stopClock({ clock }: TestNode): { movedMs: number } {
  const stopped = { movedMs: 0 }
  const startMs = Date.now()
  Object.defineProperty(clock, 'offsetMs', { get: () => startMs + stopped.movedMs - Date.now() })
  return stopped
}

/** Does all of it, some side by side; the answers are in the order of `all`. */
async function each<T, R>(all: readonly T[], work: (one: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const lane = async () => {
    while (next < all.length) {
      const at = next++
      results[at] = await work(all[at] as T)
    }
  }
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, lane))
  return results
}

describe('limits of the key directory', () => {
  let test: TestNode
  let clock: { movedMs: number }
  let people = 0
  beforeEach(async () => {
    test = await startTestNode(UNLIMITED)
    clock = stopClock(test)
  })
  afterEach(() => test.stop())

  const person = (oneTime: number): Promise<Person> =>
    register(test, `+1555${String(2_000_000 + ++people)}`, { keys: makeKeys({ oneTime }) })
  const get = (by: Person, path: string): Promise<HttpAnswer> =>
    call(test.url, 'GET', `/v1/keys/${path}`, { token: by.token })
  /** So many devices: of persons with as many as they may have. */
  async function devices(count: number): Promise<Person[]> {
    const perPerson = 1 + limits.linkedDevicesMax
    const primaries = await each(Array.from({ length: Math.ceil(count / perPerson) }), () => person(0))
    const linked = await each(primaries, async (primary) => {
      const others: Person[] = []
      while (others.length < limits.linkedDevicesMax) others.push(await link(test, primary))
      return others
    })
    return primaries.flatMap((primary, i) => [primary, ...(linked[i] ?? [])]).slice(0, count)
  }
  const statuses = (answers: readonly HttpAnswer[]): number[] => [...new Set(answers.map(({ status }) => status))]

  /** Refused until exactly as much later as it says, in whole seconds. */
  async function assertWait(ask: () => Promise<HttpAnswer>, exactMs: number): Promise<void> {
    const refusal = await ask()
    assertProblem(refusal, 429, 'rate_limited')
    assert.equal(waitMs(refusal), Math.ceil(exactMs / 1_000) * 1_000)
    clock.movedMs += exactMs - 10
    assertProblem(await ask(), 429, 'rate_limited')
    clock.movedMs += waitMs(refusal) - exactMs + 10
    assert.equal((await ask()).status, 200)
  }

  it(`let a device have ${limits.bundlesPerPairBurst} bundles of another at once, and then one in a while`, async () => {
    const [alice, bob] = [await person(0), await person(0)]
    const ask = () => get(alice, bob.user)
    const burst = Array.from({ length: limits.bundlesPerPairBurst })
    assert.deepEqual(statuses(await each(burst, ask)), [200])
    await assertWait(ask, limits.bundlesPerPairEveryMs)
    assertProblem(await ask(), 429, 'rate_limited')
    // All of them again after as long as all of them take.
    clock.movedMs += burst.length * limits.bundlesPerPairEveryMs
    assert.deepEqual(statuses(await each(burst, ask)), [200])
    assertProblem(await ask(), 429, 'rate_limited')
  })

  const perDay = limits.bundlesPerTakerPerDayMax
  it(`let a device have ${perDay} bundles in a day, of whomever, and not one more`, async function () {
    this.timeout(120_000)
    const targets = await devices(Math.ceil(perDay / limits.bundlesPerPairBurst))
    const taker = await person(0)
    const asked = Array.from({ length: perDay }, (_, i) => targets[i % targets.length] as Person)
    const answers = await each(asked, ({ user, number }) => get(taker, `${user}/${number}`))
    assert.deepEqual(statuses(answers), [200])
    for (const [i, answer] of answers.entries()) {
      assert.deepEqual(
        accountOf(answer).devices.map(({ number }) => number),
        [asked[i]?.number],
      )
    }
    // Of somebody whom it never asked for, in each of the ways to ask.
    const stranger = await person(0)
    const batch = () =>
      call(test.url, 'POST', '/v1/keys/batch', { token: taker.token, body: { users: [stranger.user] } })
    assertProblem(await get(taker, stranger.user), 429, 'rate_limited')
    assertProblem(await batch(), 429, 'rate_limited')
    // Others are not in it.
    assert.equal((await get(stranger, taker.user)).status, 200)
    await assertWait(() => get(taker, stranger.user), DAY_MS / perDay)
  })

  const perHour = limits.bundlesPerTargetPerHourMax
  it(`spend ${perHour} one-time keys of a device in an hour, and not one more, whoever asks`, async function () {
    this.timeout(60_000)
    const target = await person(limits.oneTimePrekeysMax)
    const takers = await devices(Math.ceil(perHour / limits.bundlesPerPairBurst) + 2)
    const [stranger, another, ...others] = takers as [Person, Person, ...Person[]]
    const asks = Array.from({ length: perHour }, (_, i) => others[i % others.length] as Person)
    const given: (number | undefined)[] = []
    // The device fills up whenever all are gone.
    for (let from = 0; from < perHour; from += limits.oneTimePrekeysMax) {
      if (from > 0) {
        const { oneTimePrekeys, oneTimeKemPrekeys } = makeKeys({
          identity: target.keys.identity,
          oneTime: limits.oneTimePrekeysMax,
          firstId: 10_000 + from * 10,
        }).body.keys
        const { status } = await call(test.url, 'PUT', '/v1/keys', {
          token: target.token,
          body: { oneTimePrekeys, oneTimeKemPrekeys },
        })
        assert.equal(status, 204)
      }
      const answers = await each(asks.slice(from, from + limits.oneTimePrekeysMax), (by) => get(by, target.user))
      given.push(...answers.map((answer) => accountOf(answer).devices[0]?.oneTimePrekey?.id))
    }
    assert.ok(!given.includes(undefined))
    assert.equal(new Set(given).size, perHour)
    const { oneTimePrekeys, oneTimeKemPrekeys } = makeKeys({
      identity: target.keys.identity,
      firstId: 90_000,
    }).body.keys
    await call(test.url, 'PUT', '/v1/keys', { token: target.token, body: { oneTimePrekeys, oneTimeKemPrekeys } })
    // There are some, and this hour's are spent: it is answered all the same, on the key that is used again.
    const bundle = async (by: Person) => accountOf(await get(by, target.user)).devices[0]
    for (const by of [stranger, another]) {
      const beyond = await bundle(by)
      assert.equal(beyond?.oneTimePrekey, undefined)
      assert.deepEqual(beyond?.kemPrekey, target.keys.body.keys.lastResortPrekey)
    }
    clock.movedMs += HOUR_MS / perHour - 10
    assert.equal((await bundle(stranger))?.oneTimePrekey, undefined)
    clock.movedMs += 10
    assert.deepEqual((await bundle(another))?.oneTimePrekey, oneTimePrekeys[0])
    assert.equal((await bundle(another))?.oneTimePrekey, undefined)
  })
})
