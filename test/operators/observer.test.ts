import assert from 'node:assert/strict'
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import { type MadeDevice, OBSERVER_PASSWORD, startTestNode, type TestNode } from '../api/node.ts'
import type { Client } from '../world/client.ts'
import { isCluster } from '../world/profile.ts'

const SECRET = 'what-only-the-two-of-them-know'
const DENIED = 128
const STORE = isCluster ? 'ops/store/cluster-one' : 'ops/store/sqlite'

interface Observer {
  readonly client: MqttClient
  /** Topic → newest text. */
  readonly seen: Map<string, string>
  /** Resolves when `test` holds, asked after every message. */
  until(test: () => boolean, what: string): Promise<void>
}

const event = (client: MqttClient, name: 'connect' | 'close' | 'error'): Promise<unknown> =>
  new Promise((resolve) => client.once(name, resolve))

/** Waits for messages of `client`. */
function watch(client: MqttClient): Observer {
  const seen = new Map<string, string>()
  const checks = new Set<() => void>()
  client.on('message', (topic, payload) => {
    seen.set(topic, String(payload))
    for (const check of [...checks]) check()
  })
  return {
    client,
    seen,
    until: (test, what) =>
      new Promise((resolve, reject) => {
        const late = setTimeout(() => {
          checks.delete(check)
          reject(new Error(`no ${what}; seen are ${[...seen.keys()].sort().join(' ')}`))
        }, 8_000)
        const check = () => {
          if (!test()) return
          checks.delete(check)
          clearTimeout(late)
          resolve()
        }
        checks.add(check)
        check()
      }),
  }
}

