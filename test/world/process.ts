/** A server in a process of its own that can be killed hard, with the devices that were made on it. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Account, DeadLetter } from '../../core/ports.ts'
import { type DeviceMaker, makeDevices } from './devices.ts'
import type { Answer, Calls, Order } from './entry.ts'
import { profileEnv } from './profile.ts'

export interface ServerProcess {
  readonly port: number
  /** Devices outlive the process: they are in its folder. */
  readonly devices: DeviceMaker
  /** The writer thread gets nothing to do, as if its disk did not answer. */
  stopStore(): Promise<void>
  resumeStore(): Promise<void>
  slowLookup(device: string, ms: number): Promise<void>
  /** Inbox rows in the tail that are not acknowledged durably. */
  tailRows(): Promise<number>
  poison(device: string): Promise<void>
  deadLetters(): Promise<readonly DeadLetter[]>
  replay(letter: string): Promise<boolean>
  /** SIGSTOP and SIGCONT. */
  pause(): void
  resume(): void
  /** SIGKILL. Resolves when the process is gone. */
  kill(): Promise<void>
  /** Drains, then ends. */
  stop(): Promise<void>
}

const ENTRY = fileURLToPath(new URL('./entry.ts', import.meta.url))

/**
 * Starts the server on `folder` and a free port; `env` are settings beside the defaults. Rejects when it ends at
 * once.
 */
export async function spawnServer(folder: string, env: Record<string, string> = {}): Promise<ServerProcess> {
  const settings = JSON.stringify({ DATA_DIR: folder, ...(await profileEnv(folder)), ...env })
  const child = fork(ENTRY, [settings], {
    serialization: 'advanced',
    execArgv: [],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const ended = once(child, 'exit')
  const asked = answersOf(child)
  const port = (await asked.first) as number
  const ask = <Name extends keyof Calls>(call: Name, ...args: Parameters<Calls[Name]>): Promise<unknown> =>
    asked.ask(call, args)
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal)
    await ended
  }
  return {
    port,
    devices: makeDevices({
      create: async (accounts, devices) => void (await ask('create', accounts, devices)),
      account: async (user) => (await ask('account', user)) as Account | undefined,
    }),
    stopStore: async () => void (await ask('stopStore')),
    resumeStore: async () => void (await ask('resumeStore')),
    slowLookup: async (device, ms) => void (await ask('slowLookup', device, ms)),
    poison: async (device) => void (await ask('poison', device)),
    deadLetters: async () => (await ask('deadLetters')) as DeadLetter[],
    replay: async (letter) => (await ask('replay', letter)) as boolean,
    tailRows: async () => (await ask('tailRows')) as number,
    pause: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
    kill: () => end('SIGKILL'),
    async stop() {
      await ask('drain')
      await end('SIGTERM')
    },
  }
}

/** Orders and their answers; all that wait are rejected when the process ends. */
function answersOf(child: ChildProcess) {
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  const wait = (id: number) => new Promise<unknown>((resolve, reject) => void waiting.set(id, { resolve, reject }))
  let last = 0
  child.on('message', ({ id, value, error }: Answer) => {
    const order = waiting.get(id)
    waiting.delete(id)
    if (error === undefined) order?.resolve(value)
    else order?.reject(new Error(error))
  })
  child.once('exit', (code, signal) => {
    for (const { reject } of waiting.values()) reject(new Error(`the server ended: ${signal ?? code}`))
    waiting.clear()
  })
  return {
    first: wait(0),
    ask(call: keyof Calls, args: readonly unknown[]): Promise<unknown> {
      if (!child.connected) return Promise.reject(new Error('the server has ended'))
      const id = ++last
      child.send({ id, call, args } satisfies Order)
      return wait(id)
    },
  }
}
