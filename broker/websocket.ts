/**
 * MQTT over WebSocket at /v1/ws of the HTTP listener: the same broker behind another framing (MQTT 3.1.1, section 6).
 * A connection becomes a Duplex that the guard treats like a socket. Bounded both ways: a message is at most one MQTT
 * frame of the largest size, reading stops while the guard pauses, and one message is in the socket while the rest
 * waits in the Duplex, whose `writableLength` the guard watches.
 */
import { type Server as HttpServer, type IncomingMessage, STATUS_CODES } from 'node:http'
import { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { countBy } from '../core/metrics.ts'
import type { DisconnectReason } from '../topics/disconnects.ts'
import { limits } from '../topics/limits.ts'
import type { Server } from './server.ts'

export const WEBSOCKET_PATH = '/v1/ws'
const SUBPROTOCOL = 'mqtt'
const CLOSE_NORMAL = 1000
const CLOSE_UNSUPPORTED = 1003
/** From our close frame to the end of the socket, whatever the other side does. */
const CLOSE_TIMEOUT_MS = 1_000

interface Refusal {
  readonly status: number
  readonly detail: string
}

/** Why this upgrade is refused, or undefined. A browser always says its Origin; other clients seldom do. */
function refusalOf(request: IncomingMessage, origins: ReadonlySet<string>): Refusal | undefined {
  if (request.url?.split('?')[0] !== WEBSOCKET_PATH)
    return { status: 404, detail: `WebSocket is at ${WEBSOCKET_PATH}.` }
  const { origin } = request.headers
  if (origin !== undefined && !origins.has(origin.toLowerCase())) {
    return { status: 403, detail: `The origin ${origin} is not in HTTP_ORIGINS.` }
  }
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim())
  return offered.includes(SUBPROTOCOL) ? undefined : { status: 400, detail: 'The subprotocol has to be mqtt.' }
}

function refuse(socket: Duplex, { status, detail }: Refusal): void {
  const title = STATUS_CODES[status] ?? ''
  const body = JSON.stringify({ type: 'about:blank', title, status, detail })
  const head = [
    `HTTP/1.1 ${status} ${title}`,
    'Connection: close',
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
  ]
  socket.once('finish', () => socket.destroy())
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}

/** Our close frame, and the end of the socket soon after. */
function closeSoon(socket: WebSocket, code: number): void {
  socket.close(code)
  setTimeout(() => socket.terminate(), CLOSE_TIMEOUT_MS).unref()
}

/** The connection as a byte stream. Everything written before the socket takes more leaves as one message. */
function streamOf(socket: WebSocket): Duplex {
  const send = (bytes: Uint8Array, done: (error?: Error | null) => void): void => {
    if (socket.readyState === socket.OPEN) socket.send(bytes, { binary: true }, done)
    else done(new Error('the WebSocket is closed'))
  }
  const stream: Duplex = new Duplex({
    readableHighWaterMark: 64 * 1024,
    read: () => socket.resume(),
    write: (chunk: Buffer, _encoding, done) => send(chunk, done),
    writev: (chunks, done) => send(Buffer.concat(chunks.map(({ chunk }) => chunk as Buffer)), done),
    final(done) {
      closeSoon(socket, CLOSE_NORMAL)
      done()
    },
    destroy(error, done) {
      closeSoon(socket, CLOSE_NORMAL)
      done(error)
    },
  })
  return stream
}

/** Why `ws` gave a connection up. It has sent the close frame (1009 for a message that is too big). */
function reasonOf(error: Error): DisconnectReason {
  const { code = '' } = error as NodeJS.ErrnoException
  if (code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') return 'frame_too_large'
  return code.startsWith('WS_ERR_') ? 'websocket_protocol' : 'socket_error'
}

function take(server: Server, socket: WebSocket, address: string): void {
  const stream = streamOf(socket)
  const end = server.door.take(stream, address)
  socket.on('message', (data: Buffer, isBinary) => {
    if (stream.destroyed) return
    if (!isBinary) {
      socket.close(CLOSE_UNSUPPORTED, 'MQTT is binary')
      end('websocket_protocol')
    } else if (!stream.push(data)) socket.pause()
  })
  socket.on('error', (error) => end(reasonOf(error)))
  socket.on('close', () => stream.destroy())
}

/** Serves /v1/ws on `http`. Connections go to `server` and end with it. */
export function serveWebSocket(http: HttpServer, server: Server): void {
  const origins = new Set(server.config.httpOrigins.split(',').map((origin) => origin.trim().toLowerCase()))
  origins.delete('')
  const upgrades = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: limits.frameBytesMax,
    handleProtocols: () => SUBPROTOCOL,
  })
  http.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy())
    const refusal = refusalOf(request, origins)
    if (refusal !== undefined) {
      countBy(server.metrics.rejected, 'websocket_protocol')
      return refuse(socket, refusal)
    }
    const address = request.socket.remoteAddress ?? 'unknown'
    upgrades.handleUpgrade(request, socket, head, (accepted) => take(server, accepted, address))
  })
}
