/** Clients of the SDK for tests, on a real node: registered by the code that the console shows. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Client, type ClientSettings, type Events, type Message, openClient } from '../../client/index.ts'
import { startTestNode, type TestNode } from '../api/node.ts'
import { codeOf } from '../world/person.ts'

export interface Person {
  client: Client
  readonly folder: string
  /** In force when it is opened the next time. */
  settings: Partial<ClientSettings>
  readonly received: Message[]
  readonly events: { readonly event: keyof Events; readonly value: unknown }[]
  /** Resolves when `test` holds, asked at every event; rejects after 10 s with what there is. */
  until(test: () => boolean, what: string): Promise<void>
  /** Dies without a word and is opened again on the same folder. */
  crash(): void
  /** Closed in order, and opened again. */
  reopen(): Promise<void>
  /** A copy of the folder as it is. */
  copy(): string
  /** Puts a copy back; the client has to be closed. */
  restore(copy: string): void
}

export interface People {
  readonly node: TestNode
  /** A new person with this handle, connected. */
  person(handle: string, settings?: Partial<ClientSettings>): Promise<Person>
  /** A client that is not registered. */
  stranger(settings?: Partial<ClientSettings>): Person
  stop(): Promise<void>
}

const TIMEOUT_MS = 10_000
const EVENTS: readonly (keyof Events)[] = [
  'message',
  'status',
  'online',
  'offline',
  'caughtUp',
  'identityChanged',
  'devicesChanged',
  'unreadable',
  'gap',
  'revoked',
  'keysWithheld',
  'fault',
]
let phones = 0

function openPerson(url: string, settings: Partial<ClientSettings>): Person {
  const folder = mkdtempSync(join(tmpdir(), 'heliograph-client-'))
  const waiters = new Set<() => void>()
  const open = () => {
    const client = openClient({ folder, unlock: { keyFile: join(folder, 'key') }, url, ...person.settings })
    for (const event of EVENTS) {
      client.on(event, (value) => {
        person.events.push({ event, value })
        if (event === 'message') person.received.push(value as Message)
        for (const check of [...waiters]) check()
      })
    }
    return client
  }
  const person: Person = {
    client: undefined as unknown as Client,
    folder,
    settings,
    received: [],
    events: [],
    until(test, what) {
      return new Promise((resolve, reject) => {
        const done = (error?: Error) => {
          clearTimeout(timer)
          clearInterval(look)
          waiters.delete(check)
          if (error === undefined) resolve()
          else reject(error)
        }
        const check = () => {
          if (test()) done()
        }
        const told = () => JSON.stringify(person.events.slice(-6))
        const timer = setTimeout(() => done(new Error(`no ${what}; last events ${told()}`)), TIMEOUT_MS)
        // What changes without an event, such as an empty outbox.
        const look = setInterval(check, 20)
        waiters.add(check)
        check()
      })
    },
    crash() {
      person.client.abandon()
      person.client = open()
    },
    async reopen() {
      await person.client.close()
      person.client = open()
    },
    copy() {
      const copy = mkdtempSync(join(tmpdir(), 'heliograph-copy-'))
      cpSync(folder, copy, { recursive: true })
      return copy
    },
    restore(copy) {
      rmSync(folder, { recursive: true, force: true })
      cpSync(copy, folder, { recursive: true })
      rmSync(copy, { recursive: true, force: true })
      person.client = open()
    },
  }
  person.client = open()
  return person
}

export async function startPeople(env: Record<string, string> = {}): Promise<People> {
  const node = await startTestNode(env)
  const all: Person[] = []
  const stranger = (settings: Partial<ClientSettings> = {}) => {
    const person = openPerson(node.url, settings)
    all.push(person)
    return person
  }
  return {
    node,
    stranger,
    async person(handle, settings) {
      const person = stranger(settings)
      const phone = `+4477009${String(++phones).padStart(5, '0')}`
      await person.client.askCode(phone)
      await person.client.register({ phone, code: codeOf(node.folder, phone), handle })
      person.client.connect()
      await person.until(() => person.events.some(({ event }) => event === 'caughtUp'), 'caught up')
      return person
    },
    async stop() {
      for (const { client, folder } of all) {
        await client.close().catch(() => undefined)
        rmSync(folder, { recursive: true, force: true })
      }
      await node.stop()
    },
  }
}
