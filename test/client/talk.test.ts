import assert from 'node:assert/strict'
import { type People, type Person, startPeople, texts, userOf } from './people.ts'

describe('two people', () => {
  let people: People
  let alice: Person
  let bob: Person
  before(async () => {
    people = await startPeople()
    alice = await people.person('alice')
    bob = await people.person('bob')
  })
  after(() => people.stop())

  it('find each other by handle and talk, encrypted, with ticks up to read', async () => {
    const { client } = alice
    const peer = await client.findUser('@bob')
    assert.equal(peer, userOf(bob))
    const sent = await client.send(peer, 'hello bob')
    assert.equal(sent.status, 'waiting')
    await bob.until(() => bob.received.length === 1, 'the message')
    assert.equal(bob.received[0]?.text, 'hello bob')
    await alice.until(() => client.messages(peer)[0]?.status === 'delivered', 'delivered')
    await bob.client.markRead(userOf(alice))
    await alice.until(() => client.messages(peer)[0]?.status === 'read', 'read')
  })

  it('answer, and see one conversation in one order', async () => {
    await bob.client.send(userOf(alice), 'hello alice')
    await alice.until(() => alice.received.length === 1, 'the answer')
    await alice.client.send(userOf(bob), 'how are you')
    await bob.until(() => bob.received.length === 2, 'the third')
    await alice.until(() => alice.client.messages(userOf(bob)).every(({ seq }) => seq > 0), 'seqs')
    assert.deepEqual(texts(alice, userOf(bob)), ['hello bob', 'hello alice', 'how are you'])
    assert.deepEqual(texts(bob, userOf(alice)), texts(alice, userOf(bob)))
  })

  it('have the same safety number, and only they', async () => {
    const of = (a: Person, b: Person) => a.client.safetyNumber(userOf(b))
    assert.match(of(alice, bob)?.digits ?? '', /^[0-9]{60}$/)
    assert.equal(of(alice, bob)?.digits, of(bob, alice)?.digits)
    assert.equal(alice.client.compareSafetyNumber(userOf(bob), of(bob, alice)?.qr ?? new Uint8Array()), true)
    assert.equal(alice.client.compareSafetyNumber(userOf(bob), of(alice, bob)?.qr ?? new Uint8Array()), false)
    assert.equal(alice.client.compareSafetyNumber(userOf(bob), new Uint8Array(9)), false)
  })

  it('learn the handle of who writes to them', async () => {
    assert.equal(bob.client.handleOf(userOf(alice)), '')
    assert.equal(await bob.client.learnHandle(userOf(alice)), 'alice')
    assert.equal(bob.client.handleOf(userOf(alice)), 'alice')
    assert.equal(await bob.client.findUser('alice'), userOf(alice))
    assert.equal(await bob.client.learnHandle('00000000-0000-4000-8000-000000000000'), '')
  })

  it('get what was sent while they were away, each once and in order', async () => {
    await bob.client.close()
    const before = texts(alice, userOf(bob)).length
    for (let i = 0; i < 200; i++) await alice.client.send(userOf(bob), `while away ${i}`)
    await alice.until(() => alice.client.waiting() === 0, 'all stored')
    await bob.reopen()
    bob.client.connect()
    await bob.until(() => texts(bob, userOf(alice)).length === before + 200, '200 messages')
    assert.deepEqual(
      texts(bob, userOf(alice)).slice(before),
      Array.from({ length: 200 }, (_, i) => `while away ${i}`),
    )
  })

  it('lose nothing when a client dies in the middle', async () => {
    const before = texts(alice, userOf(bob)).length
    const all = Array.from({ length: 120 }, (_, i) => `through a crash ${i}`)
    for (const [i, text] of all.entries()) {
      await alice.client.send(userOf(bob), text)
      if (i % 40 === 20) {
        alice.crash()
        alice.client.connect()
        bob.crash()
        bob.client.connect()
      }
    }
    await bob.until(() => texts(bob, userOf(alice)).length >= before + 120, 'all of them')
    await alice.until(() => alice.client.messages(userOf(bob), { limit: 500 }).every(({ seq }) => seq > 0), 'seqs')
    assert.deepEqual(texts(bob, userOf(alice)).slice(before), all)
    assert.deepEqual(texts(alice, userOf(bob)).slice(before), all)
  })
})
