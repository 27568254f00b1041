/** Operators' topics of all nodes at each of them, and a Redis that is away while an observer subscribes (D6). */
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { Redis } from 'ioredis'
import { OBSERVER_PASSWORD, startTestNode, type TestNode } from '../api/node.ts'
import { type RedisService, startRedis } from '../services/redis.ts'
import { type Client, connectClient } from '../world/client.ts'
import { makeDeployment } from '../world/profile.ts'

const { encode } = createRequire(import.meta.url)('msgpack-lite') as { encode(value: unknown): Buffer }

/** As long as the library of the stock broker takes to give up, and a bit. */
const AWAY_MS = 12_000
const QUICK_MS_MAX = 1_000
const WAIT_MS_MAX = 20_000

describe('the observer of a cluster', function () {
  this.timeout(60_000)
  let redis: RedisService
  let env: Record<string, string>
  let a: TestNode
  let b: TestNode
  const observers: Client[] = []

  before(async () => {
    redis = await startRedis()
  })
  after(() => redis.stop())
  beforeEach(async () => {
    env = { ...(await makeDeployment()), REDIS_URL: redis.url }
    a = await startTestNode({ ...env, NODE_NAME: 'a' })
    b = await startTestNode({ ...env, NODE_NAME: 'b' })
  })
  afterEach(async () => {
    for (const observer of observers.splice(0)) observer.destroy()
    await Promise.all([a.stop(), b.stop()])
  })

  async function observe(node: TestNode, filter = 'ops/#'): Promise<Client> {
    const client = await connectClient({
      port: node.node.server.mqttPort,
      clientId: `observer${observers.length}`,
      username: 'observer',
      password: OBSERVER_PASSWORD,
      clean: true,
      keepalive: 60,
    })
    observers.push(client)
    assert.equal(client.connack?.returnCode, 0)
    assert.deepEqual(await client.subscribe({ topic: filter, qos: 0 }), [0])
    return client
  }
  const newest = (client: Client, topic: string): string =>
    String(client.received.filter((each) => each.topic === topic).at(-1)?.payload ?? '')
  const nodeState = (client: Client, name: string): { uptimeS?: number; missing?: string[]; breakers?: object } => {
    const text = newest(client, `ops/node/${name}`)
    return text === '' ? {} : JSON.parse(text)
  }

  it('sees all nodes, their queues and stores at one of them, and $SYS of that one alone', async () => {
    const client = await observe(a)
    const wanted = ['a', 'b'].flatMap((name) => [
      `ops/node/${name}`,
      `ops/queue/intake-${name}`,
      `ops/store/cluster-${name}`,
    ])
    await client.until(() => wanted.every((topic) => newest(client, topic) !== ''), 'both nodes', WAIT_MS_MAX)
    assert.deepEqual([...new Set(client.received.map(({ topic }) => topic))].sort(), [...wanted].sort())
    const closed = { redis: 'closed', cassandra: 'closed', postgres: 'closed', 'postgres-writes': 'closed' }
    assert.deepEqual(nodeState(client, 'b').breakers, closed)
    const { promise } = JSON.parse(newest(client, 'ops/store/cluster-b')) as { promise: string }
    assert.match(promise, /^Redis .*appendfsync always.*; Cassandra .*commitlog_sync .*; PostgreSQL .*fsync on/)
    const sys = await observe(a, '$SYS/#')
    const connected = () => newest(sys, '$SYS/broker/clients/connected')
    const isOwn = () => connected() === String(a.node.server.metrics.connections)
    await sys.until(isOwn, 'the connections of a alone', WAIT_MS_MAX)
  })

  it('sees a change of another node, and what a later node finds is still there', async () => {
    const client = await observe(a)
    await client.until(() => nodeState(client, 'b').uptimeS !== undefined, 'b', WAIT_MS_MAX)
    const before = nodeState(client, 'b').uptimeS as number
    await client.until(() => (nodeState(client, 'b').uptimeS ?? 0) > before, 'a later state of b', WAIT_MS_MAX)
    await b.stop()
    const late = await startTestNode({ ...env, NODE_NAME: 'c' })
    try {
      const other = await observe(late)
      const said = () => nodeState(other, 'b').missing?.[0] === 'process: shutting_down'
      await other.until(said, 'the last words of b', WAIT_MS_MAX)
    } finally {
      await late.stop()
      b = await startTestNode({ ...env, NODE_NAME: 'b' })
    }
  })

  it('has its keys under the prefix of the deployment, as many as there are topics', async () => {
    const client = await observe(a)
    await client.until(() => nodeState(client, 'b').uptimeS !== undefined, 'b', WAIT_MS_MAX)
    const admin = new Redis(redis.url)
    const keys = await admin.keys('*')
    assert.deepEqual(
      keys.filter((key) => !key.startsWith(`w${process.pid}_`)),
      [],
    )
    const own = keys.filter((key) => key.startsWith(`${env['REDIS_PREFIX']}ops`))
    assert.deepEqual(own, [`${env['REDIS_PREFIX']}ops:retained`])
    const fields = await admin.hkeys(own[0] as string)
    assert.deepEqual(
      fields.sort(),
      ['a', 'b']
        .flatMap((name) => [`ops/node/${name}`, `ops/queue/intake-${name}`, `ops/store/cluster-${name}`])
        .sort(),
    )
    admin.disconnect()
  })

  it('is not disturbed by what a stranger publishes on the channel, and no broker ends', async () => {
    const client = await observe(a)
    await client.until(() => nodeState(client, 'b').uptimeS !== undefined, 'b', WAIT_MS_MAX)
    const stranger = new Redis(redis.url)
    const channel = `${env['REDIS_PREFIX']}ops/node/b`
    const good = { cmd: 'publish', topic: channel, payload: Buffer.from('{}'), qos: 0, retain: true, dup: false }
    const sent = [
      Buffer.from('not msgpack'),
      Buffer.alloc(0),
      Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]),
      Buffer.alloc(60_000, 0x91),
      ...[
        null,
        7,
        {},
        { id: 'x', msg: null },
        { id: 'y', msg: { topic: 7 } },
        { id: 'z', msg: { ...good, payload: null, node: 'c', atMs: Date.now() } },
        { id: 'p', msg: { ...good, node: 'c', atMs: 'now' } },
        { id: 'q', msg: { ...good, topic: `${env['REDIS_PREFIX']}ops/#`, node: 'c', atMs: Date.now() } },
      ].map((each) => encode(each)),
    ]
    for (const bytes of sent) assert.equal(await stranger.publish(channel, bytes), 2, 'both nodes get it')
    stranger.disconnect()
    const before = nodeState(client, 'b').uptimeS as number
    await client.until(() => (nodeState(client, 'b').uptimeS ?? 0) > before, 'a later state of b', WAIT_MS_MAX)
    assert.deepEqual(
      client.received.filter(({ topic, payload }) => topic.includes('#') || String(payload) === '{}'),
      [],
    )
    assert.equal(client.isClosed, false)
  })

  for (const [what, leave, comeBack] of [
    ['is killed', () => redis.kill(), () => redis.revive()],
    ['stands still', async () => redis.pause(), async () => redis.resume()],
  ] as const) {
    it(`is not held when Redis ${what}: it gets what is known, and what is there afterwards`, async () => {
      const early = await observe(a)
      await early.until(() => nodeState(early, 'b').uptimeS !== undefined, 'b', WAIT_MS_MAX)
      await leave()
      const startedMs = performance.now()
      const during = await observe(a)
      assert.ok(performance.now() - startedMs < QUICK_MS_MAX, 'CONNECT and SUBSCRIBE are answered')
      await during.until(() => nodeState(during, 'b').uptimeS !== undefined, 'what is known of b')
      const before = nodeState(during, 'b').uptimeS as number
      const says = () => nodeState(during, 'a').missing?.includes('redis: storage_unavailable') === true
      await during.until(says, 'that Redis is away', WAIT_MS_MAX)
      await new Promise((resolve) => setTimeout(resolve, AWAY_MS))
      for (const client of [early, during]) await client.ping()
      await comeBack()
      await during.until(() => (nodeState(during, 'b').uptimeS ?? 0) > before + 5, 'a later state of b', WAIT_MS_MAX)
      await during.until(() => nodeState(during, 'a').missing?.length === 0, 'that a is ready', WAIT_MS_MAX)
      const after = await observe(b)
      await after.until(() => nodeState(after, 'a').missing?.length === 0, 'a at b', WAIT_MS_MAX)
      assert.deepEqual([early.isClosed, during.isClosed], [false, false])
    })
  }
})
