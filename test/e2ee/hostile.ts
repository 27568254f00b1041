/**
 * A man in the middle before a real node: an HTTP proxy that can rewrite answers, and an MQTT proxy that can change,
 * drop, hold, repeat and reorder PUBLISHes. As long as a test says nothing it changes nothing but the address of MQTT.
 */
import { once } from 'node:events'
import { Agent, createServer as createHttpServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import type { Duplex } from 'node:stream'
import mqtt, { type Packet } from 'mqtt-packet'
import { createWebSocketStream, WebSocketServer } from 'ws'
import { inboxTopicOf } from '../../topics/topic.ts'
import type { TestNode } from '../api/node.ts'

type Json = Record<string, unknown>
export interface Asked {
  readonly method: string
  readonly path: string
  /** Of the device that asks; '' for none. */
  readonly token: string
}
export interface Answered {
  readonly status: number
  readonly body: Json | undefined
}
export interface Published {
  readonly payload: Uint8Array
  readonly messageId: number
}
/** What becomes of a PUBLISH: these payloads instead of it (the first one has its packet id), `drop`, or nothing. */
export type Verdict = readonly Uint8Array[] | 'drop' | undefined

/** One MQTT connection through the proxy. */
export interface Link {
  readonly device: string
  readonly isOpen: boolean
  /** To the client, into its inbox. Without a packet id it is QoS 0, which nobody acknowledges to the node. */
  toClient(payload: Uint8Array, messageId?: number): void
  /** Ends both sockets at once. */
  cut(): void
}

export interface Middle {
  readonly url: string
  /** Packets that went through, both ways. */
  packets: number
  /** By device, as answers gave them. */
  readonly tokens: Map<string, string>
  /** Asked for every answer of HTTP; undefined: as it is. What throws loses the answer. */
  answer: ((asked: Asked, answered: Answered) => Answered | undefined) | undefined
  /** Asked for every PUBLISH to a client. */
  down: ((published: Published, link: Link) => Verdict) | undefined
  /** Asked for every PUBLISH from a client. */
  up: ((published: Published, link: Link) => Verdict) | undefined
  /** Asked for every PUBACK to a client: false keeps it back. */
  puback: ((link: Link) => boolean) | undefined
  /** The open connection of a device. */
  linkOf(device: string): Link | undefined
  /** Everything as it is again. */
  behave(): void
  stop(): Promise<void>
}

async function readAll(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

function ask(agent: Agent, base: URL, from: IncomingMessage, body: Buffer): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', url: path = '/', headers } = from
    const { host, connection, ...rest } = headers
    const asking = request({ agent, host: base.hostname, port: base.port, method, path, headers: rest }, resolve)
    asking.on('error', reject)
    asking.end(body)
  })
}

function serveHttp(middle: Middle, base: URL, mqttUrl: () => string) {
  const agent = new Agent({ keepAlive: true })
  const serve = async (from: IncomingMessage, to: ServerResponse) => {
    const given = await ask(agent, base, from, await readAll(from))
    const bytes = await readAll(given)
    const isJson = given.headers['content-type']?.includes('json') === true && bytes.length > 0
    const body = isJson ? (JSON.parse(bytes.toString()) as Json) : undefined
    if (body?.['ws'] !== undefined) body['ws'] = mqttUrl()
    if (body?.['token'] !== undefined) middle.tokens.set(String(body['device']), String(body['token']))
    const before = { status: given.statusCode ?? 500, body }
    const token = from.headers.authorization?.replace('Bearer ', '') ?? ''
    const { status, body: after } =
      middle.answer?.({ method: from.method ?? '', path: from.url ?? '', token }, before) ?? before
    const { 'content-length': length, connection, 'transfer-encoding': coding, ...headers } = given.headers
    const kind = status >= 400 ? 'application/problem+json' : 'application/json'
    const type = status === before.status ? {} : { 'content-type': kind }
    to.writeHead(status, { ...headers, ...type })
    to.end(after === undefined ? bytes : JSON.stringify(after))
  }
  const server = createHttpServer((from, to) => void serve(from, to).catch(() => to.destroy()))
  return { server, agent }
}

