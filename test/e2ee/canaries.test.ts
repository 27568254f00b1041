/**
 * What two people say to each other is nowhere on the server: not in its memory while it runs, not in its files, its
 * log or its numbers, in none of the forms that bytes are written in. The server is a process of its own.
 */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Account, readAccount } from '../../client/crypto/account.ts'
import { type Client, openClient } from '../../client/index.ts'
import { openStore } from '../../client/store/open.ts'
import { uuidText } from '../../topics/ids.ts'
import { OBSERVER_PASSWORD } from '../api/node.ts'
import { settings, startFile } from '../listeners/main-process.ts'
import { connectClient, type Client as MqttClient } from '../world/client.ts'
import { call, codeOf } from '../world/person.ts'
import { findIn, findInFolder, findInMemory, type Needle, needlesOf } from './search.ts'

const TIMEOUT_MS = 10_000
/** Stands for the company that sends text messages: whoever runs the server on a desk reads the code in it. */
const TEXT_MESSAGES = ['sms-console.jsonl']
const letters = (count: number): string => randomBytes(count).toString('hex').slice(0, count)

/** Everything secret begins with the same random letters, so that one look finds all of it. */
const MARK = letters(12)
const canary = (): string => MARK + letters(12)

interface Party {
  readonly client: Client
  readonly folder: string
  readonly passphrase: string
  readonly phone: string
  readonly texts: string[]
}

