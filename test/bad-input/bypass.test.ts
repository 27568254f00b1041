import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { startTestNode, type TestNode } from '../api/node.ts'
import { OBSERVER_PASSWORD, startWorld, type TestDevice, type World } from '../world/world.ts'
import { subscribeBytes, unsubscribeBytes } from './bytes.ts'
import { until } from './scene.ts'

const texts = (messages: readonly { qos: number; payload: Buffer }[]): string[] =>
  messages.filter(({ qos }) => qos === 1).map(({ payload }) => String(payload))

describe('nobody gets around the rules by', () => {
  let world: World
  let a: TestDevice
  let b: TestDevice
  beforeEach(async () => {
    world = await startWorld({ env: { DISK_RESERVE_MIB: '1' } })
    a = await world.thing('a')
    b = await world.thing('b')
  })
  afterEach(async () => {
    await world.stop()
    assert.deepEqual(world.fatal, [])
  })

  const observe = () =>
    world.connect(a, { clientId: 'ops', username: 'observer', password: OBSERVER_PASSWORD, clean: true })

  it('a will: it reaches nobody when its client dies, nor when it is taken over', async () => {
    const observer = await observe()
    assert.deepEqual(await observer.subscribe('#'), [1])
    const victim = await world.connect(b)
    await victim.subscribe('d/b/from/#')
    const will = { topic: 'd/a/gone', payload: Buffer.from('last words'), qos: 1, retain: false } as const
    const dying = await world.connect(a, { will })
    dying.destroy()
    await until(() => world.server.metrics.disconnects['client_closed'] === 1)
    const taken = await world.connect(a, { will })
    const taker = await world.connect(a)
    await taken.closed()
    assert.equal(world.server.metrics.disconnects['takeover'], 1)
    await taker.publish('d/a/raw/d-b', 'after them')
    await victim.receive(1)
    await observer.ping()
    assert.deepEqual(texts(victim.received), ['after them'])
    assert.deepEqual(
      observer.received.filter(({ payload }) => payload.includes('last words')),
      [],
    )
  })

  it('a subscription to everything as an observer: no topic of a device or user is among what it gets', async () => {
    const observer = await observe()
    const filters = ['#', '+/#', 'd/#', 'd/+/from/#', 'd/b/from/#', 'u/#', '$SYS/#']
    await observer.subscribe(...filters)
    world.server.retain('ops/node/one', '{}')
    const sender = await world.connect(a)
    const reader = await world.connect(b)
    await reader.subscribe('d/b/from/#')
    await sender.publish('d/a/raw/d-b', 'secret')
    await reader.receive(1)
    await observer.until((c) => c.received.some(({ topic }) => topic === 'ops/node/one'), 'ops/node/one')
    await observer.ping()
    const foreign = observer.received.filter(
      ({ topic }) => !topic.startsWith('ops/') && !topic.startsWith('$SYS/broker/'),
    )
    assert.deepEqual(foreign, [])
  })

  it('retained topics: a device gets none of those for operators, by no filter', async () => {
    world.server.retain('ops/node/one', '{"secret":1}')
    world.server.retain('$SYS/broker/uptime', '1')
    const client = await world.connect(a)
    const filters = ['#', 'ops/#', 'ops/node/one', '+/+/+', '$SYS/#', '$SYS/broker/uptime']
    assert.deepEqual(
      await client.subscribe(...filters),
      filters.map(() => 0x80),
    )
    world.server.retain('ops/node/one', '{"secret":2}')
    await client.ping()
    assert.deepEqual(client.received, [])
  })

  it('a denied filter beside the own one: after a reconnect there is nothing but the own inbox', async () => {
    const client = await world.connect(a)
    assert.deepEqual(await client.subscribe('d/a/from/#', 'd/b/from/#', '#'), [1, 0x80, 0x80])
    await client.disconnect()
    const other = await world.connect(b)
    await other.subscribe('d/b/from/#')
    await other.publish('d/b/raw/home', 'to home')
    await other.publish('d/b/raw/d-a', 'to a')
    const back = await world.connect(a)
    assert.equal(back.connack?.sessionPresent, true)
    await back.receive(1)
    await back.ping()
    assert.deepEqual(texts(back.received), ['to a'])
  })

  it('a lower QoS: 0 is denied and keeps the session as it was, 2 is granted as 1', async () => {
    const client = await world.connect(a)
    assert.deepEqual(await client.subscribe({ topic: 'd/a/from/#', qos: 2 }), [1])
    assert.deepEqual(await client.subscribe({ topic: 'd/a/from/#', qos: 0 }), [0x80])
    const sender = await world.connect(b)
    await sender.publish('d/b/raw/d-a', 'with QoS 1')
    const [got] = await client.receive(1)
    assert.equal(got?.qos, 1)
    await client.disconnect()
    assert.equal((await world.connect(a)).connack?.sessionPresent, true)
  })

  it("another's client id: whoever holds it stays connected", async () => {
    const victim = await world.connect(b)
    await victim.subscribe('d/b/from/#')
    for (const login of [{ password: a.token }, { username: a.id, password: a.token }, { password: 'guess' }]) {
      const thief = await world.connect(b, login)
      assert.equal(thief.connack?.returnCode, 4)
    }
    const sender = await world.connect(a)
    await sender.publish('d/a/raw/d-b', 'still here')
    await victim.receive(1)
    assert.equal(victim.isClosed, false)
  })

  it('a token on two devices: the older connection ends, and both never get the same inbox', async () => {
    const older = await world.connect(b, { autoAck: false })
    await older.subscribe('d/b/from/#')
    const newer = await world.connect(b)
    await older.closed()
    const sender = await world.connect(a)
    await sender.publish('d/a/raw/d-b', 'for one')
    await newer.receive(1)
    assert.deepEqual(older.received, [])
  })

  for (const [name, leave] of [
    ['clean=true', async () => void (await (await world.connect(b, { clean: true })).disconnect())],
    [
      'UNSUBSCRIBE',
      async () => {
        const client = await world.connect(b, { autoAck: false })
        client.sendBytes(unsubscribeBytes(['d/b/from/#']))
        await client.until((c) => c.packets.some(({ cmd }) => cmd === 'unsuback'), 'UNSUBACK')
        await client.disconnect()
      },
    ],
  ] as const) {
    it(`${name}: it ends the subscription and wipes no message`, async () => {
      const first = await world.connect(b)
      await first.subscribe('d/b/from/#')
      await first.disconnect()
      const sender = await world.connect(a)
      for (const text of ['1', '2', '3']) await sender.publish('d/a/raw/d-b', text)
      await leave()
      const back = await world.connect(b)
      assert.equal(back.connack?.sessionPresent, false)
      await back.ping()
      assert.deepEqual(back.received, [])
      await back.subscribe('d/b/from/#')
      await back.receive(3)
      assert.deepEqual(texts(back.received), ['1', '2', '3'])
    })
  }

  it('subscribing again and again while subscribed: every message comes once', async () => {
    const client = await world.connect(b)
    for (let i = 0; i < 50; i++) client.sendBytes(subscribeBytes(['d/b/from/#'], 1, i + 1))
    const sender = await world.connect(a)
    for (let i = 0; i < 50; i++) await sender.publish('d/a/raw/d-b', `${i}`)
    await client.receive(50)
    await client.ping()
    assert.deepEqual(
      texts(client.received),
      Array.from({ length: 50 }, (_, i) => `${i}`),
    )
  })
})

