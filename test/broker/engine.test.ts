/** Contract with aedes 1.2.0: every private part that broker/engine.ts leans on is there and means what it is taken to mean. */
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { Aedes } from 'aedes'
import { type Client, connectClient } from '../world/client.ts'

interface Private {
  _parser: { emit(event: 'packet', packet: object): void; _list: unknown; _queue: unknown[] | null }
  _nextBatch: (error?: Error) => void
  _parsingBatch: number
  _keepaliveTimer: NodeJS.Timeout | null
  _keepaliveInterval: number
}

const require = createRequire(import.meta.url)
const CONNECT = { cmd: 'connect', protocolVersion: 4, clientId: 'a', clean: true, keepalive: 60 }

describe('aedes, as the engine uses it', () => {
  let broker: Aedes
  let server: Server
  let adopted: Private
  let stream: Socket
  let client: Client
  let readers: unknown[]
  let readerAtFirst: unknown
  let batchAtFirst: number
  before(async () => {
    broker = await Aedes.createBroker()
    const accepted = new Promise<Socket>((resolve) => {
      server = createServer((socket) => {
        // As the engine does it: in one turn, before aedes reads anything.
        adopted = broker.handle(socket as never) as unknown as Private
        readers = [...socket.listeners('readable')]
        batchAtFirst = adopted._parsingBatch
        readerAtFirst = adopted._nextBatch
        socket.removeListener('readable', adopted._nextBatch as () => void)
        adopted._nextBatch = () => undefined
        resolve(socket)
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    client = await connectClient({ port, clientId: 'a', clean: true, keepalive: 60, lazy: true })
    stream = await accepted
  })
  after(async () => {
    client.destroy()
    await new Promise((resolve) => broker.close(resolve as () => void))
    server.close()
  })

  it('is the version that was read', () => {
    assert.equal((broker as unknown as { version: string }).version, '1.2.0')
  })

  it('reads its socket by _nextBatch on readable, which can be taken away', () => {
    assert.deepEqual(readers, [readerAtFirst])
    assert.equal(stream.listenerCount('readable'), 0)
  })

  it('takes packets from its parser as events, without its buffer, when _parsingBatch begins at 0', async () => {
    assert.equal(batchAtFirst, 1)
    adopted._parsingBatch = 0
    adopted._parser._list = undefined
    const ready = new Promise((resolve) => broker.once('clientReady', resolve))
    adopted._parser.emit('packet', CONNECT)
    await ready
    await client.until((c) => c.connack?.returnCode === 0, 'CONNACK')
    adopted._parser.emit('packet', { cmd: 'subscribe', messageId: 7, subscriptions: [{ topic: 'x', qos: 1 }] })
    await client.until((c) => c.packets.some((packet) => packet.cmd === 'suback'), 'SUBACK')
    adopted._parser.emit('packet', { cmd: 'pingreq' })
    await client.until((c) => c.packets.some((packet) => packet.cmd === 'pingresp'), 'PINGRESP')
  })

  it('has one keepalive timer of one and a half keepalives, that can be re-armed', () => {
    assert.equal(adopted._keepaliveInterval, 60 * 1500 + 1)
    assert.equal(typeof adopted._keepaliveTimer?.refresh, 'function')
  })

  it('lets subscribe and unsubscribe of the broker be replaced', async () => {
    const asked: string[] = []
    const { subscribe } = broker
    broker.subscribe = (topic, _deliver, done) => {
      asked.push(topic)
      done?.()
    }
    adopted._parser.emit('packet', { cmd: 'subscribe', messageId: 8, subscriptions: [{ topic: 'y', qos: 1 }] })
    await client.until((c) => c.packets.filter((packet) => packet.cmd === 'suback').length === 2, 'the second SUBACK')
    broker.subscribe = subscribe
    assert.deepEqual(asked, ['y'])
  })

  it('drops its timer and its interval when it is closed', async () => {
    adopted._parser.emit('packet', { cmd: 'disconnect' })
    await client.closed()
    assert.equal(adopted._keepaliveTimer, null)
    assert.equal(adopted._keepaliveInterval, -1)
  })

  it('has a writer whose cache of numbers can be turned off', () => {
    assert.equal(typeof require('mqtt-packet').writeToStream, 'function')
  })
})