function serveMqtt(middle: Middle, links: Set<Link>, port: number, client: Duplex): void {
  const node = connect({ port, host: '127.0.0.1', noDelay: true })
  const state = { device: '', isOpen: true }
  const cut = () => {
    state.isOpen = false
    links.delete(link)
    client.destroy()
    node.destroy()
  }
  const write = (socket: Duplex, packet: Packet) => {
    if (state.isOpen) socket.write(mqtt.generate(packet))
  }
  const link: Link = {
    get device() {
      return state.device
    },
    get isOpen() {
      return state.isOpen
    },
    toClient(payload, messageId) {
      const topic = inboxTopicOf(state.device)
      const head = { cmd: 'publish', topic, payload: Buffer.from(payload), dup: false, retain: false } as const
      write(client, messageId === undefined ? { ...head, qos: 0 } : { ...head, qos: 1, messageId })
    },
    cut,
  }
  links.add(link)
  const pass = (to: Duplex, packet: Packet, verdict: Verdict) => {
    if (verdict === undefined || packet.cmd !== 'publish') return write(to, packet)
    if (verdict === 'drop') return
    for (const [i, payload] of verdict.entries()) {
      if (to === client) link.toClient(payload, i === 0 ? packet.messageId : undefined)
      else write(to, { ...packet, payload: Buffer.from(payload) })
    }
  }
  const published = (packet: Packet): Published | undefined =>
    packet.cmd === 'publish' && packet.qos === 1
      ? { payload: Uint8Array.from(packet.payload as Buffer), messageId: packet.messageId ?? 0 }
      : undefined
  parseFrom(client, (packet) => {
    middle.packets++
    if (packet.cmd === 'connect') state.device = packet.clientId
    const one = published(packet)
    pass(node, packet, one && middle.up?.(one, link))
  })
  parseFrom(node, (packet) => {
    middle.packets++
    if (packet.cmd === 'puback' && middle.puback?.(link) === false) return
    const one = published(packet)
    pass(client, packet, one && middle.down?.(one, link))
  })
  for (const socket of [client, node]) {
    socket.on('error', () => undefined)
    socket.on('close', cut)
  }
}

function parseFrom(socket: Duplex, take: (packet: Packet) => void): void {
  const parser = mqtt.parser()
  parser.on('packet', take)
  parser.on('error', () => socket.destroy())
  socket.on('data', (chunk: Buffer) => void parser.parse(chunk))
}

/** Stands before `node` until it is stopped. */
export async function startMiddle(node: TestNode): Promise<Middle> {
  const links = new Set<Link>()
  const { mqttPort } = node.node.server
  const middle: Middle = {
    url: '',
    packets: 0,
    tokens: new Map(),
    answer: undefined,
    down: undefined,
    up: undefined,
    puback: undefined,
    linkOf: (device) => [...links].find((link) => link.device === device),
    behave() {
      middle.answer = undefined
      middle.down = undefined
      middle.up = undefined
      middle.puback = undefined
    },
    async stop() {
      for (const link of links) link.cut()
      agent.destroy()
      sockets.close()
      http.closeAllConnections()
      http.close()
      await once(http, 'close')
    },
  }
  const { server: http, agent } = serveHttp(middle, new URL(node.url), () => `ws://127.0.0.1:${portOf(http)}/v1/ws`)
  const sockets = new WebSocketServer({ server: http, perMessageDeflate: false })
  sockets.on('connection', (socket) => serveMqtt(middle, links, mqttPort, createWebSocketStream(socket)))
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  return Object.assign(middle, { url: `http://127.0.0.1:${portOf(http)}` })
}

const portOf = (server: { address(): AddressInfo | string | null }): number => (server.address() as AddressInfo).port
