/**
 * Listeners of MQTT over TCP and TLS. Certificates are read again on demand; open connections keep the one they began
 * with.
 */
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:tls'

export interface Listener {
  readonly port: number
  /** Stops accepting; open connections go on. */
  close(): void
}

export interface ReloadableListener extends Listener {
  /** Reads certificate and key again; throws and changes nothing when they do not fit together. */
  reload(): void
}

const address = (socket: Socket): string => socket.remoteAddress ?? 'unknown'

function listen(server: Server, host: string, port: number): Promise<Listener> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, backlog: 4_096 }, () => {
      server.removeListener('error', reject)
      resolve({ port: (server.address() as AddressInfo).port, close: () => void server.close() })
    })
  })
}

type Accept = (socket: Socket, address: string) => void

export function listenTcp(host: string, port: number, accept: Accept): Promise<Listener> {
  const server = createServer({ noDelay: true, keepAlive: true, highWaterMark: 64 * 1024 }, (socket) => {
    accept(socket, address(socket))
  })
  return listen(server, host, port)
}

export async function listenTls(
  host: string,
  port: number,
  files: { cert: string; key: string },
  accept: Accept,
): Promise<ReloadableListener> {
  const read = () => ({ cert: readFileSync(files.cert), key: readFileSync(files.key) })
  const server: TlsServer = createTlsServer(
    { ...read(), minVersion: 'TLSv1.2', noDelay: true, keepAlive: true, handshakeTimeout: 10_000 },
    (socket) => accept(socket, address(socket)),
  )
  server.on('tlsClientError', (_error, socket) => socket.destroy())
  const listener = await listen(server, host, port)
  return { ...listener, reload: () => server.setSecureContext(read()) }
}
