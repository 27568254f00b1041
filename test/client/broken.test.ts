/** What attacks on a client once broke: its folder, its queue and its clock, each with what it needed to show. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { nextIdentity, readAccount } from '../../client/crypto/account.ts'
import { openStore } from '../../client/store/open.ts'
import { IntakeFault } from '../../core/envelope.ts'
import { limits } from '../../topics/limits.ts'
import { type People, type Person, startPeople } from './people.ts'

const userOf = (person: Person): string => person.client.me()?.user ?? ''
const texts = (person: Person, peer: Person) => person.client.messages(userOf(peer)).map(({ text }) => text)

describe('a client that was attacked', () => {
  let people: People
  let alice: Person
  let bob: Person
  beforeEach(async () => {
    people = await startPeople()
    alice = await people.person('alice')
    bob = await people.person('bob')
    await alice.client.send(userOf(bob), 'hello')
    await bob.until(() => bob.received.length === 1, 'the first message')
    await alice.until(() => alice.client.waiting() === 0, 'nothing waiting')
  })
  afterEach(() => people.stop())

  it('by a link that fails keeps nothing of the identity that it was given', async () => {
    for (let linked = 0; linked < limits.linkedDevicesMax; linked++) {
      const offer = await people.stranger().client.offerLink()
      await alice.client.acceptLink(offer.uri)
      await offer.linked
    }
    const late = people.stranger()
    const offer = await late.client.offerLink()
    const refused = assert.rejects(offer.linked, { code: 'devices_full' })
    await alice.client.acceptLink(offer.uri)
    await refused
    await Promise.all([late.client.close(), alice.client.close()])
    const open = ({ folder }: Person) => openStore(folder, { keyFile: join(folder, 'key') })
    const [left, given] = [open(late), open(alice)]
    const identity = readAccount(given)?.identity
    assert.ok(identity !== undefined)
    assert.equal(nextIdentity(left).publicKey.equals(identity.publicKey), false)
    await Promise.all([left.close(), given.close()])
  })

  it('by a peer with another identity still writes to all others, however much waits for that one', async () => {
    const carol = await people.person('carol')
    await bob.client.resetIdentity()
    await alice.client.send(userOf(bob), 'held')
    await alice.until(() => alice.events.some(({ event }) => event === 'identityChanged'), 'the warning')
    await Promise.all(Array.from({ length: 1_100 }, (_, i) => alice.client.send(userOf(bob), `held ${i}`)))
    await alice.client.send(userOf(carol), 'hello carol')
    await carol.until(() => carol.received.length === 1, 'what was written to another')
    await alice.client.approveIdentity(userOf(bob))
    await bob.until(() => bob.received.length === 1_102, 'what was held')
    assert.deepEqual(
      bob.received.slice(1).map(({ text }) => text),
      ['held', ...Array.from({ length: 1_100 }, (_, i) => `held ${i}`)],
    )
  }).timeout(40_000)

  it('by linking devices while everybody talks has all of it on each, in one order', async () => {
    let count = 0
    let isTalking = true
    const talk = async () => {
      while (isTalking) {
        await Promise.all([bob.client.send(userOf(alice), `b${count}`), alice.client.send(userOf(bob), `a${count}`)])
        count++
        await new Promise((resolve) => setTimeout(resolve, 4))
      }
    }
    const link = async () => {
      const other = people.stranger()
      const { uri, linked } = await other.client.offerLink()
      await alice.client.acceptLink(uri)
      await linked
      other.client.connect()
      return other
    }
    const all = (person: Person, peer: Person) =>
      JSON.stringify(person.client.messages(userOf(peer), { limit: 10_000 }).map(({ text }) => text))
    const talked = talk()
    await alice.until(() => alice.received.length > 20, 'a talk')
    const others = [await link(), await link()]
    for (const other of others) await other.until(() => other.received.length > 20, 'what is said after the link')
    isTalking = false
    await talked
    await alice.until(() => alice.client.waiting() + bob.client.waiting() === 0, 'nothing waiting')
    const isSame = (person: Person) => all(person, bob) === all(bob, alice)
    for (const person of [alice, ...others]) await person.until(() => isSame(person), 'one talk everywhere')
    assert.ok(count > 20)
  }).timeout(40_000)

  it('by a clock that jumps back while a peer is waited for does not wait for years', async () => {
    let offMs = 5 * 365 * 86_400_000
    alice.settings = { now: () => Date.now() + offMs }
    await alice.reopen()
    const { keys } = people.node.node.server.opened.ports
    const carol = await people.person('carol')
    const { take } = keys
    let refusals = 0
    keys.take = async () => {
      refusals++
      // Back at once: a second one would be waited for as well.
      keys.take = take
      throw new IntakeFault('disk_full', 'no room')
    }
    alice.client.connect()
    await alice.client.send(userOf(carol), 'hello carol')
    await alice.until(() => refusals > 0, 'a refusal')
    offMs = 0
    await carol.until(() => carol.received.length === 1, 'the message')
  }).timeout(20_000)

  it('leaves one file that has everything when it was closed, and nothing of what was overwritten', async () => {
    await alice.client.close()
    assert.equal(existsSync(join(alice.folder, 'client.db-wal')), false)
    const db = new DatabaseSync(join(alice.folder, 'client.db'), { readOnly: true })
    assert.equal(db.prepare('SELECT count(*) AS n FROM messages').get()?.['n'], 1)
    db.close()
  })

  it('by a server that says "later" keeps its order over a restart', async () => {
    const { intake } = people.node.node.server.opened.ports
    const { refusal } = intake
    intake.refusal = () => 'disk_full'
    alice.events.length = 0
    await alice.client.send(userOf(bob), 'one')
    await alice.until(() => alice.events.some(({ event }) => event === 'status'), 'the refusal')
    assert.equal(alice.client.waiting(), 1)
    await alice.client.close()
    intake.refusal = refusal
    await alice.reopen()
    await alice.client.send(userOf(bob), 'two')
    alice.client.connect()
    await bob.until(() => bob.received.length === 3, 'both')
    assert.deepEqual(texts(bob, alice), ['hello', 'one', 'two'])
  }).timeout(20_000)
})
