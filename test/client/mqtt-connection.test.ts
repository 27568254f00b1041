import assert from 'node:assert/strict'
import { mock } from 'node:test'
import { createTransport, type Transport, type TransportSettings } from '../../client/transport/transport.ts'
import { limits } from '../../topics/limits.ts'
import { countWrites, down, type Manner, type Peer, pubacks, startPeer } from './peer.ts'
import { createWatcher, type Watcher } from './watcher.ts'

const IN = 'd/phone1/in'
const LIVE = 'd/phone1/live'

describe('a connection of the SDK over mqtt.js', () => {
  let peer: Peer
  let transport: Transport
  let seen: Watcher
  afterEach(async () => {
    transport.destroy()
    await peer.stop()
  })

  async function start(manner: Manner = {}, settings: Partial<TransportSettings> = {}, then = {}): Promise<void> {
    peer = await startPeer(manner)
    seen = createWatcher(then)
    transport = createTransport(
      { url: peer.url, device: 'phone1', token: () => 'secret', random: () => 0, ...settings },
      seen,
    )
    transport.start()
  }
  const online = (times = 1) => seen.until(() => seen.online === times, 'online')
  /** Everything that the transport wrote before is here when this resolves. */
  async function flushed(index = 0): Promise<void> {
    const client = await peer.connection(index)
    const before = client.received.length
    transport.publishNow(Buffer.from('flush'))
    await client.until(({ received }) => received.length > before, 'the flush')
  }

  it('says who it is, keeps its session and subscribes to its inbox and to nothing else', async () => {
    await start()
    await online()
    const client = await peer.connection(0)
    const [connect, subscribe] = client.packets
    assert.ok(connect?.cmd === 'connect' && subscribe?.cmd === 'subscribe')
    const { clientId, username, password, clean, keepalive, protocolVersion } = connect
    assert.deepEqual(
      { clientId, username, password: String(password), clean, keepalive, protocolVersion },
      { clientId: 'phone1', username: 'phone1', password: 'secret', clean: false, keepalive: 60, protocolVersion: 4 },
    )
    assert.deepEqual(subscribe.subscriptions, [{ topic: IN, qos: 1 }])
    assert.equal(transport.isOnline(), true)
  })

  it('does not subscribe again where the server has its session', async () => {
    await start({ sessionPresent: true })
    await online()
    await flushed()
    const { packets } = await peer.connection(0)
    assert.deepEqual(
      packets.map(({ cmd }) => cmd),
      ['connect', 'publish'],
    )
  })

  it('sends no PUBACK before it is told to, and then many in one write', async () => {
    await start()
    await online()
    const client = await peer.connection(0)
    for (let id = 1; id <= 100; id++) client.send(down(IN, `${id}`, 1, id))
    await seen.until(() => seen.delivered.length === 100, '100 deliveries')
    await flushed()
    assert.deepEqual(pubacks(client), [])
    const counted = countWrites(peer.port)
    transport.acknowledge(seen.delivered.map(({ ack }) => ack))
    counted.restore()
    await client.until(() => pubacks(client).length === 100, '100 PUBACKs')
    assert.deepEqual(
      pubacks(client),
      Array.from({ length: 100 }, (_, i) => i + 1),
    )
    assert.deepEqual(
      counted.writes.map(({ length }) => length),
      [400],
    )
  })

  it('drops what belongs to an earlier connection: its acknowledgements and its PUBACKs', async () => {
    await start()
    await online()
    const first = await peer.connection(0)
    first.send(down(IN, 'old', 1, 7))
    await seen.until(() => seen.delivered.length === 1, 'a delivery')
    transport.publish(Buffer.from('lost'), 1)
    await first.until(({ received }) => received.length === 1, 'a PUBLISH')
    first.destroy()
    await online(2)
    const second = await peer.connection(1)
    second.puback(first.received[0]?.messageId as number)
    second.send(down(IN, 'new', 1, 9, true))
    await seen.until(() => seen.delivered.length === 2, 'a delivery')
    transport.acknowledge(seen.delivered.map(({ ack }) => ack))
    await second.until(() => pubacks(second).length > 0, 'a PUBACK')
    await flushed(1)
    assert.deepEqual(pubacks(second), [9])
    assert.deepEqual(seen.stored, [])
    assert.deepEqual(
      seen.delivered.map(({ isRepeat }) => isRepeat),
      [false, true],
    )
    assert.equal(second.received.length, 1, 'nothing of the first connection is sent again')
  })

  for (const sessionPresent of [true, false]) {
    it(`tells of deliveries after it told that it is online, ${sessionPresent ? 'with' : 'without'} a session`, async () => {
      const together = [down(LIVE, 'typing', 0), down(IN, 'a', 1, 1), down(IN, 'b', 1, 2), down(IN, 'end', 0)]
      await start({ sessionPresent, together })
      await seen.until(() => seen.delivered.length === 3, 'deliveries')
      assert.equal(seen.calls[0], 'online')
      assert.deepEqual(
        seen.calls.filter((call) => call !== 'now'),
        ['online', 'delivery', 'delivery', 'delivery'],
      )
      assert.deepEqual(
        seen.delivered.map(({ payload, ack }) => [String(payload), ack.packetId]),
        [
          ['a', 1],
          ['b', 2],
          ['end', 0],
        ],
      )
      const client = await peer.connection(0)
      transport.acknowledge(seen.delivered.map(({ ack }) => ack))
      await flushed()
      assert.deepEqual(pubacks(client), [1, 2], 'what came with QoS 0 has none')
    })
  }

  it('publishes in order and tells of each PUBACK once', async () => {
    await start()
    await online()
    const client = await peer.connection(0)
    const stamps = Array.from({ length: limits.clientPublishesMax }, (_, i) => 1_000 + i)
    for (const stamp of stamps) transport.publish(Buffer.from(`${stamp}`), stamp)
    await client.until(({ received }) => received.length === stamps.length, 'all of them')
    assert.deepEqual(
      client.received.map(({ topic, payload, qos, dup }) => [topic, Number(payload), qos, dup]),
      stamps.map((stamp) => ['d/phone1/out', stamp, 1, false]),
    )
    const ids = client.received.map(({ messageId }) => messageId as number)
    assert.equal(new Set(ids).size, stamps.length)
    for (const id of ids) client.puback(id)
    client.puback(ids[0] as number)
    client.puback(60_000)
    client.send(down(IN, 'end', 0))
    await seen.until(() => seen.delivered.length === 1, 'the end')
    assert.deepEqual(seen.stored, stamps)
  })

  it('passes `now` on in both directions', async () => {
    await start()
    await online()
    const client = await peer.connection(0)
    transport.publishNow(Buffer.from('typing'))
    await client.until(({ received }) => received.length === 1, 'the Now')
    const [{ topic, qos, payload }] = client.received as [(typeof client.received)[0]]
    assert.deepEqual([topic, qos, String(payload)], ['d/phone1/now', 0, 'typing'])
    client.send(down(LIVE, 'typing too', 0))
    await seen.until(() => seen.now.length === 1, 'a Now')
    assert.equal(String(seen.now[0]), 'typing too')
  })

  it('leaves foreign topics and QoS 2 alone', async () => {
    await start()
    await online()
    const client = await peer.connection(0)
    client.send(down('d/other/in', 'x', 1, 1))
    client.send({ ...down(IN, 'y', 1, 2), qos: 2 } as never)
    await client.until(({ packets }) => packets.some(({ cmd }) => cmd === 'pubrec'), 'PUBREC')
    client.send({ cmd: 'pubrel', messageId: 2 })
    client.send(down(IN, 'z', 1, 3))
    await seen.until(() => seen.delivered.length === 1, 'a delivery')
    assert.equal(String(seen.delivered[0]?.payload), 'z')
    assert.deepEqual(pubacks(client), [])
  })

  for (const [returnCode, reason, retries] of [
    [3, 'refused', true],
    [2, 'refused', true],
    [4, 'unauthorized', false],
    [5, 'unauthorized', false],
  ] as const) {
    it(`CONNACK ${returnCode} is ${reason}, and ${retries ? 'is tried again' : 'waits for the user'}`, async () => {
      await start({ returnCode })
      await seen.until(() => seen.ends.length > 0, 'an end')
      assert.equal(seen.ends[0]?.reason, reason)
      assert.equal(seen.ends[0]?.retryInMs, retries ? 0 : undefined)
      peer.manner = {}
      if (!retries) transport.retryNow()
      await online()
    })
  }

  it('a subscription that is refused ends the connection', async () => {
    await start({ granted: 128 })
    await seen.until(() => seen.ends.length > 0, 'an end')
    assert.equal(seen.ends[0]?.reason, 'refused')
    assert.match(seen.ends[0]?.text ?? '', /inbox/)
    assert.equal(seen.online, 0)
    peer.manner = {}
    await online()
  })

  it('where nobody listens it is unreachable', async () => {
    await start()
    await online()
    await peer.stop()
    await seen.until(() => seen.ends.some(({ reason }) => reason === 'unreachable'), 'unreachable')
    assert.match(seen.ends.at(-1)?.text ?? '', /ECONNREFUSED|ECONNRESET/)
    peer = await startPeer()
  })

  it('a server that does not answer is left after ten seconds', async () => {
    mock.timers.enable({ apis: ['setTimeout'] })
    try {
      await start({ returnCode: undefined })
      await peer.connection(0)
      mock.timers.tick(9_999)
      assert.equal(seen.ends.length, 0)
      const ended = seen.until(() => seen.ends.length > 0, 'an end')
      mock.timers.tick(1)
      await ended
      assert.equal(seen.ends[0]?.reason, 'timeout')
    } finally {
      mock.timers.reset()
    }
  })

  it('a server that goes silent is left after one and a half keepalives', async () => {
    await start({}, { keepaliveS: 1 })
    await online()
    await seen.until(() => seen.ends.length > 0, 'an end')
    assert.equal(seen.ends[0]?.reason, 'timeout')
    const { packets } = await peer.connection(0)
    assert.ok(packets.some(({ cmd }) => cmd === 'pingreq'))
  })

  it('a packet without end is not read to its end', async () => {
    await start()
    await online()
    const client = await peer.connection(0)
    // PUBLISH with the longest remaining length that MQTT can say.
    client.sendBytes(Uint8Array.of(0x32, 0xff, 0xff, 0xff, 0x7f))
    const chunk = Buffer.alloc(64 * 1024)
    let sent = 0
    const more = setInterval(() => {
      sent += chunk.length
      client.sendBytes(chunk)
    }, 1)
    await seen.until(() => seen.ends.length > 0, 'an end').finally(() => clearInterval(more))
    assert.match(seen.ends[0]?.text ?? '', /too long/)
    assert.ok(sent < 64 * 1024 * 1024, `${sent}`)
  })

  it('bytes that are no MQTT end the connection and nothing else', async () => {
    await start()
    await online()
    const client = await peer.connection(0)
    client.sendBytes(Buffer.from([0xf7, 0x00, 0x00]))
    await online(2)
    assert.equal(seen.ends[0]?.reason, 'closed')
  })

  it('stop() says DISCONNECT after what was written, and nothing is told afterwards', async () => {
    await start()
    await online()
    const client = await peer.connection(0)
    transport.publish(Buffer.from('last'), 1)
    const stopped = transport.stop()
    client.send(down(IN, 'late', 1, 1))
    await stopped
    await client.closed()
    assert.deepEqual(
      client.packets.map(({ cmd }) => cmd),
      ['connect', 'subscribe', 'publish', 'disconnect'],
    )
    assert.deepEqual(seen.calls, ['online'])
    assert.equal(transport.isOnline(), false)
    transport.retryNow()
    transport.start()
    await online(2)
  })

  it('destroy() is a crash: no DISCONNECT, no callback, no new connection', async () => {
    await start()
    await online()
    const client = await peer.connection(0)
    transport.destroy()
    await client.closed()
    assert.deepEqual(
      client.packets.map(({ cmd }) => cmd),
      ['connect', 'subscribe'],
    )
    transport.publish(Buffer.from('nowhere'), 1)
    transport.acknowledge([{ connection: 1, packetId: 1 }])
    transport.retryNow()
    await new Promise((resolve) => setTimeout(resolve, 20))
    assert.deepEqual(seen.calls, ['online'])
    assert.equal(peer.connections.length, 1)
  })

  it('retryNow() does not wait for the next try, and does nothing when there is a connection', async () => {
    await start({ returnCode: 3 }, { random: () => 0.1 })
    const { ends } = seen
    await seen.until(() => ends.length === 4, 'four ends')
    assert.deepEqual(
      ends.map(({ retryInMs }) => retryInMs),
      [50, 100, 200, 400],
    )
    peer.manner = {}
    transport.retryNow()
    await online()
    transport.retryNow()
    await flushed(4)
    assert.equal(peer.connections.length, 5)
    peer.connections[4]?.destroy()
    await seen.until(() => ends.length === 5, 'an end')
    assert.equal(ends[4]?.retryInMs, 50, 'waits are short again')
  })

  it('takes only addresses that it can use, and only what the server would take', async () => {
    for (const url of ['http://host', 'host', '', 'mqtt://user:pass@host', 'mqtt://host?clientId=other']) {
      assert.throws(() => createTransport({ url, device: 'phone1', token: () => 'x' }, createWatcher()), /no address/)
    }
    await start()
    await online()
    const tooLarge = { name: 'ClientFault', code: 'too_large' }
    assert.throws(() => transport.publish(new Uint8Array(limits.envelopeBytesMax + 1), 1), tooLarge)
    assert.throws(() => transport.publishNow(new Uint8Array(limits.nowBytesMax + 1)), tooLarge)
    transport.publish(new Uint8Array(limits.envelopeBytesMax), 1)
    const client = await peer.connection(0)
    await client.until(({ received }) => received.length === 1, 'the largest')
    assert.equal(client.received[0]?.payload.length, limits.envelopeBytesMax)
  })
})
