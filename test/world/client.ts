/**
 * An MQTT client that does exactly what a test says: it acknowledges only when told to (or always, with `autoAck`),
 * and shows every packet it got, in order. Frames are made and read by mqtt-packet, so that the server's own code is
 * not its judge.
 */
import { connect, type Socket } from 'node:net'
import mqtt, { type Packet } from 'mqtt-packet'

export interface ClientOptions {
  readonly port: number
  readonly host?: string
  readonly clientId: string
  readonly username?: string
  readonly password?: string
  readonly clean: boolean
  readonly keepalive: number
  readonly will?: { topic: string; payload: Buffer; qos: 0 | 1 | 2; retain: boolean }
  /** PUBACK every QoS 1 PUBLISH at once. Default true. */
  readonly autoAck?: boolean
  /** Resolve without waiting for CONNACK. */
  readonly lazy?: boolean
}
export interface Received {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: number
  readonly dup: boolean
  readonly retain: boolean
  readonly messageId: number | undefined
}
export interface Client {
  readonly socket: Socket
  /** Everything that came, in order. */
  readonly packets: Packet[]
  /** PUBLISHes that came, in order. */
  readonly received: Received[]
  readonly connack: { returnCode: number; sessionPresent: boolean } | undefined
  readonly isClosed: boolean
  send(packet: Packet): void
  sendBytes(bytes: Uint8Array): void
  /** Publishes with QoS 1 and resolves with its PUBACK; rejects when the connection ends first. */
  publish(topic: string, payload: string | Uint8Array, options?: { messageId?: number; dup?: boolean }): Promise<void>
  /** Sends without waiting; gives the packet id. */
  post(
    topic: string,
    payload: string | Uint8Array,
    options?: { messageId?: number; dup?: boolean; qos?: 0 | 1 | 2; retain?: boolean },
  ): number
  /** Resolves with the granted codes. */
  subscribe(...filters: (string | { topic: string; qos: 0 | 1 | 2 })[]): Promise<number[]>
  puback(messageId: number): void
  /**
   * Resolves when `test` is true, asked after every packet and at the close; rejects after `timeoutMs` with what
   * there is.
   */
  until(test: (client: Client) => boolean, what: string, timeoutMs?: number): Promise<void>
  /** Resolves when `count` PUBLISHes of QoS 1 came since it connected, with all of them. */
  receive(count: number, timeoutMs?: number): Promise<Received[]>
  /** PINGREQ, PINGRESP: everything sent before was worked off by the framing. */
  ping(): Promise<void>
  closed(timeoutMs?: number): Promise<void>
  /** DISCONNECT and end. */
  disconnect(): Promise<void>
  destroy(): void
}

const TIMEOUT_MS = 5_000

/** Opens a socket, sends CONNECT and resolves with CONNACK or with the close, whatever comes first. */
export async function connectClient(options: ClientOptions): Promise<Client> {
  const socket = connect({ port: options.port, host: options.host ?? '127.0.0.1', noDelay: true })
  const client = clientOn(socket, options.autoAck ?? true)
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  client.send({
    cmd: 'connect',
    protocolId: 'MQTT',
    protocolVersion: 4,
    clientId: options.clientId,
    clean: options.clean,
    keepalive: options.keepalive,
    ...(options.username === undefined ? {} : { username: options.username }),
    ...(options.password === undefined ? {} : { password: Buffer.from(options.password) }),
    ...(options.will === undefined ? {} : { will: options.will }),
  } as Packet)
  if (options.lazy !== true) await client.until((c) => c.connack !== undefined || c.isClosed, 'CONNACK or close')
  return client
}

