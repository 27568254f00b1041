import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect as openSocket } from 'node:net'
import mqtt, { type MqttClient } from 'mqtt'
import mqttPacket from 'mqtt-packet'
import WebSocket, { type ClientOptions } from 'ws'
import { limits } from '../../topics/limits.ts'
import { type MadeDevice, startTestNode, type TestNode } from '../api/node.ts'

const PAGE = 'https://chat.example'

describe('MQTT over WebSocket', () => {
  let test: TestNode
  let devices: MadeDevice[]
  const sockets: WebSocket[] = []
  const clients: MqttClient[] = []
  before(async () => {
    test = await startTestNode({ HTTP_ORIGINS: `${PAGE}, https://other.example` })
    devices = await test.make({ kind: 'thing', prefix: 'ws', count: 4 })
  })
  after(async () => {
    for (const socket of sockets) socket.terminate()
    await Promise.all(clients.map((client) => client.endAsync(true)))
    await test.stop()
  })

  const url = (path = '/v1/ws') => `ws://127.0.0.1:${test.node.httpPort}${path}`
  const rejected = () => test.node.server.metrics.rejected

  async function login({ device, token }: MadeDevice): Promise<MqttClient> {
    const client = await mqtt.connectAsync(url(), {
      clientId: device,
      username: device,
      password: token,
      clean: false,
      reconnectPeriod: 0,
    })
    clients.push(client)
    return client
  }

  /** A bare WebSocket. */
  function open(options: ClientOptions = {}, subprotocols: string[] = ['mqtt'], path?: string): WebSocket {
    const socket = new WebSocket(url(path), subprotocols, options)
    sockets.push(socket)
    return socket
  }

  async function ready(socket: WebSocket, { device, token }: MadeDevice): Promise<void> {
    await once(socket, 'open')
    const connect = {
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clientId: device,
      clean: true,
      keepalive: 60,
    } as const
    socket.send(mqttPacket.generate({ ...connect, username: device, password: Buffer.from(token) }))
    const [connack] = (await once(socket, 'message')) as [Buffer]
    assert.deepEqual([...connack], [0x20, 2, 0, 0])
  }

  /** The status of the answer to an upgrade that was refused. */
  async function refused(socket: WebSocket): Promise<number> {
    const [error] = (await once(socket, 'error')) as [Error]
    return Number(/Unexpected server response: (\d+)/.exec(error.message)?.[1])
  }

  it('carries messages both ways, large ones too, and what waited', async () => {
    const [a, b] = devices as [MadeDevice, MadeDevice]
    const first = await login(a)
    const second = await login(b)
    const got: string[] = []
    const all = new Promise<void>((resolve) => {
      first.on('message', (topic, payload) => {
        assert.equal(topic, 'd/ws1/from/d-ws2/direct')
        got.push(String(payload))
        if (got.length === 301) resolve()
      })
    })
    await second.publishAsync('d/ws2/raw/d-ws1', 'waited', { qos: 1 })
    await first.subscribeAsync('d/ws1/from/#', { qos: 1 })
    const large = 'x'.repeat(limits.rawBytesMax)
    const sent = ['waited', ...Array.from({ length: 299 }, (_, i) => `message ${i}`), large]
    await Promise.all(sent.slice(1).map((text) => second.publishAsync('d/ws2/raw/d-ws1', text, { qos: 1 })))
    await all
    assert.deepEqual(got, sent)
  })

  it('speaks to a device on TCP', async () => {
    const [, , c, d] = devices as [MadeDevice, MadeDevice, MadeDevice, MadeDevice]
    const tcp = await test.connect(c)
    await tcp.subscribe('d/ws3/from/#')
    await (await login(d)).publishAsync('d/ws4/raw/d-ws3', 'across', { qos: 1 })
    const [got] = await tcp.receive(1)
    assert.equal(String(got?.payload), 'across')
  })

  it('takes a packet cut into several messages, and several packets in one', async () => {
    const [device] = (await test.make({ kind: 'thing', ids: ['cut'] })) as [MadeDevice]
    const socket = open()
    await ready(socket, device)
    const answers: Buffer[] = []
    socket.on('message', (data: Buffer) => answers.push(data))
    const ping = mqttPacket.generate({ cmd: 'pingreq' })
    socket.send(Buffer.concat([ping, ping, ping.subarray(0, 1)]))
    socket.send(ping.subarray(1))
    while (Buffer.concat(answers).length < 6) await once(socket, 'message')
    assert.deepEqual([...Buffer.concat(answers)], [0xd0, 0, 0xd0, 0, 0xd0, 0])
    socket.close()
    await once(socket, 'close')
  })

  it('answers what one read brought in one message', async () => {
    const [device] = (await test.make({ kind: 'thing', ids: ['burst'] })) as [MadeDevice]
    const socket = open()
    await ready(socket, device)
    const publish = (messageId: number) =>
      mqttPacket.generate({
        cmd: 'publish',
        topic: 'd/burst/raw/d-ws4',
        payload: 'x',
        qos: 1,
        messageId,
        dup: false,
        retain: false,
      })
    const messages: Buffer[] = []
    socket.on('message', (data: Buffer) => messages.push(data))
    socket.send(Buffer.concat(Array.from({ length: 50 }, (_, i) => publish(i + 1))))
    while (Buffer.concat(messages).length < 200) await once(socket, 'message')
    assert.equal(messages.length, 1)
    assert.equal(messages[0]?.length, 200)
  })

  it('wants the subprotocol mqtt', async () => {
    const before = rejected()['websocket_protocol'] ?? 0
    assert.equal(await refused(open({}, [])), 400)
    assert.equal(await refused(open({}, ['chat'])), 400)
    assert.equal(await refused(open({}, ['mqttv3.1'])), 400)
    assert.equal(rejected()['websocket_protocol'], before + 3)
    const both = open({}, ['chat', 'mqtt'])
    await once(both, 'open')
    assert.equal(both.protocol, 'mqtt')
  })

  it('lets in pages of the origins that are named, clients that are no page, and no other', async () => {
    await once(open({ origin: PAGE }), 'open')
    await once(open({ origin: 'https://OTHER.example' }), 'open')
    await once(open(), 'open')
    for (const origin of ['https://evil.example', `${PAGE}.evil.example`, `${PAGE}:8443`, 'null']) {
      assert.equal(await refused(open({ origin })), 403, origin)
    }
  })

  it('is at one path', async () => {
    assert.equal(await refused(open({}, ['mqtt'], '/')), 404)
    assert.equal(await refused(open({}, ['mqtt'], '/v1/ws2')), 404)
    const plain = await fetch(`http://127.0.0.1:${test.node.httpPort}/v1/ws`)
    assert.equal(plain.status, 404)
  })

  it('closes with 1003 for a text message, before and after CONNECT', async () => {
    const [device] = (await test.make({ kind: 'thing', ids: ['texter'] })) as [MadeDevice]
    const early = open()
    await once(early, 'open')
    early.send('CONNECT')
    assert.equal((await once(early, 'close'))[0], 1003)
    const late = open()
    await ready(late, device)
    late.send('hello')
    assert.equal((await once(late, 'close'))[0], 1003)
    assert.equal(test.node.server.metrics.disconnects['websocket_protocol'], 1)
  })

  it('closes with 1009 for a message above the largest frame, and takes one of that size', async () => {
    const [device] = (await test.make({ kind: 'thing', ids: ['heavy'] })) as [MadeDevice]
    const socket = open()
    await ready(socket, device)
    socket.send(Buffer.alloc(limits.frameBytesMax + 1))
    assert.equal((await once(socket, 'close'))[0], 1009)
    const [largest] = (await test.make({ kind: 'thing', ids: ['largest'] })) as [MadeDevice]
    const second = open()
    await ready(second, largest)
    const topic = 'd/largest/raw/d-ws4'
    const publish = (payload: Buffer, messageId: number) =>
      mqttPacket.generate({ cmd: 'publish', topic, payload, qos: 1, messageId, dup: false, retain: false })
    const one = publish(Buffer.alloc(limits.rawBytesMax), 1)
    const two = publish(Buffer.alloc(limits.rawBytesMax), 2)
    const headBytes = publish(Buffer.alloc(4_000), 3).length - 4_000
    const rest = publish(Buffer.alloc(limits.frameBytesMax - one.length - two.length - headBytes), 3)
    const message = Buffer.concat([one, two, rest])
    assert.equal(message.length, limits.frameBytesMax)
    const pubacks: Buffer[] = []
    second.on('message', (data: Buffer) => pubacks.push(data))
    second.send(message)
    while (Buffer.concat(pubacks).length < 12) await once(second, 'message')
  })

  it('holds the limits of a socket that says nothing, and of bytes that are no MQTT', async () => {
    const noise = open()
    await once(noise, 'open')
    noise.send(Buffer.from('GET / HTTP/1.1\r\n\r\n'))
    await once(noise, 'close')
    assert.ok((rejected()['not_connect'] ?? 0) >= 1)
  })

  it('leaves bytes with the sender while the server holds enough of it, and loses nothing', async () => {
    const [device, sink] = (await test.make({ kind: 'thing', ids: ['flood', 'sink'] })) as [MadeDevice, MadeDevice]
    const reader = await test.connect(sink)
    await reader.subscribe('d/sink/from/#')
    const socket = open()
    await ready(socket, device)
    // The store is slow: what is appended waits here.
    const { intake } = test.node.server.opened.ports
    const { append } = intake
    let release = (): void => undefined
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    intake.append = (shard, batch) => gate.then(() => append(shard, batch))
    const payload = Buffer.alloc(32 * 1024)
    const count = 1_000
    const packet = { cmd: 'publish', topic: 'd/flood/raw/d-sink', payload, qos: 1, dup: false, retain: false } as const
    for (let i = 0; i < count; i++) {
      payload.writeUInt32BE(i)
      socket.send(mqttPacket.generate({ ...packet, messageId: i + 1 }))
    }
    // The loop turns for others meanwhile, often enough to have moved 32 MiB through loopback.
    for (let i = 0; i < limits.controlPacketsPer10SMax - 10; i++) await reader.ping()
    const { heldBytes } = test.node.server.metrics
    assert.ok(heldBytes > limits.heldBytesPerConnectionMax, `${heldBytes} bytes are held`)
    assert.ok(heldBytes < limits.heldBytesPerConnectionMax + 2 * limits.frameBytesMax, `${heldBytes} bytes are held`)
    assert.ok(socket.bufferedAmount > (count / 2) * payload.length, `${socket.bufferedAmount} bytes are left`)
    intake.append = append
    release()
    const got = await reader.receive(count, 20_000)
    assert.deepEqual(
      got.map((each) => each.payload.readUInt32BE(0)),
      Array.from({ length: count }, (_, i) => i),
    )
  })

  it('ends a half-open upgrade without harm', async () => {
    const socket = openSocket({ port: test.node.httpPort, host: '127.0.0.1' })
    await once(socket, 'connect')
    socket.write('GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
    const [answer] = (await once(socket, 'data')) as [Buffer]
    assert.match(String(answer), /^HTTP\/1\.1 400 /)
    socket.destroy()
    assert.equal((await test.ask('/livez')).status, 200)
  })
})

describe('a WebSocket whose server stops', () => {
  it('is closed in order, with everything that was stored acknowledged', async () => {
    const test = await startTestNode()
    const [device] = (await test.make({ kind: 'thing', ids: ['last'] })) as [MadeDevice]
    const client = await mqtt.connectAsync(`ws://127.0.0.1:${test.node.httpPort}/v1/ws`, {
      clientId: 'last',
      username: 'last',
      password: device.token,
      reconnectPeriod: 0,
    })
    const closed = new Promise<void>((resolve) => client.once('close', () => resolve()))
    const [sink] = (await test.make({ kind: 'thing', ids: ['kept'] })) as [MadeDevice]
    const acked = client.publishAsync(`d/last/raw/d-${sink.device}`, 'stored', { qos: 1 })
    // The server holds it when the drain begins.
    const { senders } = test.node.server.plugins.ingress
    while (senders.size === 0) await new Promise((resolve) => setImmediate(resolve))
    const stopped = test.stop()
    await acked
    await stopped
    await closed
    await client.endAsync(true)
  })
})
