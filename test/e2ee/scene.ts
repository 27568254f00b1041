/** Real clients whose way to a real node leads through a man in the middle, and a clock that node and clients share. */
import { rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Events, Message } from '../../client/index.ts'
import { startTestNode, type TestNode } from '../api/node.ts'
import { codeOf } from '../world/person.ts'
import { EVENTS, openSdkClient, type SdkClient } from '../world/sdk-client.ts'
import { type Middle, startMiddle } from './hostile.ts'

const QUIET_MS = 25

export interface Party extends SdkClient {
  /** By event, what was told, in order; kept over crashes. */
  readonly told: { readonly [K in keyof Events]: Events[K][] }
  readonly user: string
  readonly device: string
  /** Connects and waits until it has caught up. */
  online(): Promise<void>
  /** Its connection ends; it comes back at once, and catches up. */
  reconnect(): Promise<void>
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
  const told = Object.fromEntries(EVENTS.map((event) => [event, []])) as unknown as Party['told']
  const held = openSdkClient(
    () => ({ url: middle.url, now, pragmas: PRAGMAS }),
    (event, value, client) => {
      ;(told[event] as unknown[]).push(value)
      // No test waits for a backoff.
      if (event === 'offline') setImmediate(() => client.retryNow())
    },
    () => `unreadable ${told.unreadable.length}, faults ${JSON.stringify(told.fault.slice(-4))}`,
  )
  const caughtUp = async (what: string, begin: () => void) => {
    const before = told.caughtUp.length
    begin()
    await held.until(() => told.caughtUp.length > before, what)
  }
  const party = Object.assign(held, {
    told,
    online: () => caughtUp('caught up', () => held.client.connect()),
    reconnect: () =>
      caughtUp('caught up again', () => {
        middle.linkOf(held.client.me()?.device ?? '')?.cut()
        held.client.retryNow()
      }),
    texts: (peer: Party | string) => held.client.messages(userOf(peer), { limit: 1_000 }).map(({ text }) => text),
    send: (peer: Party | string, text: string) => held.client.send(userOf(peer), text),
  })
  return Object.defineProperties(party, {
    user: { enumerable: true, get: () => held.client.me()?.user ?? '' },
    device: { enumerable: true, get: () => held.client.me()?.device ?? '' },
  }) as typeof party & Pick<Party, 'user' | 'device'>
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
