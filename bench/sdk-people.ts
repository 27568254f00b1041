/** Accounts of the SDK for the bench: registered over HTTP as an app does it, by the code that the console keeps. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Client, openClient } from '../client/index.ts'

export type Server = { readonly url: string; readonly dataDir: string }
export type Person = { readonly user: string; readonly folder: string }

const LOOK_EVERY_MS = 5
const WAIT_MS_MAX = 120_000
const SMS_FILE = 'sms-console.jsonl'

export function openPerson(url: string, folder: string): Client {
  return openClient({ folder, unlock: { keyFile: `${folder}.key` }, url })
}

/** Resolves when `test` holds; rejects with the last fault of the client when it does not in two minutes. */
export async function until(client: Client, test: () => boolean, what: string): Promise<void> {
  let last = 'no fault was told'
  const stop = client.on('fault', ({ code, text }) => {
    last = `${code}: ${text}`
  })
  const endMs = performance.now() + WAIT_MS_MAX
  while (!test()) {
    if (performance.now() > endMs) throw new Error(`The SDK waited too long for ${what}; ${last}`)
    await delay(LOOK_EVERY_MS)
  }
  stop()
}

/** Connects, and resolves when everything that waited was received. */
export async function comeOnline(client: Client): Promise<void> {
  let isCaughtUp = false
  const stop = client.on('caughtUp', () => {
    isCaughtUp = true
  })
  client.connect()
  await until(client, () => isCaughtUp, 'its connection')
  stop()
}

function codeOf(dataDir: string, phone: string): string {
  const lines = readFileSync(join(dataDir, SMS_FILE), 'utf8').trim().split('\n')
  const messages = lines.map((line) => JSON.parse(line) as { phone: string; code: string })
  const found = messages.findLast((message) => message.phone === phone)
  if (found === undefined) throw new Error(`The server sent no code to ${phone}.`)
  return found.code
}

/** A new account in a folder of its own; `number` makes its phone number and its handle. */
export async function registerPerson(server: Server, folder: string, number: number): Promise<Person> {
  const client = openPerson(server.url, folder)
  try {
    const phone = `+4477009${String(number).padStart(5, '0')}`
    await client.askCode(phone)
    const { user } = await client.register({ phone, code: codeOf(server.dataDir, phone), handle: `bench${number}` })
    return { user, folder }
  } finally {
    await client.close()
  }
}

/** Sends `turns` messages to and fro, one after the other, so that the session is one of everyday. */
export async function talkInTurns(
  a: Client,
  b: Client,
  turns: number,
  text: (turn: number) => string,
  afterEach: (turn: number) => void = () => undefined,
): Promise<void> {
  const ends = [a, b] as const
  for (let turn = 0; turn < turns; turn++) {
    const [from, to] = turn % 2 === 0 ? ends : [ends[1], ends[0]]
    const author = from.me()?.user
    let isThere = false
    const stop = to.on('message', (message) => {
      if (message.author === author) isThere = true
    })
    await from.send(to.me()?.user ?? '', text(turn))
    await until(from, () => isThere && from.waiting() === 0, `turn ${turn}`)
    stop()
    afterEach(turn)
  }
}
