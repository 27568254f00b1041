/**
 * Listeners of MQTT over TCP and TLS. A socket takes its place among the handshakes when it is accepted, before a byte
 * of it is read and before TLS costs anything; behind a load balancer it says first whose it is. Certificates are read
 * again on demand; open connections keep the one they began with.
 */
import { readFileSync } from 'node:fs'
import type { Server as HttpServer } from 'node:http'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:tls'
import type { Ticket } from '../plugins/admission.ts'
import type { DisconnectReason } from '../topics/disconnects.ts'
import { readProxyHeader } from './proxy-header.ts'

export interface Listener {
  readonly port: number
  /** Stops accepting; open connections go on. */
  close(): void
}

export interface ReloadableListener extends Listener {
  /** Reads certificate and key again; throws and changes nothing when they do not fit together. */
  reload(): void
}

/** Where sockets go. Whoever is refused is counted and ended by it. */
export interface Door {
  /** For a PROXY header to come. */
  readonly headerMs: number
  /** A place for one more handshake; undefined: refused. */
  begin(socket: Socket): Ticket | undefined
  /** Its address is known; false: refused. */
  enter(socket: Socket, ticket: Ticket, address: string, isPlain: boolean): boolean
  /** It ended, for this reason, before it was MQTT. */
  end(socket: Socket, ticket: Ticket, reason: DisconnectReason): void
  /** MQTT begins. */
  accept(socket: Socket, ticket: Ticket): void
}

export interface ListenerSettings {
  readonly host: string
  readonly port: number
  /** Every connection begins with a PROXY header. */
  readonly isProxied: boolean
}

const addressOf = (socket: Socket): string => socket.remoteAddress ?? 'unknown'

const BACKLOG = 4_096
/**
 * Node takes one connection of a listening socket in each turn of its loop (libuv 1.52, measured), which under load is
 * some hundred a second: those who wait behind give up, and the server takes sockets that nobody is at any more. So
 * there are several sockets on the port, each with a queue of its own.
 */
const SOCKETS = 8
/** Linux and the BSDs share a port among sockets; elsewhere there is one. */
const canShare = process.platform === 'linux' || process.platform === 'freebsd'

/** Listens on one socket; gives its port. */
function listenOn(server: Server, host: string, port: number, reusePort: boolean): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, backlog: BACKLOG, reusePort }, () => {
      server.removeListener('error', reject)
      resolve((server.address() as AddressInfo).port)
    })
  })
}

const closed = (server: Server): Promise<void> => new Promise((resolve) => void server.close(() => resolve()))

/** All or none of them. The port is taken by itself first: another process that has it would share it, unnoticed. */
async function listen(servers: readonly Server[], { host, port }: ListenerSettings): Promise<Listener> {
  const [first, ...others] = servers as [Server, ...Server[]]
  const close = (): void => {
    for (const server of servers) server.close()
  }
  const taken = await listenOn(first, host, port, false)
  if (others.length === 0) return { port: taken, close }
  await closed(first)
  try {
    for (const server of servers) await listenOn(server, host, taken, true)
  } catch (error) {
    close()
    throw error
  }
  return { port: taken, close }
}

function socketsOf(accept: (socket: Socket) => void, count: number): Server[] {
  const options = { noDelay: true, keepAlive: true, highWaterMark: 64 * 1024 }
  return Array.from({ length: count }, () => createServer(options, accept))
}

/** Finds out whose the socket is, and calls `next` when it may stay. */
function arrive(
  door: Door,
  socket: Socket,
  isProxied: boolean,
  isPlain: boolean,
  next: (ticket: Ticket) => void,
): void {
  socket.on('error', () => socket.destroy())
  const ticket = door.begin(socket)
  if (ticket === undefined) return
  const enter = (address: string): void => {
    if (door.enter(socket, ticket, address, isPlain)) next(ticket)
  }
  if (!isProxied) return enter(addressOf(socket))
  readProxyHeader(socket, door.headerMs, (found) => {
    if (typeof found === 'string') door.end(socket, ticket, found)
    else enter(found.address ?? addressOf(socket))
  })
}

export function listenTcp(settings: ListenerSettings, door: Door): Promise<Listener> {
  const accept = (socket: Socket): void =>
    arrive(door, socket, settings.isProxied, true, (ticket) => {
      door.accept(socket, ticket)
      socket.resume()
    })
  return listen(socketsOf(accept, canShare ? SOCKETS : 1), settings)
}

/** `first` hears of each socket. The server's own listeners begin with it when it is handed to the result. */
function onConnection(server: Server, first: (socket: Socket) => void): (socket: Socket) => void {
  const own = server.listeners('connection')
  server.removeAllListeners('connection')
  server.on('connection', first)
  return (socket) => {
    for (const begin of own) begin.call(server, socket)
  }
}

/** Every connection of `server` begins with a PROXY header, and is from where that says for all that ask the socket. */
export function expectProxyHeaders(server: HttpServer, door: Door & { leave(ticket: Ticket): void }): void {
  const beginHttp = onConnection(server, (socket) => {
    socket.on('error', () => socket.destroy())
    const ticket = door.begin(socket)
    if (ticket === undefined) return
    readProxyHeader(socket, door.headerMs, (found) => {
      if (typeof found === 'string') return door.end(socket, ticket, found)
      door.leave(ticket)
      if (found.address !== undefined) Object.defineProperty(socket, 'remoteAddress', { value: found.address })
      beginHttp(socket)
      socket.resume()
    })
  })
}

/** Who is at the other end of the wire; unique among the open sockets of a listener. */
const peerOf = (socket: Socket): string => `${socket.remoteAddress} ${socket.remotePort}`

export async function listenTls(
  settings: ListenerSettings,
  files: { cert: string; key: string },
  door: Door,
): Promise<ReloadableListener> {
  const read = () => ({ cert: readFileSync(files.cert), key: readFileSync(files.key) })
  /** Of sockets in the middle of their TLS handshake. */
  const tickets = new Map<string, Ticket>()
  const server: TlsServer = createTlsServer(
    { ...read(), minVersion: 'TLSv1.2', noDelay: true, keepAlive: true, handshakeTimeout: 10_000 },
    (socket) => {
      const ticket = tickets.get(peerOf(socket))
      tickets.delete(peerOf(socket))
      if (ticket === undefined) socket.destroy()
      else door.accept(socket, ticket)
    },
  )
  server.on('tlsClientError', (_error, socket) => socket.destroy())
  const accept = (socket: Socket): void => {
    const peer = peerOf(socket)
    arrive(door, socket, settings.isProxied, false, (ticket) => {
      tickets.set(peer, ticket)
      socket.once('close', () => {
        if (tickets.delete(peer)) door.end(socket, ticket, 'client_closed')
      })
      beginTls(socket)
    })
  }
  const beginTls = onConnection(server, accept)
  const listener = await listen([server, ...socketsOf(accept, canShare ? SOCKETS - 1 : 0)], settings)
  return { ...listener, reload: () => server.setSecureContext(read()) }
}
