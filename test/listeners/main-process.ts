/** broker/main.ts as a process of its own: what a person starts, signals and reads. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ADMIN_TOKEN, type MadeDevice, OBSERVER_PASSWORD } from '../api/node.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** What it wrote to stdout and stderr. */
  readonly output: string
}

export interface MainProcess {
  readonly mqttPort: number
  readonly mqttsPort: number
  readonly httpPort: number
  readonly ended: Promise<Ended>
  /** The process is gone; somebody may still hold its output. */
  readonly exited: Promise<{ readonly code: number | null }>
  signal(name: NodeJS.Signals): void
  /** The reader of its output goes away, or stands still. */
  stopOutput(how: 'closed' | 'stalled'): void
  /** Resolves when the text was printed, now or later. */
  printed(pattern: RegExp): Promise<void>
  make(body: object): Promise<MadeDevice[]>
}

const running = new Set<ChildProcess>()

interface Started {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
  output(): string
}

/** Runs a file of broker/ to its end, or until it is signalled. Nothing of this process's settings gets in. */
export function startFile(file: string, args: readonly string[], env: Record<string, string>): Started {
  const { PATH = '' } = process.env
  const child = spawn(process.execPath, [join(ROOT, 'broker', file), ...args], {
    cwd: ROOT,
    env: { PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.add(child)
  let output = ''
  const take = (text: Buffer): void => {
    output += text
  }
  child.stdout.on('data', take)
  child.stderr.on('data', take)
  const ended = new Promise<Ended>((resolve) => {
    child.once('close', (code, signal) => {
      running.delete(child)
      resolve({ code, signal, output })
    })
  })
  return { child, ended, output: () => output }
}

export const settings = (folder: string): Record<string, string> => ({
  DATA_DIR: folder,
  MQTT_PORT: '0',
  HTTP_PORT: '0',
  MQTTS_HOST: '127.0.0.1',
  MQTTS_PORT: '0',
  ADMIN_TOKEN,
  OBSERVER_PASSWORD,
})

/** Starts it and waits until it says that it is ready. Rejects with its output when it ends before. */
export async function startMain(folder: string, env: Record<string, string> = {}): Promise<MainProcess> {
  const { child, ended, output } = startFile('main.ts', [], { ...settings(folder), ...env })
  const printed = (pattern: RegExp): Promise<void> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        if (!pattern.test(output())) return
        child.stdout?.off('data', check)
        resolve()
      }
      child.stdout?.on('data', check)
      void ended.then(() => reject(new Error(`it ended without ${pattern}: ${output()}`)))
      check()
    })
  await printed(/MQTT Explorer/)
  const port = (pattern: RegExp): number => Number(pattern.exec(output())?.[1] ?? 0)
  const httpPort = port(/http:\/\/127\.0\.0\.1:(\d+):/)
  return {
    mqttPort: port(/"MQTT +127\.0\.0\.1:(\d+)"/),
    mqttsPort: port(/"MQTT \+ TLS +127\.0\.0\.1:(\d+)"/),
    httpPort,
    ended,
    exited: new Promise((resolve) => child.once('exit', (code) => resolve({ code }))),
    signal: (name) => void child.kill(name),
    stopOutput(how) {
      if (how === 'stalled') child.stdout?.pause()
      else child.stdout?.destroy()
    },
    printed,
    async make(body) {
      const response = await fetch(`http://127.0.0.1:${httpPort}/v1/admin/devices`, {
        method: 'POST',
        headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
      return ((await response.json()) as { devices: MadeDevice[] }).devices
    },
  }
}

/** A folder for a suite; `clean` ends what still runs and removes it. */
export function temporaryFolder(): { folder: string; clean(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'heliograph-'))
  return {
    folder,
    clean() {
      for (const child of running) child.kill('SIGKILL')
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
