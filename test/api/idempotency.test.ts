import assert from 'node:assert/strict'
import { createAnswers } from '../../api/idempotency.ts'
import { limits } from '../../topics/limits.ts'
import { askCode, call, type HttpAnswer, makeKeys, type Person, register } from '../world/person.ts'
import { assertProblem, startTestNode, type TestNode } from './node.ts'

const ANN = '+15550001111'
const BOB = '+15550002222'

describe('Idempotency-Key', () => {
  let test: TestNode
  let ann: Person
  const key = (text: string) => ({ 'idempotency-key': text })
  const rotate = (token: string, text: string): Promise<HttpAnswer> =>
    call(test.url, 'POST', '/v1/tokens', { token, headers: key(text) })
  beforeEach(async () => {
    test = await startTestNode()
    ann = await register(test, ANN)
  })
  afterEach(() => test.stop())

  it('fetches a lost answer again: the new token, with the old one that is refused otherwise', async () => {
    const first = await rotate(ann.token, 'one')
    assert.equal(first.status, 201)
    const again = await rotate(ann.token, 'one')
    assert.deepEqual([again.status, again.body], [201, first.body])
    assert.equal(again.headers.get('idempotency-replayed'), 'true')
    assert.equal(again.headers.get('cache-control'), 'no-store')
    assert.equal(first.headers.get('idempotency-replayed'), null)
    assertProblem(await rotate(ann.token, 'two'), 401, 'unauthorized')
    const token = String(first.body['token'])
    assert.equal((await call(test.url, 'GET', '/v1/account', { token })).status, 200)
  })

  it('gives the old token nothing else: another request with it is refused', async () => {
    await rotate(ann.token, 'one')
    const other = await call(test.url, 'DELETE', '/v1/account', { token: ann.token, headers: key('one') })
    assertProblem(other, 422, 'idempotency_reused')
    const read = await call(test.url, 'GET', '/v1/account', { token: ann.token, headers: key('one') })
    assertProblem(read, 401, 'unauthorized')
  })

  it('begins one session when the answer is lost, though the code is spent', async () => {
    const code = await askCode(test, BOB)
    const { body } = makeKeys()
    const begin = (change: object = {}) =>
      call(test.url, 'POST', '/v1/sessions', { body: { phone: BOB, code, ...body, ...change }, headers: key('begin') })
    const first = await begin()
    assert.equal(first.status, 201)
    assert.deepEqual((await begin()).body, first.body)
    assertProblem(await begin({ handle: 'bob' }), 422, 'idempotency_reused')
    const stranger = await begin({ identityKey: makeKeys().body.identityKey })
    assert.notEqual(stranger.status, 201)
  })

  it('sends one code for a request that comes twice', async () => {
    const ask = (phone: string) =>
      call(test.url, 'POST', '/v1/registrations', { body: { phone }, headers: key('register') })
    assert.equal((await ask(BOB)).status, 202)
    assert.equal((await ask(BOB)).status, 202)
    assert.equal((await ask('+15550003333')).status, 202)
  })

  it('is per caller: two devices may use the same one', async () => {
    const bob = await register(test, BOB)
    const [one, two] = [await rotate(ann.token, 'same'), await rotate(bob.token, 'same')]
    assert.deepEqual([one.status, two.status], [201, 201])
    assert.notEqual(one.body['token'], two.body['token'])
  })

  it('works a request off once when it comes many times at once; the others are told to ask again', async () => {
    const { accounts } = test.node.server.opened.ports
    const { change } = accounts
    let changes = 0
    let release: () => void = () => undefined
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    accounts.change = async (...args) => {
      changes++
      await held
      return change(...args)
    }
    const first = rotate(ann.token, 'busy')
    await new Promise<void>((resolve) => {
      const look = () => (changes > 0 ? resolve() : void setImmediate(look))
      look()
    })
    const others = await Promise.all([1, 2, 3].map(() => rotate(ann.token, 'busy')))
    for (const other of others) {
      assertProblem(other, 409, 'in_progress')
      assert.equal(other.headers.get('retry-after'), '1')
    }
    release()
    const made = await first
    assert.equal(made.status, 201)
    assert.deepEqual((await rotate(ann.token, 'busy')).body, made.body)
    assert.equal(changes, 1)
  })

  it('keeps an answer of no body too, and one that refused', async () => {
    const name = (body: object, text: string) =>
      call(test.url, 'PATCH', `/v1/devices/${ann.device}`, { token: ann.token, body, headers: key(text) })
    for (let i = 0; i < 2; i++) assert.equal((await name({ name: 'YQ' }, 'a')).status, 204)
    for (let i = 0; i < 2; i++) assertProblem(await name({ name: '' }, 'b'), 400, 'malformed')
    assert.equal((await name({ name: '' }, 'b')).headers.get('idempotency-replayed'), 'true')
  })

  it('does not keep what may go another way next time', async () => {
    const { sms } = test.node.server.opened.ports
    const { send } = sms
    sms.send = async () => {
      throw new Error('down')
    }
    const ask = () => call(test.url, 'POST', '/v1/registrations', { body: { phone: BOB }, headers: key('sms') })
    assertProblem(await ask(), 503, 'overloaded')
    assertProblem(await ask(), 503, 'overloaded')
    sms.send = send
    assert.equal((await ask()).status, 202)
  })

  it('is forgotten after a day', async () => {
    const first = await rotate(ann.token, 'old')
    test.clock.offsetMs += limits.idempotencyTtlMs - 60_000
    assert.deepEqual((await rotate(ann.token, 'old')).body, first.body)
    test.clock.offsetMs += 60_000
    assertProblem(await rotate(ann.token, 'old'), 401, 'unauthorized')
  })

  it(`has 1 to ${limits.idempotencyKeyCharsMax} printable characters`, async () => {
    const { token } = (await rotate(ann.token, 'k'.repeat(limits.idempotencyKeyCharsMax))).body as { token: string }
    for (const wrong of ['k'.repeat(limits.idempotencyKeyCharsMax + 1), 'two words', 'é', '', 'a, b']) {
      assertProblem(await rotate(token, wrong), 400, 'malformed')
    }
  })

  it('is bounded: the oldest answer goes when there are too many or too many bytes', () => {
    const answer = (bytes: number) => ({ status: 200, headers: {}, payload: 'x'.repeat(bytes) })
    const few = createAnswers(() => 0, 3)
    for (const id of ['a', 'b', 'c', 'd']) few.finish(id, few.begin(id, id), answer(1))
    assert.deepEqual(
      ['a', 'b', 'c', 'd'].map((id) => few.find(id) !== undefined),
      [false, true, true, true],
    )
    const small = createAnswers(() => 0, 100, 3_000)
    for (const id of ['a', 'b', 'c']) small.finish(id, small.begin(id, id), answer(1_000))
    assert.deepEqual(
      ['a', 'b', 'c'].map((id) => small.find(id) !== undefined),
      [false, true, true],
    )
  })
})
