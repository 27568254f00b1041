/**
 * A world for tests: a real server in this process on a free port, with a temporary folder, and devices that talk to
 * it over real sockets. `restart()` closes it properly and opens the same folder again; for kill -9 use `spawnServer`
 * in process.ts.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Server, type ServerOverrides, startServer } from '../../broker/server.ts'
import { readConfig } from '../../core/config.ts'
import type { Clock, Log } from '../../core/ports.ts'
import { gateAppends } from './append-gate.ts'
import { type Client, type ClientOptions, connectClient } from './client.ts'
import { type DeviceMaker, makeDevices, type TestDevice } from './devices.ts'
import { isCluster, profileEnv } from './profile.ts'
import { storeClock } from './store-clock.ts'

export type { TestDevice } from './devices.ts'

export interface World extends DeviceMaker {
  server: Server
  readonly folder: string
  /** What was logged: level, facts, text. */
  readonly logged: { level: string; facts: object; text: string }[]
  /** Errors that would have ended the process. */
  readonly fatal: Error[]
  clock: { offsetMs: number }
  connect(device: TestDevice, options?: Partial<ClientOptions>): Promise<Client>
  restart(): Promise<void>
  stop(): Promise<void>
}

export const OBSERVER_PASSWORD = 'observer-of-the-tests'

/** Starts a world; `env` are settings beside the defaults. `clock.offsetMs` moves its clock. */
export async function startWorld(
  options: { env?: Record<string, string>; folder?: string; overrides?: ServerOverrides } = {},
): Promise<World> {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'heliograph-'))
  const logged: World['logged'] = []
  const fatal: Error[] = []
  const log: Log = {
    info: (facts, text) => void logged.push({ level: 'info', facts, text }),
    warn: (facts, text) => void logged.push({ level: 'warn', facts, text }),
    error: (facts, text) => void logged.push({ level: 'error', facts, text }),
  }
  const profile = await profileEnv(folder)
  const { clock, stop: stopClock } = await storeClock(profile)
  const now: Clock = () => Date.now() + clock.offsetMs
  const config = readConfig({ DATA_DIR: folder, MQTT_PORT: '0', OBSERVER_PASSWORD, ...profile, ...options.env })
  const start = async () => {
    const server = await startServer(config, log, (error) => void fatal.push(error), now, options.overrides)
    const gate = options.overrides?.gate
    if (isCluster && gate !== undefined) gateAppends(server.opened.ports.intake, gate)
    return server
  }
  const clients: Client[] = []
  // Asked of whatever server runs: `restart` opens another one.
  const devices = makeDevices({
    create: (...made) => world.server.opened.ports.directory.create(...made),
    account: (user) => world.server.opened.ports.directory.account(user),
  })

  const world: World = {
    ...devices,
    server: await start(),
    folder,
    logged,
    fatal,
    clock,
    async connect(device, settings = {}) {
      const client = await connectClient({
        port: world.server.mqttPort,
        clientId: device.id,
        username: device.id,
        password: device.token,
        clean: false,
        keepalive: 60,
        ...settings,
      })
      clients.push(client)
      return client
    },
    async restart() {
      await world.server.drain()
      // A store of a cluster has a clock of its own, which cannot be moved: it and the server's are compared at start.
      const { offsetMs } = clock
      if (isCluster) clock.offsetMs = 0
      world.server = await start()
      clock.offsetMs = offsetMs
    },
    async stop() {
      for (const client of clients) client.destroy()
      await world.server.drain()
      stopClock()
      if (options.folder === undefined) rmSync(folder, { recursive: true, force: true })
    },
  }
  return world
}
