/**
 * The server as a process of its own, for tests that kill it. process.ts starts it and speaks to it over IPC; it ends
 * with its parent. It can stop its store in front of the writer thread, and slow the directory down, as a bad disk
 * would.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import type { Storage } from '../../adapters/opened.ts'
import { startServer } from '../../broker/server.ts'
import { readConfig } from '../../core/config.ts'
import { replay } from '../../core/dead-letters.ts'
import type { DeadLetter, Directory, InboxRows, Log } from '../../core/ports.ts'

/** What the parent may ask for: one of `calls` below by name. */
export interface Order {
  readonly id: number
  readonly call: keyof Calls
  readonly args: readonly unknown[]
}
export interface Answer {
  readonly id: number
  readonly value?: unknown
  readonly error?: string
}
export interface Calls {
  create: Directory['create']
  account: Directory['account']
  /** Jobs for the writer thread are kept back until `resumeStore`. */
  stopStore(): Promise<void>
  resumeStore(): Promise<void>
  /** Looking up this device takes so long from now on. */
  slowLookup(device: string, ms: number): Promise<void>
  /** From now on rows of this device cannot be written, whatever is tried; '' for none. In the cluster. */
  poison(device: string): Promise<void>
  deadLetters(): Promise<readonly DeadLetter[]>
  replay(letter: string): Promise<boolean>
  /** Inbox rows in the tail that are not acknowledged durably. */
  tailRows(): Promise<number>
  drain(): Promise<void>
}

let isStopped = false
const kept: (() => void)[] = []
const { postMessage } = Worker.prototype
Worker.prototype.postMessage = function (this: Worker, ...message: Parameters<typeof postMessage>) {
  if (isStopped) kept.push(() => postMessage.apply(this, message))
  else postMessage.apply(this, message)
}

const write = (level: string) => (facts: object, text: string) => console.error(level, text, JSON.stringify(facts))
const log: Log = { info: () => undefined, warn: write('warn'), error: write('error') }
const onFatal = (error: Error): void => {
  write('fatal')({ error: error.message }, 'the server ends')
  process.exit(70)
}
const settings = JSON.parse(process.argv[2] ?? '{}') as Record<string, string>
const server = await startServer(readConfig({ MQTT_PORT: '0', ...settings }), log, onFatal)
const { directory } = server.opened.ports

let writeRows: InboxRows['apply'] | undefined
function storage(): Storage {
  if (server.opened.storage === undefined) throw new Error('only the cluster has it')
  return server.opened.storage
}

const calls: Calls = {
  create: (accounts, devices) => directory.create(accounts, devices),
  account: (user) => directory.account(user),
  async stopStore() {
    isStopped = true
  },
  async resumeStore() {
    isStopped = false
    for (const post of kept.splice(0)) post()
  },
  async slowLookup(slow, ms) {
    const lookUp = directory.accountOfDevice
    directory.accountOfDevice = async (device) => {
      if (device === slow) await delay(ms)
      return lookUp(device)
    }
  },
  async poison(device) {
    const { rows } = storage()
    writeRows ??= rows.apply
    const apply = writeRows
    rows.apply = async (all) => {
      if (all.some((row) => row.device === device)) throw new Error('this row cannot be written')
      await apply(all)
    }
  },
  deadLetters: () => storage().deadLetters.list(100),
  replay: (letter) => replay(server.opened.ports, storage().deadLetters, letter),
  tailRows: async () => server.opened.storeFacts()['tailRows'] as number,
  drain: () => server.drain(),
}

async function obey({ id, call, args }: Order): Promise<void> {
  try {
    const value = await (calls[call] as (...args: readonly unknown[]) => Promise<unknown>)(...args)
    process.send?.({ id, value } satisfies Answer)
  } catch (error) {
    process.send?.({ id, error: (error as Error).message } satisfies Answer)
  }
}
process.on('message', (order: Order) => void obey(order))
process.on('disconnect', () => process.exit())
process.send?.({ id: 0, value: server.mqttPort } satisfies Answer)
