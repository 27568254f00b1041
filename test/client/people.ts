/** Clients of the SDK for tests, on a real node: registered by the code that the console shows. */
import { rmSync } from 'node:fs'
import type { ClientSettings, Events, Message } from '../../client/index.ts'
import { startTestNode, type TestNode } from '../api/node.ts'
import { codeOf } from '../world/person.ts'
import { openSdkClient, type SdkClient } from '../world/sdk-client.ts'

export interface Person extends SdkClient {
  /** In force when it is opened the next time. */
  settings: Partial<ClientSettings>
  readonly received: Message[]
  readonly events: { readonly event: keyof Events; readonly value: unknown }[]
}

export const userOf = (person: Person): string => person.client.me()?.user ?? ''
export const texts = (person: Person, peer: string): string[] =>
  person.client.messages(peer, { limit: 1_000 }).map(({ text }) => text)
export const saw = (person: Person, event: keyof Events): boolean => person.events.some((each) => each.event === event)

/** Links a new device to the account of `primary`, and connects it. */
export async function linkTo(people: People, primary: Person): Promise<Person> {
  const second = people.stranger()
  const { uri, linked } = await second.client.offerLink()
  await primary.client.acceptLink(uri)
  await linked
  second.client.connect()
  await second.until(() => saw(second, 'caughtUp'), 'caught up')
  return second
}

export interface People {
  readonly node: TestNode
  /** A new person with this handle, connected. */
  person(handle: string, settings?: Partial<ClientSettings>): Promise<Person>
  /** A client that is not registered. */
  stranger(settings?: Partial<ClientSettings>): Person
  stop(): Promise<void>
}

let phones = 0

function openPerson(url: string, settings: Partial<ClientSettings>): Person {
  let person: Person | undefined
  const events: Person['events'] = []
  const received: Message[] = []
  const held = openSdkClient(
    () => ({ url, ...(person === undefined ? settings : person.settings) }),
    (event, value) => {
      events.push({ event, value })
      if (event === 'message') received.push(value as Message)
    },
    () => `last events ${JSON.stringify(events.slice(-6))}`,
  )
  person = Object.assign(held, { settings, events, received })
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
