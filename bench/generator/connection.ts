/**
 * A client connection on a bare socket: opening, closing, and reading frames straight from the chunks. The whole
 * process shares one read buffer; what a connection has to say leaves through turn.ts.
 */
import { connect, type Socket } from 'node:net'
import { connectFrame, DISCONNECT, type Login, subscribeFrame } from './frames.ts'
import { countAccepted, findBytes, readU16 } from './message.ts'
import { noteProgress, onMessage, onPuback, type Traffic } from './traffic.ts'
import { type Connection, markDirty, NOTHING, sendReady, writeAcks } from './turn.ts'

const READ_BYTES = 256 * 1024
const FRAME_BYTES_MAX = 256 * 1024
const SETUP_MS_MAX = 60_000

const readBuffer = Buffer.allocUnsafeSlow(READ_BYTES)
const joinBuffer = Buffer.allocUnsafeSlow(READ_BYTES + FRAME_BYTES_MAX)

export type OpenOptions = {
  port: number
  login: Login
  clean: boolean
  keepaliveS: number
  /** Subscribed with QoS 1 before the connection counts as open. */
  filter?: string | undefined
  recipient?: number
  pair?: number
  traffic?: Traffic
  senders?: readonly (Connection | undefined)[]
}

/** Connects, waits for CONNACK, subscribes, waits for SUBACK. Rejects with a sentence when any of it is refused. */
export function openConnection(options: OpenOptions): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: '127.0.0.1',
      port: options.port,
      noDelay: true,
      onread: {
        buffer: readBuffer,
        callback: (bytes) => {
          onChunk(connection, bytes)
          return true
        },
      },
    })
    const connection = newConnection(socket, options)
    const fail = (reason: string): void => {
      clearTimeout(timer)
      connection.open = false
      const closed = connection.closed
      connection.closed = undefined
      socket.destroy()
      reject(new Error(`${options.login.clientId}: ${reason}`))
      closed?.(reason)
    }
    const timer = setTimeout(() => fail(`no answer to CONNECT or SUBSCRIBE in ${SETUP_MS_MAX / 1000} s`), SETUP_MS_MAX)
    const done = (): void => {
      clearTimeout(timer)
      connection.control = undefined
      resolve(connection)
    }
    connection.control = (type, code, flags) => {
      if (type === 2) {
        if (code !== 0) return fail(`the server refused the login with CONNACK ${code}`)
        connection.sessionPresent = (flags & 1) !== 0
        connection.open = true
        if (options.filter === undefined) return done()
        socket.write(subscribeFrame(options.filter))
      } else if (type === 9) {
        if (code > 2) return fail(`the server refused the subscription to ${options.filter}`)
        done()
      }
    }
    socket.on('connect', () => socket.write(connectFrame(options.login, options.clean, options.keepaliveS)))
    socket.on('error', (error) => fail(error.message))
    socket.on('close', () => fail('the server closed the connection'))
  })
}

function newConnection(socket: Socket, options: OpenOptions): Connection {
  return {
    socket,
    recipient: options.recipient ?? -1,
    pair: options.pair ?? -1,
    traffic: options.traffic,
    senders: options.senders ?? [],
    sessionPresent: false,
    open: false,
    rest: NOTHING,
    restBytes: 0,
    acks: NOTHING,
    ackBytes: 0,
    batch: undefined,
    dirty: false,
    control: undefined,
    closed: undefined,
  }
}

/** Sends the PUBACKs of this turn, says DISCONNECT, and resolves when the socket is closed. */
export function closeConnection(connection: Connection): Promise<void> {
  if (connection.open) writeAcks(connection)
  connection.open = false
  connection.closed = undefined
  const { socket } = connection
  if (socket.closed) return Promise.resolve()
  return new Promise((resolve) => {
    const timer = setTimeout(() => socket.destroy(), 1000)
    socket.once('close', () => {
      clearTimeout(timer)
      resolve()
    })
    socket.end(DISCONNECT)
  })
}

function onChunk(connection: Connection, bytes: number): void {
  let buffer = readBuffer
  let length = bytes
  if (connection.restBytes > 0) {
    connection.rest.copy(joinBuffer, 0, 0, connection.restBytes)
    readBuffer.copy(joinBuffer, connection.restBytes, 0, bytes)
    buffer = joinBuffer
    length += connection.restBytes
  }
  const nowMs = performance.now()
  const at = onFrames(connection, buffer, length, nowMs)
  connection.restBytes = length - at
  if (at < length) {
    if (connection.rest.length < length - at) connection.rest = Buffer.allocUnsafe(2 * (length - at))
    buffer.copy(connection.rest, 0, at, length)
  }
  if (connection.ackBytes > 0) markDirty(connection)
  const { traffic } = connection
  if (traffic === undefined) return
  if (traffic.readyCount > 0) sendReady(traffic, connection.senders)
  noteProgress(traffic)
}

/** Handles every whole frame in the buffer; returns where the first incomplete one begins. */
function onFrames(connection: Connection, buffer: Buffer, length: number, nowMs: number): number {
  let at = 0
  while (length - at >= 2) {
    let bodyAt = at + 1
    let byte = buffer[bodyAt++] as number
    let remaining = byte & 127
    let shift = 7
    while (byte > 127 && bodyAt < length && shift < 28) {
      byte = buffer[bodyAt++] as number
      remaining |= (byte & 127) << shift
      shift += 7
    }
    const end = bodyAt + remaining
    if (byte > 127 || end > length) {
      if (remaining > FRAME_BYTES_MAX) connection.socket.destroy(new Error(`a frame of ${remaining} bytes`))
      break
    }
    const head = buffer[at] as number
    const type = head >>> 4
    if (type === 4 && connection.traffic !== undefined && connection.pair >= 0) {
      onPuback(connection.traffic, connection.pair, readU16(buffer, bodyAt), nowMs)
    } else if (type === 3) {
      onPublish(connection, buffer, head, bodyAt, end, nowMs)
    } else if (connection.control !== undefined) {
      connection.control(type, buffer[end - 1] as number, buffer[bodyAt] as number)
    }
    at = end
  }
  return at
}

function onPublish(link: Connection, buffer: Buffer, head: number, bodyAt: number, end: number, nowMs: number): void {
  let at = bodyAt + 2 + readU16(buffer, bodyAt)
  const { traffic } = link
  if ((head & 6) === 0) {
    if (traffic !== undefined) traffic.asides++
    return
  }
  if (link.acks.length < link.ackBytes + 4) {
    const acks = Buffer.allocUnsafeSlow(Math.max(256, 2 * link.acks.length))
    link.acks.copy(acks, 0, 0, link.ackBytes)
    link.acks = acks
  }
  const { acks, ackBytes } = link
  acks[ackBytes] = 0x40
  acks[ackBytes + 1] = 2
  acks[ackBytes + 2] = buffer[at] as number
  acks[ackBytes + 3] = buffer[at + 1] as number
  link.ackBytes = ackBytes + 4
  at += 2
  if (traffic === undefined) return
  if (traffic.protobuf && link.pair >= 0 && findBytes(buffer, at, end, 14)) {
    traffic.receiptFrames++
    traffic.marks += countAccepted(buffer, at, end)
    traffic.watch?.receipts(link.pair, buffer, at, end)
  } else {
    onMessage(traffic, link.recipient, buffer, at, end, nowMs)
  }
}
