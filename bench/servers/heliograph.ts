/** This repository's server, started as `npm start` does it, its devices made by `npm run provision`'s program. */
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Account, thingFleet } from '../generator/fleet.ts'
import { personFleet } from '../generator/person-fleet.ts'
import { firstLine, freePort, launch, type RunningServer, type ServerKind } from './server.ts'

export const ROOT = join(import.meta.dirname, '..', '..')
export const MAIN = join('broker', 'main.ts')
const PROVISION = join('broker', 'provision.ts')
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024

export const heliograph: ServerKind = {
  name: 'heliograph',
  missing: () =>
    existsSync(join(ROOT, MAIN)) ? undefined : `heliograph: ${MAIN} is missing; run the bench in its repository`,
  version: () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
    const commit = firstLine('git', ['-C', ROOT, 'rev-parse', '--short', 'HEAD'])
    return `heliograph ${version}${/^[0-9a-f]{7,}$/.test(commit) ? ` (${commit})` : ''}, Node ${process.version}`
  },
  paths: ['raw', 'send-request'],
  async start({ dataDir, env }) {
    const mqttPort = await freePort()
    const httpPort = await freePort()
    const settings = { ...env, DATA_DIR: dataDir, MQTT_PORT: String(mqttPort), HTTP_PORT: String(httpPort) }
    const launched = await launch({
      command: process.execPath,
      args: ['--max-semi-space-size=8', MAIN],
      env: settings,
      cwd: ROOT,
      logPath: join(dataDir, 'bench-server.log'),
      ready: () => isReady(httpPort),
    })
    return { ...launched, mqttPort, httpPort, pids: [launched.pid], fleet: provisioner(dataDir, settings) }
  },
}

/** Fleets on the server with these settings, made by its own program. */
export function provisioner(dataDir: string, settings: Record<string, string>): RunningServer['fleet'] {
  const lettersUsed = { thing: 0, person: 0 }
  const provision = (kind: 'thing' | 'person', count: number): Promise<Account[]> => {
    // Ids of one fleet never meet those of another on the same server: ta0..., tb0..., pa0...
    const prefix = `${kind[0]}${String.fromCharCode(97 + lettersUsed[kind]++)}`
    return runProvision({ kind, count, prefix, out: join(dataDir, `bench-${prefix}.jsonl`), settings })
  }
  return async (path, shape) => {
    const count = shape.pairs + shape.recipients
    return path === 'raw'
      ? thingFleet(shape, await provision('thing', count))
      : personFleet(shape, await provision('person', count))
  }
}

export async function isReady(httpPort: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${httpPort}/readyz`)).status === 200
  } catch {
    return false
  }
}

type Provision = {
  kind: 'thing' | 'person'
  count: number
  prefix: string
  out: string
  settings: Record<string, string>
}

async function runProvision({ kind, count, prefix, out, settings }: Provision): Promise<Account[]> {
  const options = { '--count': count, '--prefix': prefix, '--kind': kind, '--owner': 'bench', '--out': out }
  const args = [PROVISION, ...Object.entries(options).flatMap(([flag, value]) => [flag, String(value)])]
  const { LD_PRELOAD: _slowsOnlyTheServer, ...env } = settings
  await promisify(execFile)(process.execPath, args, {
    cwd: ROOT,
    env: { ...process.env, ...env },
    maxBuffer: OUTPUT_BYTES_MAX,
  })
  const lines = readFileSync(out, 'utf8').trim().split('\n')
  return lines.map((line) => ({ number: 0, registrationId: 0, ...(JSON.parse(line) as Partial<Account>) }) as Account)
}
