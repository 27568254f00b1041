/** The admin API of dead letters, over letters in memory and the intake of a real node; test/cluster has the real ones. */
import assert from 'node:assert/strict'
import { createApi } from '../../api/index.ts'
import { createRegistry } from '../../api/metrics.ts'
import { secret } from '../../core/config.ts'
import type { Envelope } from '../../core/envelope.ts'
import type { DeadLetter, DeadLetters } from '../../core/ports.ts'
import { until } from '../data-plane/scene.ts'
import { envelope } from '../ports/envelopes.ts'
import { ADMIN_TOKEN, assertProblem, startTestNode, type TestNode } from './node.ts'

const LETTERS = '/v1/admin/dead-letters'

describe('the admin API of dead letters', () => {
  let test: TestNode
  let app: Awaited<ReturnType<typeof createApi>>
  let kept: Map<string, Envelope>
  before(async () => {
    test = await startTestNode()
    await test.make({ kind: 'thing', ids: ['b'] })
  })
  after(() => test.stop())
  beforeEach(async () => {
    kept = new Map([['0-7', { ...envelope('b', 'the text'), device: 's', seq: 7, stamp: 3 }]])
    const shown = ([id, each]: [string, Envelope]): DeadLetter => ({
      id,
      shard: each.shard,
      acceptedMs: 1,
      device: each.device,
      targets: each.targets.map(({ device }) => device),
      bytes: 8,
      reason: 'why',
    })
    const deadLetters: DeadLetters = {
      put: async () => undefined,
      count: async () => kept.size,
      list: async () => [...kept].map(shown),
      envelope: async (id) => kept.get(id),
      remove: async (id) => kept.delete(id),
    }
    const { server } = test.node
    app = await createApi({
      ports: server.opened.ports,
      adminToken: secret(ADMIN_TOKEN),
      phoneKey: secret('y'),
      deadLetters,
      bounds: server.config,
      ws: () => '',
      version: 'x',
      registry: createRegistry({
        metrics: server.metrics,
        version: 'x',
        storeFacts: () => ({ deadLetters: 3 }),
        refusal: () => undefined,
        loopDelay: () => ({ p50: 0, p99: 0, p999: 0 }),
      }),
      missing: () => [],
    })
  })
  afterEach(() => app.close())

  const ask = (method: 'GET' | 'POST' | 'DELETE', url: string, token = ADMIN_TOKEN) =>
    app.inject({ method, url, headers: { authorization: `Bearer ${token}` } })
  const waiting = async () => (await test.node.server.opened.ports.inbox.page('b', 0, 0, 9)).length

  it('shows who sent them, who they are for and why they are there, and nothing of what is in them', async () => {
    const { statusCode, body } = await ask('GET', LETTERS)
    assert.equal(statusCode, 200)
    assert.deepEqual(JSON.parse(body), {
      total: 1,
      letters: [{ id: '0-7', shard: 0, acceptedMs: 1, device: 's', targets: ['b'], bytes: 8, reason: 'why' }],
    })
    assert.doesNotMatch(body, /the text/)
  })

  it('sends one again, once, as what the server itself sends', async () => {
    const before = await waiting()
    assert.equal((await ask('POST', `${LETTERS}/0-7/replay`)).statusCode, 204)
    // In the cluster a worker writes the row.
    await until(async () => (await waiting()) === before + 1, 'the row')
    assert.equal((await ask('POST', `${LETTERS}/0-7/replay`)).statusCode, 404)
    assert.equal(await waiting(), before + 1)
  })

  it('forgets one', async () => {
    const before = await waiting()
    assert.equal((await ask('DELETE', `${LETTERS}/0-7`)).statusCode, 204)
    assert.equal((await ask('DELETE', `${LETTERS}/0-7`)).statusCode, 404)
    assert.equal(await waiting(), before)
  })

  it('refuses who has no admin token, and an id that is none', async () => {
    for (const [method, url] of [
      ['GET', LETTERS],
      ['POST', `${LETTERS}/0-7/replay`],
      ['DELETE', `${LETTERS}/0-7`],
    ] as const) {
      assert.equal((await ask(method, url, 'another')).statusCode, 401)
    }
    assert.equal(kept.size, 1)
    assert.equal((await ask('POST', `${LETTERS}/x/replay`)).statusCode, 400)
  })

  it('counts them in /metrics', async () => {
    assert.match((await ask('GET', '/metrics')).body, /^heliograph_dead_letters 3$/m)
  })

  it('has none in the embedded profile', async () => {
    const { status, body } = await test.ask(LETTERS)
    assert.deepEqual([status, body], [200, { total: 0, letters: [] }])
    assertProblem(await test.ask(`${LETTERS}/0-7/replay`, {}), 404, 'unknown_recipient')
  })
})
