/**
 * A broker in the test's own process, just large enough for the generator: it acknowledges every PUBLISH and hands it
 * to the session that subscribed to its topic, except for what a test tells it to do wrong. Sessions outlive
 * connections.
 */
import { createServer, type Socket } from 'node:net'
import { publishTemplate } from '../../bench/generator/frames.ts'

export type Message = { topic: string; payload: Buffer }

export type Session = { filter: string; waiting: Map<number, Message>; nextId: number; socket: Socket | undefined }

export type ResponderOptions = {
  sessions?: Map<string, Session>
  /** What a published message becomes: the messages that are handed on now, in this order. */
  route: (message: Message, from: string) => Message[]
  /** Milliseconds until a PUBLISH gets its PUBACK; Infinity: never. */
  pubackAfterMs?: number
}

export type Responder = {
  port: number
  sessions: Map<string, Session>
  /** PUBLISH frames as they came, DUP included. */
  published: { from: string; head: number; message: Message }[]
  /** Resolves when the next frame of any client has been handled. */
  nextFrame(): Promise<void>
  /** Closes every connection at once, as the death of the process would. */
  kill(): Promise<void>
}

export async function startResponder(options: ResponderOptions): Promise<Responder> {
  const state: State = { options, sessions: options.sessions ?? new Map(), published: [], dead: false, waiters: [] }
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    let clientId = ''
    let rest = Buffer.alloc(0)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
    socket.on('data', (chunk) => {
      rest = Buffer.concat([rest, chunk])
      for (let frame = firstFrame(rest); frame !== undefined && !state.dead; frame = firstFrame(rest)) {
        rest = rest.subarray(frame.bytes)
        if (frame.type === 1) clientId = frame.body.subarray(12, 12 + frame.body.readUInt16BE(10)).toString()
        onFrame(state, socket, clientId, frame)
        for (const wake of state.waiters.splice(0)) wake()
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const { sessions, published } = state
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    sessions,
    published,
    nextFrame: () => new Promise((resolve) => state.waiters.push(resolve)),
    kill: () =>
      new Promise((resolve) => {
        state.dead = true
        for (const session of sessions.values()) session.socket = undefined
        for (const socket of sockets) socket.destroy()
        server.close(() => resolve())
      }),
  }
}

type State = {
  options: ResponderOptions
  sessions: Map<string, Session>
  published: Responder['published']
  dead: boolean
  waiters: (() => void)[]
}

function onFrame(state: State, socket: Socket, clientId: string, { type, head, body }: Frame): void {
  const { sessions, options } = state
  if (type === 1) {
    const known = sessions.get(clientId)
    socket.write(Buffer.from([0x20, 2, known === undefined ? 0 : 1, 0]))
    const session = known ?? { filter: '', waiting: new Map(), nextId: 0, socket }
    session.socket = socket
    sessions.set(clientId, session)
    for (const [id, message] of session.waiting) socket.write(publishFrame(message, id))
  } else if (type === 8) {
    const session = sessions.get(clientId)
    if (session !== undefined) session.filter = body.subarray(4, 4 + body.readUInt16BE(2)).toString()
    socket.write(Buffer.from([0x90, 3, body[0] ?? 0, body[1] ?? 0, 1]))
  } else if (type === 4) {
    sessions.get(clientId)?.waiting.delete(body.readUInt16BE(0))
  } else if (type === 3) {
    const topicEnd = 2 + body.readUInt16BE(0)
    const message = { topic: body.subarray(2, topicEnd).toString(), payload: body.subarray(topicEnd + 2) }
    state.published.push({ from: clientId, head, message })
    const puback = Buffer.concat([Buffer.from([0x40, 2]), body.subarray(topicEnd, topicEnd + 2)])
    later(options.pubackAfterMs, () => socket.write(puback))
    for (const routed of options.route(message, clientId)) deliver(sessions, routed)
  }
}

function later(ms: number | undefined, act: () => void): void {
  if (ms === undefined) act()
  else if (ms !== Number.POSITIVE_INFINITY) setTimeout(act, ms)
}

function deliver(sessions: Map<string, Session>, message: Message): void {
  for (const session of sessions.values()) {
    if (session.filter !== message.topic) continue
    session.nextId = (session.nextId % 60_000) + 1
    session.waiting.set(session.nextId, message)
    session.socket?.write(publishFrame(message, session.nextId))
  }
}

function publishFrame(message: Message, id: number): Buffer {
  const { frame, packetIdAt } = publishTemplate(message.topic, message.payload)
  frame.writeUInt16BE(id, packetIdAt)
  return frame
}

type Frame = { type: number; head: number; body: Buffer; bytes: number }

function firstFrame(bytes: Buffer): Frame | undefined {
  let at = 1
  let length = 0
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++]
    if (byte === undefined) return undefined
    length |= (byte & 127) << shift
    if (byte < 128) break
  }
  if (bytes.length < at + length) return undefined
  const head = bytes[0] as number
  return { type: head >>> 4, head, body: bytes.subarray(at, at + length), bytes: at + length }
}