/** A client over any stream, without CONNECT. */
export function clientOn(socket: Socket, autoAck: boolean): Client {
  const parser = mqtt.parser()
  const waiters = new Set<() => void>()
  const state = { isClosed: false, connack: undefined as Client['connack'] }
  let nextId = 0
  const settle = () => {
    for (const check of [...waiters]) check()
  }
  socket.on('data', (chunk: Buffer) => void parser.parse(chunk))
  socket.on('error', () => undefined)
  socket.on('close', () => {
    state.isClosed = true
    settle()
  })
  parser.on('packet', (packet: Packet) => {
    client.packets.push(packet)
    if (packet.cmd === 'connack') {
      state.connack = { returnCode: packet.returnCode as number, sessionPresent: packet.sessionPresent }
    }
    if (packet.cmd === 'publish') {
      const { topic, payload, qos, dup, retain, messageId } = packet
      client.received.push({ topic, payload: payload as Buffer, qos, dup, retain, messageId })
      if (autoAck && qos === 1) client.puback(messageId as number)
    }
    settle()
  })

  const client: Client = {
    socket,
    packets: [],
    received: [],
    get connack() {
      return state.connack
    },
    get isClosed() {
      return state.isClosed
    },
    send: (packet) => void socket.write(mqtt.generate(packet)),
    sendBytes: (bytes) => void socket.write(bytes),
    post(topic, payload, settings = {}) {
      const { messageId = (nextId++ % 65_535) + 1, dup = false, qos = 1, retain = false } = settings
      client.send({
        cmd: 'publish',
        topic,
        payload: Buffer.from(payload as Uint8Array),
        qos,
        dup,
        retain,
        messageId,
      } as Packet)
      return messageId
    },
    async publish(topic, payload, settings) {
      const from = client.packets.length
      const id = client.post(topic, payload, settings)
      const isAcked = () =>
        client.packets.slice(from).some((packet) => packet.cmd === 'puback' && packet.messageId === id)
      await client.until(() => isAcked() || state.isClosed, `PUBACK ${id}`)
      if (!isAcked()) throw new Error(`the connection ended before PUBACK ${id}`)
    },
    async subscribe(...filters) {
      const messageId = (nextId++ % 65_535) + 1
      const subscriptions = filters.map((filter) => (typeof filter === 'string' ? { topic: filter, qos: 1 } : filter))
      const from = client.packets.length
      client.send({ cmd: 'subscribe', messageId, subscriptions } as Packet)
      const find = () =>
        client.packets.slice(from).find((packet) => packet.cmd === 'suback' && packet.messageId === messageId)
      await client.until(() => find() !== undefined || state.isClosed, 'SUBACK')
      const suback = find()
      if (suback?.cmd !== 'suback') throw new Error('the connection ended before SUBACK')
      return suback.granted as number[]
    },
    puback: (messageId) => client.send({ cmd: 'puback', messageId } as Packet),
    until(test, what, timeoutMs = TIMEOUT_MS) {
      return new Promise((resolve, reject) => {
        const stop = () => {
          waiters.delete(check)
          clearTimeout(timer)
        }
        const check = () => {
          if (!test(client)) return
          stop()
          resolve()
        }
        const timer = setTimeout(() => {
          stop()
          const last = client.packets.slice(-3).map((packet) => packet.cmd)
          reject(new Error(`no ${what} within ${timeoutMs} ms; ${client.packets.length} packets, last ${last}`))
        }, timeoutMs)
        waiters.add(check)
        check()
      })
    },
    async receive(count, timeoutMs) {
      await client.until(
        (c) => c.received.filter(({ qos }) => qos === 1).length >= count,
        `${count} messages`,
        timeoutMs,
      )
      return client.received.filter(({ qos }) => qos === 1)
    },
    async ping() {
      const before = client.packets.filter((packet) => packet.cmd === 'pingresp').length
      client.send({ cmd: 'pingreq' })
      await client.until((c) => c.packets.filter((packet) => packet.cmd === 'pingresp').length > before, 'PINGRESP')
    },
    closed: (timeoutMs) => client.until(() => state.isClosed, 'close', timeoutMs),
    async disconnect() {
      client.send({ cmd: 'disconnect' })
      socket.end()
      await client.closed()
    },
    destroy: () => socket.destroy(),
  }
  return client
}