describe('the observer', () => {
  let test: TestNode
  let devices: MadeDevice[]
  let sender: Client
  let receiver: Client
  const open: MqttClient[] = []

  before(async () => {
    test = await startTestNode()
    devices = await test.make({ kind: 'thing', prefix: 'obs', count: 2 })
    const [a, b] = devices as [MadeDevice, MadeDevice]
    receiver = await test.connect(b)
    await receiver.subscribe('d/obs2/from/#')
    sender = await test.connect(a)
  })
  after(async () => {
    await Promise.all(open.map((client) => client.endAsync(true)))
    await test.stop()
  })

  function login(options: IClientOptions = {}): MqttClient {
    const client = mqtt.connect({
      host: '127.0.0.1',
      port: test.node.server.mqttPort,
      username: 'observer',
      password: OBSERVER_PASSWORD,
      clientId: `explorer-${open.length}`,
      clean: true,
      reconnectPeriod: 0,
      ...options,
    })
    open.push(client)
    return client
  }

  async function observe(...filters: string[]): Promise<Observer> {
    const client = login()
    const observer = watch(client)
    await event(client, 'connect')
    await client.subscribeAsync(filters)
    return observer
  }

  const talk = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) await sender.publish('d/obs1/raw/d-obs2', `${SECRET} ${i}`)
    await receiver.until((client) => client.received.length >= count, `${count} messages`)
  }

  /** One retained topic of each tree: what a filter gets at once. */
  const trees: [filter: string, shown: RegExp][] = [
    ['#', /^ops\/(node|store|queue)\/[a-z0-9-]+$/],
    ['+/#', /^ops\/(node|store|queue)\/[a-z0-9-]+$/],
    ['ops/#', /^ops\/(node|store|queue)\/[a-z0-9-]+$/],
    ['$SYS/#', /^\$SYS\/broker\/[a-z0-9 /]+$/],
  ]
  for (const [filter, shown] of trees) {
    it(`sees with ${filter} the operators’ topics and nothing else while devices talk`, async () => {
      const observer = await observe(filter)
      const wanted = filter.startsWith('$') ? '$SYS/broker/publish/messages/received' : STORE
      await observer.until(() => observer.seen.has(wanted), wanted)
      await talk(20)
      await receiver.ping()
      // Behind everything that was said meanwhile.
      observer.seen.delete(wanted)
      await test.node.operators.publish()
      await observer.until(() => observer.seen.has(wanted), `${wanted} again`)
      for (const [topic, text] of observer.seen) {
        assert.match(topic, shown)
        assert.ok(!text.includes(SECRET), topic)
        assert.doesNotMatch(text, /obs1|obs2/, `${topic} names a device`)
      }
    })
  }

  it('sees a node and its store in numbers', async () => {
    const observer = await observe('ops/#')
    await observer.until(() => observer.seen.size >= 3, 'node, store and queue')
    const node = JSON.parse(observer.seen.get('ops/node/one') ?? '') as Record<string, unknown>
    assert.equal(node['version'], test.node.version)
    assert.equal(node['ready'], true)
    assert.equal(typeof node['connections'], 'number')
    const names = ['publishesIn', 'publishesOut', 'stored', 'delivered', 'bytesIn', 'bytesOut', 'connects']
    assert.deepEqual(Object.keys(node['perSecond'] as object), names)
    for (const part of ['p50', 'p99', 'p999']) {
      assert.equal(typeof (node['loopDelayMs'] as Record<string, unknown>)[part], 'number')
    }
    const store = JSON.parse(observer.seen.get(STORE) ?? '') as Record<string, unknown>
    assert.equal(store['refusal'], '')
    assert.equal(store['registered'], 2)
    assert.ok(Number(store['diskFreeMib']) > 0)
    assert.deepEqual(Object.keys(JSON.parse(observer.seen.get('ops/queue/intake') ?? '')), [
      'senders',
      'heldBytes',
      'heldBytesMax',
    ])
  })

  it('sees what it may not have under Mosquitto’s names: bare numbers', async () => {
    const observer = await observe('$SYS/#')
    await observer.until(() => observer.seen.has('$SYS/broker/load/sockets/15min'), 'the whole tree')
    const text = (name: string) => observer.seen.get(`$SYS/broker/${name}`) ?? ''
    assert.equal(text('version'), `heliograph version ${test.node.version}`)
    assert.match(text('uptime'), /^\d+ seconds$/)
    const numbers = [
      'clients/connected',
      'clients/disconnected',
      'clients/total',
      'clients/maximum',
      'messages/received',
      'messages/sent',
      'publish/messages/received',
      'publish/messages/sent',
      'publish/messages/dropped',
      'publish/bytes/received',
      'publish/bytes/sent',
      'bytes/received',
      'bytes/sent',
      'store/messages/count',
      'heap/current',
    ]
    for (const over of ['1min', '5min', '15min']) {
      for (const name of ['messages/received', 'publish/sent', 'bytes/sent', 'connections'])
        numbers.push(`load/${name}/${over}`)
    }
    for (const name of numbers) assert.match(text(name), /^\d+(\.\d+)?$/, name)
    // Two devices, and whoever looks: MQTT Explorer is a client too.
    const { connections, observers } = test.node.server.metrics
    assert.equal(connections, 2 + observers)
    assert.equal(
      Number(text('clients/total')),
      Number(text('clients/connected')) + Number(text('clients/disconnected')),
    )
  })

  it('hears by itself, every few seconds, that messages were stored and delivered', async () => {
    const { metrics } = test.node.server
    const before = metrics.stored
    await talk(5)
    const observer = await observe('$SYS/#', 'ops/#')
    const text = () => observer.seen.get('$SYS/broker/publish/messages/received')
    await observer.until(() => Number(text()) >= before + 5, 'the counter to rise')
    const rows = () => observer.seen.get('$SYS/broker/store/messages/count')
    await observer.until(() => rows() === '0', 'everything to be delivered')
  })

  it('may not publish: not to its own trees, not to a device', async () => {
    for (const topic of ['ops/node/one', '$SYS/broker/uptime', 'd/obs2/from/d-obs1/direct', 'hello']) {
      const client = login()
      await event(client, 'connect')
      const closed = event(client, 'close')
      client.publish(topic, 'forged', { qos: 0 })
      await closed
    }
    const observer = await observe('#')
    await observer.until(() => observer.seen.has('ops/node/one'), 'the node')
    assert.ok([...observer.seen.values()].every((text) => !text.includes('forged')))
    assert.ok(receiver.received.every(({ payload }) => !String(payload).includes('forged')))
  })

  it('is refused with a wrong password, without one, and with a session that stays', async () => {
    const refused = async (options: IClientOptions): Promise<number> => {
      const error = (await event(login(options), 'error')) as Error & { code: number }
      return error.code
    }
    assert.equal(await refused({ password: 'observer-of-the-test' }), 4)
    assert.equal(await refused({ password: '' }), 4)
    assert.equal(await refused({ clean: false }), 5)
  })

  it('may have the client id of a device and disturbs it in nothing', async () => {
    const client = login({ clientId: 'obs2' })
    const observer = watch(client)
    await event(client, 'connect')
    await client.subscribeAsync(['#', 'd/obs2/from/#'])
    await observer.until(() => observer.seen.has(STORE), 'the store')
    const before = receiver.received.length
    await sender.publish('d/obs1/raw/d-obs2', 'for the device')
    await receiver.until(({ received }) => received.length > before, 'the message')
    await client.endAsync()
    await sender.publish('d/obs1/raw/d-obs2', 'and after')
    await receiver.until(({ received }) => received.length > before + 1, 'the message after it')
    assert.equal(receiver.isClosed, false)
    assert.ok([...observer.seen.keys()].every((topic) => topic.startsWith('ops/')))
  })

  it('hears at once that the node is stopping', async () => {
    const other = await startTestNode()
    const client = mqtt.connect({
      host: '127.0.0.1',
      port: other.node.server.mqttPort,
      username: 'observer',
      password: OBSERVER_PASSWORD,
      reconnectPeriod: 0,
    })
    open.push(client)
    const observer = watch(client)
    await event(client, 'connect')
    await client.subscribeAsync('ops/#')
    const isReady = () => (JSON.parse(observer.seen.get('ops/node/one') ?? '{}') as { ready?: boolean }).ready
    await observer.until(() => isReady() === true, 'a ready node')
    const stopped = other.stop()
    await observer.until(() => isReady() === false, 'a node that is not ready')
    assert.match(observer.seen.get('ops/node/one') ?? '', /"missing":\["process: shutting_down"\]/)
    await stopped
  })
})

