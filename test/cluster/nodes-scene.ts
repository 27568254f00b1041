/** Nodes of one deployment as processes of their own: broker/main.ts with HTTP, on the services of `npm run test:cluster`. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { MadeDevice } from '../api/node.ts'
import { type MainProcess, startMain, temporaryFolder } from '../listeners/main-process.ts'
import { type ClientOptions, connectClient } from '../world/client.ts'
import { makeDeployment } from '../world/profile.ts'

export interface Deployment {
  readonly folder: string
  readonly env: Readonly<Record<string, string>>
  /** Starts a node; a folder goes by its name. */
  start(name: string, more?: Record<string, string>): Promise<MainProcess>
  /** Provisions by a node that is there for that alone: the others may be reached through a balancer only. */
  make(body: object): Promise<MadeDevice[]>
  /** Device → name of the node that has its claim, when all of these have one. */
  claims(devices: readonly MadeDevice[]): Promise<Map<string, string>>
  /** Resolves when no device is claimed any more. */
  unclaimed(): Promise<void>
  /** Ends all nodes. */
  stop(): Promise<void>
}

export async function openDeployment(more: Record<string, string> = {}): Promise<Deployment> {
  const { folder, clean } = temporaryFolder()
  const env = { ...(await makeDeployment()), ...more }
  const { REDIS_URL = '', REDIS_PREFIX = '' } = env as Record<string, string>
  const redis = new Redis(REDIS_URL)
  const started: MainProcess[] = []
  const start = async (name: string, settings: Record<string, string> = {}): Promise<MainProcess> => {
    const path = join(folder, name)
    mkdirSync(path, { recursive: true })
    const main = await startMain(path, { ...env, NODE_NAME: name, DISK_RESERVE_MIB: '1', ...settings })
    started.push(main)
    return main
  }
  return {
    folder,
    env,
    start,
    async make(body) {
      const maker = await start('maker', { HTTP_PROXY_PROTOCOL: 'no' })
      const devices = await maker.make(body)
      maker.signal('SIGTERM')
      await maker.exited
      return devices
    },
    async claims(devices) {
      for (let tries = 1; ; tries++) {
        const all = await redis.hgetall(`${REDIS_PREFIX}{claims}:devices`)
        // `<name>-<boot>:<epoch>`
        const names = Object.entries(all).map(([device, claim]) => [device, claim.slice(0, claim.lastIndexOf('-'))])
        const found = new Map(names as [string, string][])
        if (devices.every(({ device }) => found.has(device))) return found
        if (tries === 100) throw new Error(`claims of ${devices.length} devices, but ${JSON.stringify(all)}`)
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    },
    async unclaimed() {
      for (let tries = 1; (await redis.hlen(`${REDIS_PREFIX}{claims}:devices`)) > 0; tries++) {
        if (tries === 200) throw new Error('claims were not given back')
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    },
    async stop() {
      redis.disconnect()
      for (const main of started) {
        // A stopped one hears of it, too.
        main.signal('SIGKILL')
        await main.exited
      }
      clean()
    },
  }
}

export const loginOf = ({ device, token }: MadeDevice, port: number): ClientOptions => ({
  port,
  clientId: device,
  username: device,
  password: token,
  clean: false,
  keepalive: 60,
})

/** Connects, again and again while it is refused or cut off, as a client does; gives the connection. */
export async function connectAgain(device: MadeDevice, port: number, more: Partial<ClientOptions> = {}) {
  for (let tries = 1; ; tries++) {
    const client = await connectClient({ ...loginOf(device, port), ...more }).catch(() => undefined)
    if (client?.connack?.returnCode === 0) return client
    client?.destroy()
    if (tries === 50) throw new Error(`${device.device} was not let in`)
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}
