/**
 * A program of ours as a process: killed, paused and started again on the same folder and ports. It ends with this process.
 * What it logs goes to a file.
 */
import { spawn } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { end, identify, isAlive, type Known, kill, killNow, pause, resume } from '../services/process.ts'

export interface Program {
  readonly name: string
  /** Of `npm start` or `npm run worker`: what node is given. */
  readonly args: readonly string[]
  /** Its `DATA_DIR` and its `log`. */
  readonly folder: string
  readonly env: Record<string, string>
  /** Whether it does its work; asked of a log that begins with this start. */
  isReady(log: string): Promise<boolean>
}

export interface NodeProcess {
  readonly name: string
  /** Resolves when it is ready. One that runs stays. */
  start(): Promise<void>
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>
  pause(): void
  resume(): void
  stop(): Promise<void>
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const START_MS_MAX = 60_000
const GRACE_MS = 10_000
const POLL_MS = 20
const LOG_CHARACTERS_MAX = 2_000

/** What must not be left behind. */
const living = new Set<Known>()
process.on('exit', () => {
  for (const known of living) killNow(known)
})

/** Not those of whoever starts the program: a setting in a shell would change what is tested. */
function environment(own: Record<string, string>): Record<string, string> {
  const { PATH = '', HOME = '', TMPDIR } = process.env
  return { PATH, HOME, ...(TMPDIR === undefined ? {} : { TMPDIR }), ...own }
}

export function nodeProcess(program: Program): NodeProcess {
  const { name, folder } = program
  const log = join(folder, 'log')
  let known: Known | undefined

  function run(): { born: Known; from: number } {
    mkdirSync(folder, { recursive: true })
    const from = existsSync(log) ? readFileSync(log).length : 0
    const file = openSync(log, 'a')
    try {
      const child = spawn(process.execPath, program.args, {
        cwd: ROOT,
        env: environment({ DATA_DIR: folder, ...program.env }),
        stdio: ['ignore', file, file],
      })
      child.on('error', () => undefined)
      child.unref()
      const born = child.pid === undefined ? undefined : identify(child.pid)
      if (born === undefined) throw new Error(`${name} could not be started`)
      return { born, from }
    } finally {
      closeSync(file)
    }
  }

  async function forget(how: (known: Known) => Promise<void>): Promise<void> {
    if (known === undefined) return
    const ended = known
    await how(ended)
    living.delete(ended)
  }

  return {
    name,
    async start() {
      if (known !== undefined && isAlive(known)) return
      const { born, from } = run()
      known = born
      living.add(born)
      const endMs = performance.now() + START_MS_MAX
      for (;;) {
        const said = readFileSync(log).subarray(from).toString()
        if (await program.isReady(said).catch(() => false)) return
        if (!isAlive(born) || performance.now() > endMs) {
          throw new Error(`${name} is not ready:\n${said.slice(-LOG_CHARACTERS_MAX)}`)
        }
        await wait(POLL_MS)
      }
    },
    kill: () => forget(kill),
    pause: () => void (known && pause(known)),
    resume: () => void (known && resume(known)),
    stop: () => forget((each) => end(each, 'SIGTERM', GRACE_MS)),
  }
}