/** Resolves when `test` holds, asked every few milliseconds. */
async function until(test: () => boolean, what: string): Promise<void> {
  const endMs = performance.now() + TIMEOUT_MS
  while (!test()) {
    if (performance.now() > endMs) throw new Error(`no ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

describe('what two people say', () => {
  let folder: string
  let server: { child: ChildProcess; ended: Promise<unknown>; output(): string }
  let url: string
  let observer: MqttClient
  let alice: Party
  let bob: Party
  let tablet: Party
  const parties: Party[] = []
  const passphrase = canary()
  const deviceName = canary()
  /** Secret everywhere, memory included; and what the server hears but must not write down. */
  let secrets: Needle[]
  let unwritten: Needle[]

  before(async function () {
    this.timeout(60_000)
    folder = mkdtempSync(join(tmpdir(), 'heliograph-canaries-'))
    server = startFile('main.ts', [], { ...settings(join(folder, 'data')), DISK_RESERVE_MIB: '1', LOG_LEVEL: 'debug' })
    await until(() => /MQTT Explorer/.test(server.output()) || server.child.exitCode !== null, 'start of the server')
    const port = (pattern: RegExp) => Number(pattern.exec(server.output())?.[1])
    url = `http://127.0.0.1:${port(/http:\/\/127\.0\.0\.1:(\d+):/)}`
    observer = await connectClient({
      port: port(/"MQTT +127\.0\.0\.1:(\d+)"/),
      clientId: 'explorer',
      username: 'observer',
      password: OBSERVER_PASSWORD,
      clean: true,
      keepalive: 60,
    })
    await observer.subscribe({ topic: '$SYS/#', qos: 0 }, { topic: '#', qos: 0 })
    alice = await register('alicewhosehandleisknown')
    bob = await register('bobwhosehandleisknown')
    tablet = await linkTo(alice)
    await talk()
    const accounts = await Promise.all([alice, bob, tablet].map(accountOf))
    const keys = accounts.slice(0, 2).map(({ identity }) => identity.privateKey.serialize())
    secrets = [
      ...needlesOf('a text, a passphrase or a name', MARK),
      ...keys.flatMap((key, i) => needlesOf(`identity key ${i}`, key)),
    ]
    unwritten = [
      ...secrets,
      ...accounts.flatMap(({ token }, i) => needlesOf(`token ${i}`, token)),
      ...[alice, bob].flatMap(({ phone }) => [phone, phone.slice(1)]).flatMap((text) => needlesOf('phone', text)),
    ]
  })
  after(async () => {
    observer?.destroy()
    for (const { client } of parties) await client.close().catch(() => undefined)
    server?.child.kill('SIGKILL')
    await server?.ended
    for (const party of parties) rmSync(party.folder, { recursive: true, force: true })
    rmSync(folder, { recursive: true, force: true })
  })

  function openParty(): Party {
    const party = mkdtempSync(join(tmpdir(), 'heliograph-canary-'))
    const client = openClient({ folder: party, unlock: { passphrase }, url })
    const texts: string[] = []
    client.on('message', ({ text }) => void texts.push(text))
    const phone = `+4477009${String(10_000 + parties.length)}`
    const made = { client, folder: party, passphrase, phone, texts }
    parties.push(made)
    return made
  }
  async function register(handle: string): Promise<Party> {
    const party = openParty()
    await party.client.askCode(party.phone)
    await party.client.register({
      phone: party.phone,
      code: codeOf(join(folder, 'data'), party.phone),
      handle,
    })
    await online(party)
    return party
  }
  async function online({ client }: Party): Promise<void> {
    let isCaughtUp = false
    client.on('caughtUp', () => {
      isCaughtUp = true
    })
    client.connect()
    await until(() => isCaughtUp, 'caught up')
  }
  /** Another device of the same account, whose history goes through the server as well. */
  async function linkTo(primary: Party): Promise<Party> {
    const party = openParty()
    const { uri, linked } = await party.client.offerLink()
    await primary.client.acceptLink(uri)
    await linked
    await online(party)
    return party
  }

  const userOf = ({ client }: Party): string => client.me()?.user ?? ''
  async function say(from: Party, to: Party, ...heardBy: Party[]): Promise<void> {
    const text = canary()
    await from.client.send(userOf(to), text)
    for (const party of heardBy) await until(() => party.texts.includes(text), 'the message')
  }

  /** Both ways, first messages and later ones, read marks, a name of a device, and messages that wait for somebody. */
  async function talk(): Promise<void> {
    for (let i = 0; i < 5; i++) {
      await say(alice, bob, bob, tablet)
      await say(bob, alice, alice, tablet)
    }
    await alice.client.markRead(userOf(bob))
    await nameDevice()
    await bob.client.close()
    for (let i = 0; i < 5; i++) await say(alice, bob, tablet)
    await until(() => alice.client.waiting() === 0, 'stored')
    await tablet.client.close()
    await alice.client.close()
  }

  /** The name of a device is sealed by whoever names it, before it leaves. */
  async function nameDevice(): Promise<void> {
    const { device = '' } = alice.client.me() ?? {}
    await alice.client.close()
    const { identity, token } = await accountOf(alice)
    const sealed = identity.publicKey.seal(Uint8Array.from(Buffer.from(deviceName)), 'device name')
    const name = Buffer.from(sealed).toString('base64url')
    const named = await call(url, 'PATCH', `/v1/devices/${device}`, { token, body: { name } })
    assert.equal(named.status, 204, JSON.stringify(named.body))
    const reopened = openClient({ folder: alice.folder, unlock: { passphrase: alice.passphrase }, url })
    reopened.on('message', ({ text }) => void alice.texts.push(text))
    Object.assign(alice, { client: reopened })
    await online(alice)
  }

  /** Of somebody whose client is closed. */
  async function accountOf({ folder: own, passphrase }: Party): Promise<Account> {
    const store = openStore(own, { passphrase })
    const account = readAccount(store)
    await store.close()
    assert.ok(account !== undefined)
    return account
  }

  const handles = (): Needle[] => needlesOf('a handle', 'alicewhosehandleisknown')
  const users = (): Needle[] => needlesOf('a user', Buffer.from(userIdOf(alice)))
  const userIdOf = (party: Party): Uint8Array => Buffer.from(userOf(party).replaceAll('-', ''), 'hex')

  it('is looked for in a way that finds it: in every form, across pieces, and at every place', async () => {
    const secret = randomBytes(24)
    const needles = needlesOf('it', secret)
    const forms = [secret, secret.toString('hex'), secret.toString('hex').toUpperCase()].map((form) =>
      Buffer.from(form),
    )
    for (let before = 0; before < 6; before++) {
      const around = Buffer.concat([randomBytes(before), secret, randomBytes(7)])
      forms.push(Buffer.from(around.toString('base64')), Buffer.from(around.toString('base64url')))
    }
    for (const form of forms) {
      for (let cut = 0; cut <= form.length; cut += 5) {
        const pieces = [randomBytes(50), form.subarray(0, cut), form.subarray(cut, cut + 3), form.subarray(cut + 3)]
        assert.notDeepEqual(await findIn(pieces, needles), [], `${form.toString('latin1')} cut at ${cut}`)
      }
    }
    const text = needlesOf('it', 'plain text')
    assert.deepEqual(await findIn([Buffer.from('a plain text', 'utf16le')], text), ['it as utf16'])
    assert.deepEqual(await findIn([randomBytes(1_000)], needles), [])
  })

  it('is in the clients: what is looked for was said, and is what the others read', () => {
    assert.ok(bob.texts.length >= 5 && alice.texts.length >= 5 && tablet.texts.length >= 15)
    for (const { texts } of parties) assert.ok(texts.every((text) => text.startsWith(MARK)))
    assert.equal(uuidText(userIdOf(alice)), userOf(alice))
  })

  // No other system shows the memory of a process as a file.
  if (process.platform === 'linux') {
    it('is not in the memory of the server while it runs, and what the server knows is', async function () {
      this.timeout(120_000)
      const image = await findInMemory(server.child.pid ?? 0, [...secrets, ...handles(), ...users()])
      assert.ok(image !== undefined, 'a parent may not read the memory of its child here; see kernel.yama.ptrace_scope')
      assert.ok(image.bytes > 30 * 1024 * 1024, `only ${image.bytes} bytes were looked at`)
      const known = image.found.filter((name) => /^a (handle|user) /.test(name))
      assert.ok(known.includes('a handle as bytes in memory'), known.join())
      assert.ok(known.includes('a user as bytes in memory'), known.join())
      assert.deepEqual(
        image.found.filter((name) => !known.includes(name)),
        [],
      )
    })
  }

  it('is not in the files of the server, nor is a phone number or a token, and what it stores is', async () => {
    const data = join(folder, 'data')
    assert.deepEqual(await findInFolder(data, unwritten, TEXT_MESSAGES), [])
    const known = await findInFolder(data, [...handles(), ...users()], TEXT_MESSAGES)
    assert.ok(known.some((name) => name.startsWith('a handle as bytes in ')))
    assert.ok(known.some((name) => name.startsWith('a user as bytes in ')))
    // The file that is left out is the one with the numbers, and has nothing else that is secret.
    assert.notDeepEqual(await findInFolder(data, unwritten), [])
    assert.deepEqual(await findInFolder(data, secrets), [])
  })

  it('is not in its log, nor is a phone number or a token', async () => {
    const log = Buffer.from(server.output())
    assert.deepEqual(await findIn([log], unwritten), [])
    assert.deepEqual(await findIn([log], needlesOf('ready', 'is ready')), ['ready as bytes'])
  })

  it('is not in its numbers, over HTTP and for the observer, nor is who they are', async () => {
    const metrics = String((await call(url, 'GET', '/metrics')).body['text'])
    const isCounted = (name: string) => Number(new RegExp(`^${name} (\\d+)`, 'm').exec(metrics)?.[1]) > 0
    assert.ok(isCounted('heliograph_devices') && isCounted('heliograph_connects_total'), metrics.slice(0, 500))
    await observer.until(({ received }) => received.some(({ topic }) => topic.startsWith('$SYS/')), '$SYS')
    const seen = observer.received.map(({ topic, payload }) => Buffer.concat([Buffer.from(`${topic} `), payload]))
    for (const shown of [[Buffer.from(metrics)], seen]) {
      assert.deepEqual(await findIn(shown, [...unwritten, ...handles(), ...users()]), [])
    }
  })

  it('is in none of its files after it ended', async () => {
    server.child.kill('SIGTERM')
    await server.ended
    assert.deepEqual(await findInFolder(join(folder, 'data'), unwritten, TEXT_MESSAGES), [])
    assert.deepEqual(await findIn([Buffer.from(server.output())], unwritten), [])
  })
})
