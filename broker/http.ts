/** HTTP assembled: the API over the server's ports, and the listener that /v1/ws shares with it. */

import type { Missing } from '../api/health.ts'
import { createApi } from '../api/index.ts'
import { createRegistry, type LoopDelay } from '../api/metrics.ts'
import type { Config } from '../core/config.ts'
import { urlOf } from './admin-client.ts'
import { expectProxyHeaders } from './listeners.ts'
import type { Server } from './server.ts'
import { serveWebSocket } from './websocket.ts'

export interface Http {
  readonly port: number
  /** Stops accepting and ends what is open. */
  close(): Promise<void>
}

/** Where clients open MQTT over WebSocket, when HTTP listens on `httpPort`. */
function socketUrlOf(config: Config, httpPort: number): string {
  const url = new URL('/v1/ws', config.publicUrl === '' ? urlOf({ ...config, httpPort }) : config.publicUrl)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  return url.href
}

/** Listens on HTTP_HOST and HTTP_PORT. Rejects with the socket's error when the port is taken. */
export async function startHttp(
  server: Server,
  version: string,
  loopDelay: () => LoopDelay,
  missing: () => readonly Missing[],
): Promise<Http> {
  const { config, opened, metrics, secrets } = server
  const registry = createRegistry({
    metrics,
    version,
    storeFacts: () => opened.storeFacts(),
    refusal: () => opened.ports.intake.refusal(),
    breakers: () => opened.breakers?.() ?? {},
    deadJobs: () => opened.jobs.dead(),
    backlogs: () => opened.backlogs?.() ?? [],
    loopDelay,
  })
  let port = config.httpPort
  const app = await createApi({
    ports: opened.ports,
    adminToken: secrets.adminToken,
    phoneKey: secrets.phoneKey,
    deadLetters: opened.storage?.deadLetters,
    bounds: config,
    ws: () => socketUrlOf(config, port),
    version,
    registry,
    missing,
  })
  serveWebSocket(app.server, server)
  if (config.httpProxyProtocol) expectProxyHeaders(app.server, server.door)
  await app.listen({ host: config.httpHost, port: config.httpPort })
  const address = app.server.address()
  if (typeof address === 'object' && address !== null) port = address.port
  return {
    port,
    async close() {
      const closed = app.close()
      app.server.closeAllConnections()
      await closed
    },
  }
}
