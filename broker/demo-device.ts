/** A device of the demo: MQTT.js, and a list of what it got. Nothing here knows how the server works. */
import mqtt, { type MqttClient } from 'mqtt'
import { inboxFilterOf } from '../topics/topic.ts'
import type { MadeDevice } from './admin-client.ts'
import { BrokenPromise } from './demo-promise.ts'

const WAIT_MS_MAX = 10_000
const RECONNECT_MS = 100

export interface Arrival {
  readonly topic: string
  readonly text: string
  /** The mark of something that was sent before. */
  readonly isRepeat: boolean
}

export interface DemoDevice {
  readonly id: string
  /** How often it connected. */
  connections(): number
  /** Everything that came, in order. */
  readonly arrivals: Arrival[]
  /** Publishes with QoS 1 and resolves with its PUBACK. */
  send(topic: string, text: string): Promise<unknown>
  /** Resolves when so many messages came; the demo has failed when they do not within 10 s. */
  receive(count: number): Promise<readonly Arrival[]>
  /** Resolves when `test` holds, asked at every message and PUBACK. */
  until(test: () => boolean, what: string): Promise<void>
  /** Resolves when it is connected, again if need be. */
  connected(): Promise<void>
  leave(): Promise<void>
  end(): Promise<void>
}

/**
 * Connects; with `subscribe` it takes what waits for it. It reconnects by itself, and sends again what has no PUBACK.
 */
export async function openDevice(url: string, made: MadeDevice, subscribe: boolean): Promise<DemoDevice> {
  const { device: id, token } = made
  const arrivals: Arrival[] = []
  const checks = new Set<() => void>()
  const client: MqttClient = mqtt.connect(url, {
    clientId: id,
    username: id,
    password: token,
    clean: false,
    resubscribe: false,
    reconnectPeriod: RECONNECT_MS,
  })
  const changed = (): void => {
    for (const check of [...checks]) check()
  }
  client.on('message', (topic, payload, packet) => {
    arrivals.push({ topic, text: String(payload), isRepeat: packet.dup })
    changed()
  })
  let connections = 0
  client.on('connect', () => {
    connections++
    changed()
  })
  // The server is away: MQTT.js tries again.
  client.on('error', () => undefined)

  const until: DemoDevice['until'] = (test, what) =>
    new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        checks.delete(check)
        reject(new BrokenPromise(`${id} waited ${WAIT_MS_MAX / 1_000} s for ${what}`))
      }, WAIT_MS_MAX)
      const check = (): void => {
        if (!test()) return
        checks.delete(check)
        clearTimeout(late)
        resolve()
      }
      checks.add(check)
      check()
    })

  const connected = (): Promise<void> => until(() => client.connected, 'its connection')
  await connected()
  if (subscribe) await client.subscribeAsync(inboxFilterOf(id, 'thing'), { qos: 1 })
  return {
    id,
    connections: () => connections,
    arrivals,
    async send(topic, text) {
      await client.publishAsync(topic, text, { qos: 1 })
      changed()
    },
    async receive(count) {
      await until(() => arrivals.length >= count, `${count} messages; ${arrivals.length} came`)
      return arrivals
    },
    until,
    connected,
    leave: async () => void (await client.endAsync()),
    end: async () => void (await client.endAsync(true)),
  }
}
