/** What all plain brokers have in common: any client is admitted, any topic is routed, one process to start. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { anybody, plainFleet } from '../generator/fleet.ts'
import type { Login } from '../generator/frames.ts'
import { answersConnect, freePort, launch, type ServerKind } from './server.ts'

export type PlainBroker = {
  name: string
  /** The file that must exist, and what to do when it does not. */
  file: string
  remedy: string
  version(): string
  /** How a client logs in; without user name and password when not given. */
  login?: (clientId: string) => Login
  /** Writes the configuration into the data folder and says how to start the process on that port. */
  command(dataDir: string, mqttPort: number): Promise<{ command: string; args: string[]; env?: Record<string, string> }>
}

export function plainBroker(broker: PlainBroker): ServerKind {
  const { name, file, remedy, version, login = anybody } = broker
  return {
    name,
    missing: () => (existsSync(file) ? undefined : `${name}: ${file} is missing; ${remedy}`),
    version,
    paths: ['raw'],
    async start({ dataDir, env }) {
      const mqttPort = await freePort()
      const { command, args, env: own } = await broker.command(dataDir, mqttPort)
      const launched = await launch({
        command,
        args,
        env: { ...own, ...env },
        logPath: join(dataDir, 'server.log'),
        ready: () => answersConnect(mqttPort, login('ready')),
      })
      let series = 0
      return {
        ...launched,
        mqttPort,
        httpPort: 0,
        pids: [launched.pid],
        fleet: async (path, shape) => {
          if (path !== 'raw') throw new Error(`${name} has no SendRequest path`)
          return plainFleet(shape, series++, login)
        },
      }
    },
  }
}
