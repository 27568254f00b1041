/** What the bench knows of a server, and how its process is started, waited for and ended. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { closeConnection, openConnection } from '../generator/connection.ts'
import type { Fleet, Path, Shape } from '../generator/fleet.ts'
import type { Login } from '../generator/frames.ts'
import { readProcess, withChildren } from '../process-cost.ts'

export type RunningServer = {
  mqttPort: number
  /** Of every node, the first one first, where there are several. */
  mqttPorts?: number[]
  /** Zero where the server has no HTTP side. */
  httpPort: number
  /** The server's own processes; their children are found when they are measured. */
  pids: number[]
  /** Where the engines are that it shares with others. */
  env?: Record<string, string>
  /** Processes whose CPU is told each by itself, by name. */
  parts?: Record<string, number[]>
  /** Seconds from spawn to ready. */
  startS: number
  /** Provisions what the fleet needs, on this server. */
  fleet(path: Path, shape: Shape): Promise<Fleet>
  /** Ends it in order (SIGTERM). */
  stop(): Promise<void>
  /** Ends it at once (SIGKILL). */
  kill(): Promise<void>
}

export type StartOptions = {
  /** Kept by the caller across restarts. */
  dataDir: string
  env?: Record<string, string>
}

export type ServerKind = {
  name: string
  /** One line that says what to install, or undefined when everything is there. */
  missing(): string | undefined
  version(): string
  /** Every server has the raw path. */
  paths: readonly Path[]
  start(options: StartOptions): Promise<RunningServer>
}

export type Launch = {
  command: string
  args: string[]
  env?: Record<string, string>
  cwd?: string
  logPath: string
  /** Resolves true when the server takes work. */
  ready: () => Promise<boolean>
  readyMsMax?: number
}

export type Launched = { pid: number; startS: number; stop(): Promise<void>; kill(): Promise<void> }

const POLL_MS = 5
const STOP_MS_MAX = 30_000
const running = new Set<ChildProcess>()

/** Starts a server process and waits until it is ready. Rejects with the end of its log when it ends before. */
export async function launch(options: Launch): Promise<Launched> {
  endWithBench()
  const log = openSync(options.logPath, 'a')
  const startedMs = performance.now()
  const child = spawn(options.command, options.args, {
    stdio: ['ignore', log, log],
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  })
  closeSync(log)
  running.add(child)
  const ended = new Promise<void>((resolve) => {
    const end = (): void => {
      running.delete(child)
      resolve()
    }
    child.once('exit', end)
    child.once('error', end)
  })
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const tree = treeOf(child)
    if (signal === 'SIGKILL') killTree(child)
    else child.kill(signal)
    const late = setTimeout(() => killTree(child), STOP_MS_MAX)
    await ended
    while (tree.some(isAlive)) await delay(POLL_MS)
    clearTimeout(late)
  }
  const limitMs = options.readyMsMax ?? 60_000
  while (!(await options.ready())) {
    if (!running.has(child)) throw new Error(`${options.command} ended before it was ready: ${logEnd(options.logPath)}`)
    if (performance.now() - startedMs > limitMs) {
      await end('SIGKILL')
      throw new Error(`${options.command} was not ready in ${limitMs / 1000} s: ${logEnd(options.logPath)}`)
    }
    await delay(POLL_MS)
  }
  const startS = (performance.now() - startedMs) / 1000
  return { pid: child.pid as number, startS, stop: () => end('SIGTERM'), kill: () => end('SIGKILL') }
}

let armed = false

/** Whatever ends the bench ends its servers too. */
function endWithBench(): void {
  if (armed) return
  armed = true
  process.on('exit', () => {
    for (const child of running) killTree(child)
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130))
}

function treeOf(child: ChildProcess): number[] {
  return child.pid === undefined ? [] : withChildren([child.pid])
}

/** Some servers are a shell that waits for the server proper: all of them die, children included. */
function killTree(child: ChildProcess): void {
  for (const pid of treeOf(child)) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // it ended by itself meanwhile
    }
  }
}

function isAlive(pid: number): boolean {
  const stat = readProcess(pid, 'stat')
  return stat !== '' && !/\) Z /.test(stat)
}

function logEnd(path: string): string {
  return readFileSync(path, 'utf8').trim().split('\n').slice(-8).join('\n')
}

/** Whether a client gets its CONNACK: how a plain broker is known to be ready. */
export async function answersConnect(port: number, login: Login): Promise<boolean> {
  try {
    await closeConnection(await openConnection({ port, login, clean: true, keepaliveS: 60 }))
    return true
  } catch {
    return false
  }
}

/** A TCP port of the loopback interface that nobody listens on now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}

export function temporaryFolder(name: string): string {
  return mkdtempSync(join(tmpdir(), `heliograph-bench-${name}-`))
}

export function removeFolder(path: string): void {
  rmSync(path, { recursive: true, force: true })
}

/** First output line of a command; empty when it cannot be run. */
export function firstLine(command: string, args: string[]): string {
  const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  return `${stdout ?? ''}${stderr ?? ''}`.trim().split('\n')[0] ?? ''
}

/** Version of an installed Debian package; empty when it is not installed. */
export function debianVersion(name: string): string {
  const { status, stdout } = spawnSync('dpkg-query', ['-W', name], { encoding: 'utf8' })
  return status === 0 ? (stdout.trim().split('\t')[1] ?? '') : ''
}
