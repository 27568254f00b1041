/** Where the demo runs: on a server that is there already, or on one of its own that it may kill. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { readConfig } from '../core/config.ts'
import { type AdminClient, createAdminClient, tokenOf, urlOf } from './admin-client.ts'
import { openTap, type Tap } from './demo-tap.ts'

export interface DemoServer {
  readonly admin: AdminClient
  /** For MQTT.js: mqtt:// or ws://. */
  readonly mqttUrl: string
  /** Where it is, for people. */
  readonly about: string
}

export interface OwnServer extends DemoServer {
  /** For people: http://, through the tap. */
  readonly url: string
  /** What passes between people and server. */
  readonly tap: Tap
  /** Everything that it keeps, and its log. */
  readonly folder: string
  readonly pid: () => number
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>
  /** Starts it again on the same folder and ports; resolves with the seconds to ready. */
  restart(): Promise<number>
  /** SIGTERM, and its folder is removed. Rejects when it did not end in order. */
  stop(): Promise<void>
}

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url))
const LOG_FILE = 'demo.log'
const READY_MS_MAX = 10_000
const LOOK_EVERY_MS = 10
const LOOK_MS_MAX = 1_000

async function isReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(new URL('/readyz', url), { signal: AbortSignal.timeout(LOOK_MS_MAX) })
    return response.ok && ((await response.json()) as { status?: string }).status === 'ready'
  } catch {
    return false
  }
}

/** The admin API answers "no such device" to its own token, and nothing of the kind to another. */
async function takesToken(url: string, token: string): Promise<boolean> {
  const headers = { authorization: `Bearer ${token}` }
  const response = await fetch(new URL('/v1/admin/devices/0', url), { headers })
  return response.status !== 401
}

/**
 * A server that runs: the one at HELIOGRAPH_URL, over WebSocket, else the one that the settings name, when its token
 * can be read. Undefined when there is none. Rejects when HELIOGRAPH_URL names one that is not there or not ours.
 */
export async function findServer(env: Readonly<Record<string, string | undefined>>): Promise<DemoServer | undefined> {
  const config = readConfig(env)
  const { HELIOGRAPH_URL: named } = env
  const url = named ?? urlOf(config)
  const isThere = await isReady(url)
  if (named !== undefined && !isThere) throw new Error(`No server is ready at HELIOGRAPH_URL, ${named}.`)
  if (!isThere) return undefined
  let token: string
  try {
    token = tokenOf(config)
    if (!(await takesToken(url, token)))
      throw new Error(`The server at ${url} has another admin token; set ADMIN_TOKEN.`)
  } catch (error) {
    if (named !== undefined) throw error
    return undefined
  }
  const admin = createAdminClient(url, token)
  if (named === undefined) {
    const mqttUrl = `mqtt://${new URL(url).hostname}:${config.mqttPort}`
    return { admin, mqttUrl, about: `the one that runs\nat ${mqttUrl}.` }
  }
  const mqttUrl = new URL('/v1/ws', url.replace(/^http/, 'ws')).href
  return { admin, mqttUrl, about: `the one at\n${mqttUrl}.` }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Starts a server in a temporary folder, on free ports. It ends with this process, whatever happens. */
export async function startOwnServer(): Promise<OwnServer> {
  const folder = mkdtempSync(join(tmpdir(), 'heliograph-demo-'))
  const [mqttPort, httpPort] = [await freePort(), await freePort()]
  const url = `http://127.0.0.1:${httpPort}`
  const tap = await openTap(() => httpPort)
  const tapUrl = `http://127.0.0.1:${tap.port}`
  // Settings of the person who runs the demo are for their server, not for this one.
  const { PATH = '' } = process.env
  const ports = { MQTT_PORT: String(mqttPort), HTTP_PORT: String(httpPort), PUBLIC_URL: tapUrl }
  const env = { PATH, DATA_DIR: folder, LOG_LEVEL: 'info', ...ports }
  let child: ChildProcess | undefined
  let ended = Promise.resolve<unknown>(undefined)

  async function start(): Promise<number> {
    const from = performance.now()
    const log = openSync(join(folder, LOG_FILE), 'a')
    const started = spawn(process.execPath, ['--max-semi-space-size=8', MAIN], {
      env,
      stdio: ['ignore', log, 'inherit'],
    })
    closeSync(log)
    child = started
    ended = once(started, 'exit')
    while (!(await isReady(url))) {
      if (started.exitCode !== null) throw new Error('The demo’s own server did not start.')
      if (performance.now() - from > READY_MS_MAX) throw new Error('The demo’s own server was not ready in time.')
      await delay(LOOK_EVERY_MS)
    }
    return (performance.now() - from) / 1_000
  }

  process.once('exit', () => {
    child?.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  })
  await start()
  const admin = createAdminClient(url, tokenOf(readConfig(env)))
  return {
    admin,
    url: tapUrl,
    tap,
    folder,
    mqttUrl: `mqtt://127.0.0.1:${mqttPort}`,
    about: `one of its own,\nat 127.0.0.1:${mqttPort}, in a temporary folder.`,
    pid: () => child?.pid ?? 0,
    async kill() {
      child?.kill('SIGKILL')
      await ended
    },
    restart: start,
    async stop() {
      tap.close()
      child?.kill('SIGTERM')
      await ended
      if (child?.exitCode !== 0) throw new Error(`The server ended with ${child?.exitCode} instead of 0.`)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