describe('a device that was revoked', () => {
  let test: TestNode
  before(async () => {
    test = await startTestNode({ DISK_RESERVE_MIB: '1' })
  })
  after(() => test.stop())

  it('loses its connection, its token and what waited for it, and gets nothing more', async () => {
    const [gone, sender] = (await test.make({ kind: 'thing', ids: ['gone', 'sender'] })) as [Made, Made]
    const client = await test.connect(gone, { autoAck: false })
    await client.subscribe('d/gone/from/#')
    const from = await test.connect(sender)
    await from.subscribe('d/sender/from/#')
    const secret = `secret ${randomBytes(8).toString('hex')}`
    await from.publish('d/sender/raw/d-gone', secret)
    await client.receive(1)
    const { status } = await test.ask('/v1/admin/devices/gone/revoke', {})
    assert.equal(status, 204)
    await client.closed()
    assert.equal(test.node.server.metrics.disconnects['revoked'], 1)
    assert.equal((await test.connect(gone)).connack?.returnCode, 4)
    await from.publish('d/sender/raw/d-gone', 'too late')
    assert.equal(from.received.at(-1)?.topic, 'd/sender/from/error/unknown_recipient')
    const { inbox } = test.node.server.opened.ports
    assert.deepEqual(await inbox.page('gone', 0, 0, 10), [])
  })
})

type Made = Awaited<ReturnType<TestNode['make']>>[number]