describe('a device', () => {
  let test: TestNode
  before(async () => {
    test = await startTestNode()
  })
  after(() => test.stop())

  it('is denied the operators’ topics and every inbox but its own, and gets no byte of them', async () => {
    const [curious, quiet, person] = (await Promise.all([
      test.make({ kind: 'thing', ids: ['curious'] }).then(([made]) => made),
      test.make({ kind: 'thing', ids: ['quiet'] }).then(([made]) => made),
      test.make({ kind: 'person', ids: ['anna1'] }).then(([made]) => made),
    ])) as [MadeDevice, MadeDevice, MadeDevice]
    const filters = [
      '#',
      '+/#',
      '$SYS/#',
      '$SYS/broker/uptime',
      'ops/#',
      'ops/node/one',
      'd/quiet/from/#',
      'd/+/from/#',
      'd/quiet/in',
    ]
    for (const device of [curious, person]) {
      const client = await test.connect(device)
      for (const filter of filters)
        assert.deepEqual(await client.subscribe(filter), [DENIED], `${device.device} ${filter}`)
      const sender = await test.connect(quiet)
      await sender.publish('d/quiet/raw/home', 'not for you').catch(() => undefined)
      await client.ping()
      assert.deepEqual(
        client.packets.filter(({ cmd }) => cmd !== 'connack' && cmd !== 'suback' && cmd !== 'pingresp'),
        [],
      )
      client.destroy()
      sender.destroy()
    }
  })
})
