import assert from 'node:assert/strict'
import { limits } from '../../topics/limits.ts'
import { type Answer, assertProblem, type MadeDevice, startTestNode, type TestNode } from './node.ts'

const DEVICES = '/v1/admin/devices'

describe('the admin API', () => {
  let test: TestNode
  before(async () => {
    test = await startTestNode()
  })
  after(() => test.stop())

  it('answers nobody who does not send the admin token', async () => {
    await test.make({ kind: 'thing', ids: ['safe'] })
    const strangers: Record<string, string>[] = [
      { authorization: '' },
      { authorization: 'Bearer ' },
      { authorization: 'Bearer admin-of-the-test' },
      { authorization: 'Bearer admin-of-the-tests2' },
      { authorization: 'Basic admin-of-the-tests' },
    ]
    for (const headers of strangers) {
      const answers = [
        await test.ask(`${DEVICES}/safe`, undefined, headers),
        await test.ask(`${DEVICES}/safe/revoke`, {}, headers),
        await test.ask(DEVICES, { kind: 'thing', ids: ['intruder'] }, headers),
        await test.ask('/v1/admin/accounts/fleet/allow', { handle: 'fleet' }, headers),
      ]
      for (const answer of answers) {
        assertProblem(answer, 401, 'unauthorized')
        assert.equal(answer.headers.get('www-authenticate'), 'Bearer')
      }
    }
    assert.equal((await test.ask(`${DEVICES}/safe`)).status, 200)
    assertProblem(await test.ask(`${DEVICES}/intruder`), 404, 'unknown_recipient')
  })

  it('shows what is known of a device and no secret', async () => {
    const [made] = (await test.make({ kind: 'thing', ids: ['shown'], numbered: true })) as [MadeDevice]
    const { status, body } = await test.ask(`${DEVICES}/shown`)
    assert.equal(status, 200)
    assert.deepEqual(body, {
      device: 'shown',
      kind: 'thing',
      user: made.user,
      number: 1,
      registrationId: 0,
      numbered: true,
      owner: 'fleet',
      inboxFull: false,
    })
    assertProblem(await test.ask(`${DEVICES}/nobody`), 404, 'unknown_recipient')
  })

  it('ends a revoked device: its live connection, its token and its inbox', async () => {
    const [doomed, sender] = (await test.make({ kind: 'thing', ids: ['doomed', 'sender'] })) as [MadeDevice, MadeDevice]
    const live = await test.connect(doomed, { autoAck: false })
    await live.subscribe('d/doomed/from/#')
    const from = await test.connect(sender)
    await from.publish('d/sender/raw/d-doomed', 'unread')
    await live.receive(1)
    assert.equal((await test.ask(`${DEVICES}/doomed/revoke`, {})).status, 204)
    await live.closed(limits.revokeDelayMsMax)
    assert.equal((await test.connect(doomed)).connack?.returnCode, 4)
    const { inbox } = test.node.server.opened.ports
    assert.deepEqual(await inbox.page('doomed', 0, 0, 10), [])
    assert.equal(test.node.server.metrics.disconnects['revoked'], 1)
    assertProblem(await test.ask(`${DEVICES}/doomed`), 404, 'unknown_recipient')
  })

  it('tells who writes to a revoked device that there is none, over the route that worked before', async () => {
    const [, b] = (await test.make({ kind: 'thing', ids: ['writer', 'written'] })) as [MadeDevice, MadeDevice]
    const [a] = (await test.make({ kind: 'thing', ids: ['writer2'] })) as [MadeDevice]
    const from = await test.connect(a)
    await from.subscribe('d/writer2/from/#')
    await from.publish('d/writer2/raw/d-written', 'arrives')
    assert.equal((await test.ask(`${DEVICES}/${b.device}/revoke`, {})).status, 204)
    await from.publish('d/writer2/raw/d-written', 'too late')
    assert.deepEqual(
      from.received.map(({ topic }) => topic),
      ['d/writer2/from/error/unknown_recipient'],
    )
  })

  it('revokes again without harm, and says when nobody is called that', async () => {
    await test.make({ kind: 'thing', ids: ['twice'] })
    for (let i = 0; i < 2; i++) assert.equal((await test.ask(`${DEVICES}/twice/revoke`, {})).status, 204)
    assertProblem(await test.ask(`${DEVICES}/nobody/revoke`, {}), 404, 'unknown_recipient')
  })

  it('refuses a device whose revocation came between its token and its claim', async () => {
    const [made] = (await test.make({ kind: 'thing', ids: ['race'] })) as [MadeDevice]
    const { directory, claims, inbox } = test.node.server.opened.ports
    // Asked while CONNECT is worked off: the token was found to be good, and nobody has claimed the device yet.
    const { open } = inbox
    inbox.open = async (id) => {
      inbox.open = open
      await directory.revoke(id)
      claims.evict(id, 'revoked')
      return open(id)
    }
    const client = await test.connect(made)
    await client.closed(limits.revokeDelayMsMax)
    assert.equal((await test.connect(made)).connack?.returnCode, 4)
  })

  describe('allow', () => {
    const allow = (owner: string, body: object): Promise<Answer> => test.ask(`/v1/admin/accounts/${owner}/allow`, body)

    it('lets another account address the things of an owner, at once', async () => {
      const [, near] = (await test.make({ kind: 'thing', ids: ['gate', 'near'], owner: 'house' })) as [
        MadeDevice,
        MadeDevice,
      ]
      const [far] = (await test.make({ kind: 'service', ids: ['far'], owner: 'guests' })) as [MadeDevice]
      const service = await test.connect(far)
      await service.subscribe('d/far/from/#')
      await service.publish('d/far/raw/d-near', 'before')
      assert.deepEqual(
        service.received.map(({ topic }) => topic),
        ['d/far/from/error/not_allowed'],
      )
      assert.equal((await allow('house', { handle: 'guests' })).status, 204)
      await service.publish('d/far/raw/d-near', 'after')
      const thing = await test.connect(near)
      await thing.subscribe('d/near/from/#')
      const got = await thing.receive(1)
      assert.deepEqual(
        got.map(({ topic, payload }) => [topic, String(payload)]),
        [['d/near/from/@guests/direct', 'after']],
      )
    })

    it('takes a user id too, and names whom it does not know', async () => {
      const [person] = (await test.make({ kind: 'person', ids: ['dora1'] })) as [MadeDevice]
      assert.equal((await allow('house', { user: person.user })).status, 204)
      assert.match(assertProblem(await allow('nobody', { user: person.user }), 404, 'unknown_recipient'), /@nobody/)
      assert.match(assertProblem(await allow('house', { handle: 'nobody' }), 404, 'unknown_recipient'), /@nobody/)
      for (const wrong of ['House', 'ho', 'a'.repeat(33), '1house']) {
        assertProblem(await allow(wrong, { user: person.user }), 400, 'malformed')
        assertProblem(await allow('house', { handle: wrong }), 400, 'malformed')
      }
      assertProblem(await allow('house', {}), 400, 'malformed')
      assertProblem(await allow('house', { handle: 'guests', user: person.user }), 400, 'malformed')
    })
  })

  it('answers what is no JSON, too long, or not served with a problem', async () => {
    const raw = async (body: string, type: string): Promise<Answer> => {
      const headers = { authorization: 'Bearer admin-of-the-tests', 'content-type': type }
      const response = await fetch(test.url + DEVICES, { method: 'POST', headers, body })
      const answer = (await response.json()) as Record<string, unknown>
      return { status: response.status, headers: response.headers, body: answer }
    }
    assertProblem(await raw('{"kind":', 'application/json'), 400, 'malformed')
    assertProblem(await raw('kind=thing', 'application/x-www-form-urlencoded'), 415, undefined)
    assertProblem(
      await raw(JSON.stringify({ kind: 'thing', ids: ['x'.repeat(300_000)] }), 'application/json'),
      413,
      'too_large',
    )
    assertProblem(await test.ask('/v1/admin/nothing'), 404, undefined)
  })

  it('logs ids and counts, and no token', () => {
    const text = JSON.stringify(test.logged)
    assert.match(text, /devices made/)
    assert.doesNotMatch(text, /[A-Za-z0-9_-]{43}/)
  })
})
