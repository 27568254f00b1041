import assert from 'node:assert/strict'
import { Aci, PrivateKey } from '@signalapp/libsignal-client'
import { limits } from '../../topics/limits.ts'
import { call, type HttpAnswer, link, makeKeys, type Person, register } from '../world/person.ts'
import { assertProblem, startTestNode, type TestNode } from './node.ts'

const ANN = '+15550001111'

describe('linking', () => {
  let test: TestNode
  let ann: Person
  const open = async (): Promise<string> => {
    const { status, body } = await call(test.url, 'POST', '/v1/links')
    assert.equal(status, 201)
    return String(body['link'])
  }
  const put = (mailbox: string, sealed: unknown): Promise<HttpAnswer> =>
    call(test.url, 'PUT', `/v1/links/${mailbox}`, { token: ann.token, body: { sealed } })
  const read = (mailbox: string): Promise<HttpAnswer> => call(test.url, 'GET', `/v1/links/${mailbox}`)
  beforeEach(async () => {
    test = await startTestNode()
    ann = await register(test, ANN)
  })
  afterEach(() => test.stop())

  it('carries a sealed message from the primary device to the new one, which joins with what is in it', async () => {
    const opened = await call(test.url, 'POST', '/v1/links')
    assert.equal(opened.body['expiresInS'], limits.linkTtlMs / 1_000)
    const mailbox = String(opened.body['link'])
    const key = PrivateKey.generate()
    const waiting = read(mailbox)
    const granted = await call(test.url, 'POST', '/v1/link-tokens', { token: ann.token })
    assert.equal(granted.body['expiresInS'], limits.linkTtlMs / 1_000)
    const plain = new TextEncoder().encode(JSON.stringify({ linkToken: granted.body['linkToken'] }))
    const sealed = key.getPublicKey().seal(plain, 'heliograph:link:v1')
    assert.equal((await put(mailbox, Buffer.from(sealed).toString('base64url'))).status, 204)
    const got = await waiting
    assert.equal(got.status, 200)
    assert.equal(got.headers.get('cache-control'), 'no-store')
    const bytes = Uint8Array.from(Buffer.from(String(got.body['sealed']), 'base64url'))
    const { linkToken } = JSON.parse(Buffer.from(key.open(bytes, 'heliograph:link:v1')).toString()) as {
      linkToken: string
    }
    const { body } = makeKeys({ identity: ann.keys.identity })
    const made = await call(test.url, 'POST', '/v1/sessions', { body: { linkToken, ...body } })
    assert.deepEqual([made.status, made.body['user'], made.body['number']], [201, ann.user, 2])
    assert.ok(Aci.fromUuid(ann.user))
  })

  it('lets what was put be read again, because an answer may be lost', async () => {
    const mailbox = await open()
    await put(mailbox, 'YWJj')
    for (let i = 0; i < 2; i++) assert.deepEqual((await read(mailbox)).body, { sealed: 'YWJj' })
  })

  it('takes one message only', async () => {
    const mailbox = await open()
    assert.equal((await put(mailbox, 'YWJj')).status, 204)
    assertProblem(await put(mailbox, 'ZGVm'), 404, 'unknown_recipient')
    assert.deepEqual((await read(mailbox)).body, { sealed: 'YWJj' })
  })

  it('knows no mailbox that nobody opened, nor one that is too old, and answers both the same', async () => {
    const mailbox = await open()
    test.clock.offsetMs += limits.linkTtlMs
    const answers = new Set<string>()
    for (const id of [mailbox, 'nobody', '%00', 'x'.repeat(90)]) {
      for (const answer of [await read(id), await put(id, 'YWJj')]) {
        assertProblem(answer, 404, 'unknown_recipient')
        answers.add(JSON.stringify(answer.body))
      }
    }
    assert.equal(answers.size, 1)
  })

  it('needs a token for putting, and the primary device for a link token', async () => {
    const mailbox = await open()
    const body = { sealed: 'YWJj' }
    assertProblem(await call(test.url, 'PUT', `/v1/links/${mailbox}`, { body }), 401, 'unauthorized')
    const tablet = await link(test, ann)
    assertProblem(await call(test.url, 'POST', '/v1/link-tokens', { token: tablet.token }), 403, 'not_primary')
  })

  it(`takes ${limits.linkBytesMax} bytes and not one more`, async () => {
    const [one, two] = [await open(), await open()]
    assert.equal((await put(one, Buffer.alloc(limits.linkBytesMax).toString('base64url'))).status, 204)
    assertProblem(await put(two, Buffer.alloc(limits.linkBytesMax + 1).toString('base64url')), 400, 'malformed')
    for (const sealed of ['', 'a=', 'a b', 'é', 7, null, ['YWJj']]) {
      assertProblem(await put(two, sealed), 400, 'malformed')
    }
    assert.equal((await put(two, 'YWJj')).status, 204)
  })

  it('does not hold up a node that stops', async () => {
    const stopping = await startTestNode()
    const { body } = await call(stopping.url, 'POST', '/v1/links')
    const waiting = call(stopping.url, 'GET', `/v1/links/${String(body['link'])}`).catch(() => 'ended')
    await call(stopping.url, 'GET', '/livez')
    const since = performance.now()
    await stopping.stop()
    // Cut off, or told that there is nothing yet: it asks again elsewhere.
    const answer = await waiting
    assert.ok(typeof answer === 'string' || answer.status === 204, JSON.stringify(answer))
    assert.ok(performance.now() - since < 10_000)
  })

  it('is bounded: mailboxes of an address, and link tokens of an account', async () => {
    const bounded = await startTestNode({ LINKS_PER_ADDRESS_PER_HOUR_MAX: '3' })
    const { token } = await register(bounded, ANN)
    const asks = [
      () => call(bounded.url, 'POST', '/v1/links'),
      () => call(bounded.url, 'POST', '/v1/link-tokens', { token }),
    ]
    for (const ask of asks) {
      for (let i = 0; i < 3; i++) assert.equal((await ask()).status, 201)
      const refusal = await ask()
      assertProblem(refusal, 429, 'rate_limited')
      bounded.clock.offsetMs += Number(refusal.headers.get('retry-after')) * 1_000
      assert.equal((await ask()).status, 201)
    }
    await bounded.stop()
  })
})
