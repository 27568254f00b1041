import assert from 'node:assert/strict'
import { type EventEmitter, once } from 'node:events'
import { connect as connectSocket } from 'node:net'
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import { numbered } from '../suites/broker.ts'
import { startWorld, type TestDevice, type World } from '../world/world.ts'

const WAITING = 3_000
/** A plain loop of publishes had 513 of them open at once. */
const PIPELINED = 600
const ARRIVE_MS_MAX = 15_000

/** The next event of that name and its arguments; MQTT.js types its emitter in its own way. */
function next(client: MqttClient, event: string): Promise<unknown[]> {
  return once(client as unknown as EventEmitter, event, { signal: AbortSignal.timeout(ARRIVE_MS_MAX) })
}

interface Message {
  readonly topic: string
  readonly text: string
  readonly dup: boolean
}

describe('MQTT.js', () => {
  let world: World
  const clients: MqttClient[] = []
  before(async () => {
    world = await startWorld()
  })
  after(async () => {
    for (const client of clients) await client.endAsync(true)
    await world.stop()
  })

  /** A client that comes back by itself and does not subscribe again: its session has to be there. */
  function open({ id, token }: TestDevice, options: IClientOptions = {}): { client: MqttClient; got: Message[] } {
    const client = mqtt.connect({
      host: '127.0.0.1',
      port: world.server.mqttPort,
      clientId: id,
      username: id,
      password: token,
      clean: false,
      resubscribe: false,
      reconnectPeriod: 20,
      ...options,
    })
    clients.push(client)
    const got: Message[] = []
    // In front of CONNACK, so that nothing of the backlog comes before there is somebody to take it.
    client.on('message', (topic, payload, { dup }) => void got.push({ topic, text: String(payload), dup }))
    return { client, got }
  }

  async function arrived(client: MqttClient, isEnough: () => boolean): Promise<void> {
    while (!isEnough()) await next(client, 'message')
  }

  async function subscribeAndLeave(device: TestDevice): Promise<void> {
    const { client } = open(device)
    await next(client, 'connect')
    const [granted] = await client.subscribeAsync(`d/${device.id}/from/#`, { qos: 1 })
    assert.equal(granted?.qos, 1)
    await client.endAsync()
  }

  const publishAll = (client: MqttClient, topic: string, texts: readonly string[]) =>
    Promise.all(texts.map((text) => client.publishAsync(topic, text, { qos: 1 })))

  it('gets 3,000 messages that waited, in order, in one connection, and then live ones', async () => {
    const [a, b] = [await world.thing('a'), await world.thing('b')]
    await subscribeAndLeave(b)
    const sender = open(a).client
    const waiting = numbered('waiting', WAITING)
    await publishAll(sender, 'd/a/raw/d-b', waiting)
    const { client, got } = open(b)
    let closes = 0
    client.on('close', () => void closes++)
    const [{ sessionPresent }] = (await next(client, 'connect')) as [{ sessionPresent: boolean }]
    assert.equal(sessionPresent, true)
    await arrived(client, () => got.length >= WAITING)
    await publishAll(sender, 'd/a/raw/d-b', ['live'])
    await arrived(client, () => got.length > WAITING)
    assert.deepEqual(
      got.map(({ text }) => text),
      [...waiting, 'live'],
    )
    assert.deepEqual(new Set(got.map(({ topic }) => topic)), new Set(['d/b/from/d-a/direct']))
    assert.equal(closes, 0)
  })

  it('publishes 600 messages from a plain loop, and all are answered and in order', async () => {
    const [a, b] = [await world.thing('loop'), await world.thing('target')]
    await subscribeAndLeave(b)
    const { client: sender } = open(a)
    await next(sender, 'connect')
    let closes = 0
    sender.on('close', () => void closes++)
    const texts = numbered('message', PIPELINED)
    let answered = 0
    const all = new Promise<void>((resolve, reject) => {
      for (const text of texts) {
        sender.publish('d/loop/raw/d-target', text, { qos: 1 }, (error) => {
          if (error) reject(error)
          else if (++answered === PIPELINED) resolve()
        })
      }
    })
    await all
    assert.equal(closes, 0, 'the sender had to connect again')
    const { client, got } = open(b)
    await arrived(client, () => got.length >= PIPELINED)
    assert.deepEqual(
      got.map(({ text }) => text),
      texts,
    )
  })

  it('loses its socket again and again under a backlog, and misses nothing', async () => {
    const [a, b] = [await world.thing('steady'), await world.thing('shaky')]
    await subscribeAndLeave(b)
    const texts = numbered('message', WAITING)
    const sender = open(a).client
    await publishAll(sender, 'd/steady/raw/d-shaky', texts)
    const { client, got } = open(b)
    for (let cut = 1; cut <= 5; cut++) {
      await arrived(client, () => got.length >= cut * 400)
      client.stream.destroy()
      await next(client, 'connect')
    }
    const seen = new Set<string>()
    await arrived(client, () => {
      for (const { text } of got) seen.add(text)
      return seen.size === WAITING
    })
    assert.deepEqual([...seen], texts)
    const firstAt = new Map(got.map(({ text }, i) => [text, i] as const).reverse())
    const unmarked = got.filter(({ text, dup }, i) => firstAt.get(text) !== i && !dup)
    assert.deepEqual(unmarked, [], 'sent again without DUP')
  })

  it('reads on its inbox why a publish was refused, and its PUBACK comes', async () => {
    const a = await world.thing('asker')
    const { client, got } = open(a)
    await next(client, 'connect')
    await client.subscribeAsync('d/asker/from/#', { qos: 1 })
    await client.publishAsync('d/asker/raw/@nobody/7', 'x', { qos: 1 })
    await arrived(client, () => got.length > 0)
    assert.equal(got[0]?.topic, 'd/asker/from/error/unknown_recipient')
    const line = JSON.parse(got[0]?.text ?? '') as { to: string; n: string; text: string }
    assert.deepEqual([line.to, line.n], ['@nobody', '7'])
    assert.match(line.text, /No such user/)
  })

  it('is told with CONNACK 1 that MQTT 5 is not spoken here', async () => {
    const a = await world.thing('modern')
    const { client } = open(a, { protocolVersion: 5, clean: true, reconnectPeriod: 0 })
    const [error] = (await next(client, 'error')) as unknown as [Error]
    assert.match(error.message, /Unacceptable protocol version/)

    // The same CONNECT by hand: the bytes of the answer are those of 3.1.1, which every client knows.
    const socket = connectSocket({ port: world.server.mqttPort, host: '127.0.0.1' })
    socket.write(Buffer.from('100e00044d5154540502003c0000016d', 'hex'))
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => void chunks.push(chunk))
    await once(socket, 'close')
    assert.equal(Buffer.concat(chunks).toString('hex'), '20020001')
  })
})
