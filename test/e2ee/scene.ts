/** Real clients whose way to a real node leads through a man in the middle, and a clock that node and clients share. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, type Events, type Message, openClient } from '../../client/index.ts'
import { startTestNode, type TestNode } from '../api/node.ts'
import { codeOf } from '../world/person.ts'
import { type Middle, startMiddle } from './hostile.ts'

const QUIET_MS = 25
const TIMEOUT_MS = 10_000
const EVENTS: readonly (keyof Events)[] = [
  'message',
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

export interface Party {
  client: Client
  readonly folder: string
  /** By event, what was told, in order; kept over crashes. */
  readonly told: { readonly [K in keyof Events]: Events[K][] }
  readonly user: string
  readonly device: string
  until(test: () => boolean, what: string, timeoutMs?: number): Promise<void>
  /** Connects and waits until it has caught up. */
  online(): Promise<void>
  /** Its connection ends; it comes back at once, and catches up. */
  reconnect(): Promise<void>
  /** Dies without a word, and is opened again, not connected. */
  crash(): void
  /** Closed in order, and opened again, not connected. */
  reopen(): Promise<void>
  copy(): string
  /** Puts a copy of the folder back, in place of the one that is there. Closed before, not connected afterwards. */
  restore(copy: string): void
  texts(peer: Party | string): string[]
  send(peer: Party | string, text: string): Promise<Message>
}

export interface Scene {
  readonly node: TestNode
  readonly middle: Middle
  /** Resolves when nothing went through the proxy for a while. */
  quiet(): Promise<void>
  /** Moves the time of node and clients. */
  pass(ms: number): void
  now(): number
  /** Registers a new person; connected. */
  person(): Promise<Party>
  /** Registers a number, perhaps again, on a new device with another identity. Not connected. */
  enrol(phone: string): Promise<Party>
  newPhone(): string
  /** A second device of the account of `primary`; connected. */
  second(primary: Party): Promise<Party>
  /** Ends these parties and removes their folders. */
  end(parties: readonly Party[]): Promise<void>
  stop(): Promise<void>
}

/** Nothing of these tests counts how often an address asks. */
const UNLIMITED = {
  CODES_PER_MINUTE_MAX: '1000000',
  CODES_PER_ADDRESS_PER_HOUR_MAX: '1000000',
  CODES_TRIED_PER_ADDRESS_PER_HOUR_MAX: '1000000',
  LINKS_PER_ADDRESS_PER_HOUR_MAX: '1000000',
}
/** Durability against a power cut is not what is tested here. */
const PRAGMAS = 'PRAGMA synchronous = OFF'

const userOf = (peer: Party | string): string => (typeof peer === 'string' ? peer : peer.user)

function openParty(middle: Middle, now: () => number): Party {
  const folder = mkdtempSync(join(tmpdir(), 'heliograph-e2ee-'))
  const waiters = new Set<() => void>()
  const told = Object.fromEntries(EVENTS.map((event) => [event, []])) as unknown as Party['told']
  const open = (): Client => {
    const client = openClient({
      folder,
      unlock: { keyFile: join(folder, 'key') },
      url: middle.url,
      now,
      pragmas: PRAGMAS,
    })
    for (const event of EVENTS) {
      client.on(event, (value) => {
        // Of one that has died nobody hears.
        if (party.client !== client) return
        ;(told[event] as unknown[]).push(value)
        // No test waits for a backoff.
        if (event === 'offline') setImmediate(() => client.retryNow())
        for (const check of [...waiters]) check()
      })
    }
    return client
  }
  const party: Party = {
    client: undefined as unknown as Client,
    folder,
    told,
    get user() {
      return party.client.me()?.user ?? ''
    },
    get device() {
      return party.client.me()?.device ?? ''
    },
    until(test, what, timeoutMs = TIMEOUT_MS) {
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
        const late = () =>
          done(
            new Error(
              `no ${what}; unreadable ${told.unreadable.length}, faults ${JSON.stringify(told.fault.slice(-4))}`,
            ),
          )
        const timer = setTimeout(late, timeoutMs)
        // What changes without an event, such as an empty outbox.
        const look = setInterval(check, 10)
        waiters.add(check)
        check()
      })
    },
    async online() {
      const before = told.caughtUp.length
      party.client.connect()
      await party.until(() => told.caughtUp.length > before, 'caught up')
    },
    async reconnect() {
      const before = told.caughtUp.length
      middle.linkOf(party.device)?.cut()
      party.client.retryNow()
      await party.until(() => told.caughtUp.length > before, 'caught up again')
    },
    crash() {
      party.client.abandon()
      party.client = open()
    },
    async reopen() {
      await party.client.close()
      party.client = open()
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
      party.client = open()
    },
    texts: (peer) => party.client.messages(userOf(peer), { limit: 1_000 }).map(({ text }) => text),
    send: (peer, text) => party.client.send(userOf(peer), text),
  }
  party.client = open()
  return party
}

let phones = 0

export async function startScene(): Promise<Scene> {
  const node = await startTestNode(UNLIMITED)
  const middle = await startMiddle(node)
  const all = new Set<Party>()
  const now = () => Date.now() + node.clock.offsetMs
  const stranger = () => {
    const party = openParty(middle, now)
    all.add(party)
    return party
  }
  const newPhone = () => {
    return `+4477009${String(++phones).padStart(5, '0')}`
  }
  const scene: Scene = {
    node,
    middle,
    now,
    newPhone,
    async quiet() {
      for (let before = -1; before !== middle.packets; ) {
        before = middle.packets
        await sleep(QUIET_MS)
      }
    },
    pass(ms) {
      node.clock.offsetMs += ms
    },
    async enrol(phone) {
      const party = stranger()
      await party.client.askCode(phone)
      await party.client.register({ phone, code: codeOf(node.folder, phone) })
      return party
    },
    async person() {
      const party = await scene.enrol(newPhone())
      await party.online()
      return party
    },
    async second(primary) {
      const party = stranger()
      const { uri, linked } = await party.client.offerLink()
      await primary.client.acceptLink(uri)
      await linked
      await party.online()
      return party
    },
    async end(parties) {
      for (const party of parties) {
        await party.client.close().catch(() => undefined)
        rmSync(party.folder, { recursive: true, force: true })
        all.delete(party)
      }
    },
    async stop() {
      await scene.end([...all])
      await middle.stop()
      await node.stop()
    },
  }
  return scene
}
