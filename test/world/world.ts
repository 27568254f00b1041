/**
 * A world for tests: a real server in this process on a free port, with a temporary folder, and devices that talk to it over
 * real sockets. `restart()` closes it properly and opens the same folder again; for kill -9 use `spawnServer` in process.ts.
 */
import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Server, startServer } from '../../broker/server.ts'
import { readConfig } from '../../core/config.ts'
import type { Clock, Kind, Log } from '../../core/ports.ts'
import { newUserId } from '../../topics/ids.ts'
import { type Client, type ClientOptions, connectClient } from './client.ts'

export interface TestDevice {
  readonly id: string
  readonly token: string
  readonly kind: Kind
  readonly user: Uint8Array
  readonly number: number
  readonly registrationId: number
}

export interface World {
  server: Server
  readonly folder: string
  /** What was logged: level, facts, text. */
  readonly logged: { level: string; facts: object; text: string }[]
  /** Errors that would have ended the process. */
  readonly fatal: Error[]
  clock: { offsetMs: number }
  /** A service account with one device. Things made with it as owner call it `home`. */
  service(id: string, handle: string): Promise<TestDevice>
  thing(id: string, owner?: TestDevice, options?: { numbered?: boolean }): Promise<TestDevice>
  person(id: string): Promise<TestDevice>
  /** Another device of the same person. */
  sibling(of: TestDevice, id: string): Promise<TestDevice>
  connect(device: TestDevice, options?: Partial<ClientOptions>): Promise<Client>
  restart(): Promise<void>
  stop(): Promise<void>
}

export const OBSERVER_PASSWORD = 'observer-of-the-tests'

/** Starts a world; `env` are settings beside the defaults, `now` a clock instead of the real one. */
export async function startWorld(options: { env?: Record<string, string>; folder?: string } = {}): Promise<World> {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'heliograph-'))
  const logged: World['logged'] = []
  const fatal: Error[] = []
  const clock = { offsetMs: 0 }
  const log: Log = {
    info: (facts, text) => void logged.push({ level: 'info', facts, text }),
    warn: (facts, text) => void logged.push({ level: 'warn', facts, text }),
    error: (facts, text) => void logged.push({ level: 'error', facts, text }),
  }
  const now: Clock = () => Date.now() + clock.offsetMs
  const config = readConfig({ DATA_DIR: folder, MQTT_PORT: '0', OBSERVER_PASSWORD, ...options.env })
  const start = () => startServer(config, log, (error) => void fatal.push(error), now)
  const clients: Client[] = []
  let defaultOwner: TestDevice | undefined

  async function make(
    kind: Kind,
    id: string,
    user: Uint8Array,
    extra: { handle?: string; owner?: Uint8Array; numbered?: boolean; number?: number; isNewUser?: boolean },
  ): Promise<TestDevice> {
    const token = randomBytes(32).toString('base64url')
    const number = extra.number ?? 1
    const registrationId = 100 + number
    await world.server.opened.ports.directory.create(
      extra.isNewUser === false ? [] : [{ user, kind, handle: extra.handle, owner: extra.owner }],
      [
        {
          id,
          user,
          number,
          registrationId,
          numbered: extra.numbered ?? false,
          tokenHash: createHash('sha256').update(token).digest(),
        },
      ],
    )
    return { id, token, kind, user, number, registrationId }
  }

  const world: World = {
    server: await start(),
    folder,
    logged,
    fatal,
    clock,
    service: (id, handle) => make('service', id, newUserId('thing', randomBytes(16)), { handle }),
    async thing(id, owner, settings) {
      defaultOwner ??= owner ?? (await world.service('homesvc', 'fleet'))
      const { user } = owner ?? defaultOwner
      return make('thing', id, newUserId('thing', randomBytes(16)), { owner: user, numbered: settings?.numbered ?? false })
    },
    person: (id) => make('person', id, newUserId('person', randomBytes(16)), {}),
    async sibling(of, id) {
      const account = await world.server.opened.ports.directory.account(of.user)
      const number = Math.max(...(account?.devices.map((device) => device.number) ?? [0])) + 1
      return make(of.kind, id, of.user, { number, isNewUser: false })
    },
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
      world.server = await start()
    },
    async stop() {
      for (const client of clients) client.destroy()
      await world.server.drain()
      if (options.folder === undefined) rmSync(folder, { recursive: true, force: true })
    },
  }
  return world
}
