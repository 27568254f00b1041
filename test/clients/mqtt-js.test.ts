import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect as connectSocket } from 'node:net'
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import { numbered } from '../suites/broker.ts'
import { startWorld, type TestDevice, type World } from '../world/world.ts'

const WAITING = 3_000
/** What mqtt.js had open at once from a plain loop was 513. */
const PIPELINED = 600

/** A client and what it got: topic, text and DUP of every message, in order. */
interface Receiver {
  readonly client: MqttClient
  readonly got: { topic: string; text: string; dup: boolean }[]
  got_(count: number): Promise<string[]>
}

describe('MQTT.js', () => {
  let world: World
  const clients: MqttClient[] = []
  before(async () => {
    world = await startWorld()
  })
  after(async () => {
    await Promise.all(clients.map((client) => client.endAsync(true)))
    await world.stop()
  })

  function open({ id, token }: TestDevice, options: IClientOptions = {}): Receiver {
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
    const got: Receiver['got'] = []
    client.on('message', (topic, payload, packet) => {
      got.push({ topic, text: String(payload), dup: packet.dup })
      client.emit('error')
    })
    return { client, got, got_: async () => [] }
  }
})
