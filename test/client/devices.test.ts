import assert from 'node:assert/strict'
import { linkTo, type People, type Person, saw, startPeople, texts, userOf } from './people.ts'

describe('a person with two devices', () => {
  let people: People
  let alice: Person
  let bob: Person
  let laptop: Person
  before(async () => {
    people = await startPeople()
    alice = await people.person('alice')
    bob = await people.person('bob')
    await alice.client.send(userOf(bob), 'before the link')
    await bob.until(() => bob.received.length === 1, 'the first message')
    await bob.client.send(userOf(alice), 'also before')
    await alice.until(() => alice.received.length === 1, 'its answer')
  })
  after(() => people.stop())

  it('links the second by a link that is good once, and it gets what was written before', async () => {
    laptop = await linkTo(people, alice)
    assert.equal(userOf(laptop), userOf(alice))
    assert.equal(laptop.client.me()?.isPrimary, false)
    await laptop.until(() => texts(laptop, userOf(bob)).length === 2, 'the history')
    assert.deepEqual(texts(laptop, userOf(bob)), ['before the link', 'also before'])
    assert.ok(saw(alice, 'devicesChanged'))
  })

  it('has every message on both, whoever sent it, in one order', async () => {
    await alice.client.send(userOf(bob), 'from the phone')
    await laptop.until(() => texts(laptop, userOf(bob)).includes('from the phone'), 'the own copy')
    await laptop.client.send(userOf(bob), 'from the laptop')
    await alice.until(() => texts(alice, userOf(bob)).includes('from the laptop'), 'the own copy')
    await bob.until(() => bob.received.length === 3, 'both')
    await bob.client.send(userOf(alice), 'to both')
    await alice.until(() => texts(alice, userOf(bob)).includes('to both'), 'it on the phone')
    await laptop.until(() => texts(laptop, userOf(bob)).includes('to both'), 'it on the laptop')
    await laptop.until(() => laptop.client.messages(userOf(bob)).every(({ seq }) => seq > 0), 'seqs')
    assert.deepEqual(texts(laptop, userOf(bob)), texts(alice, userOf(bob)))
    assert.deepEqual(texts(bob, userOf(alice)), texts(alice, userOf(bob)))
  })

  it('warns the contact of the new device', () => {
    const told = bob.events.filter(({ event }) => event === 'devicesChanged').map(({ value }) => value)
    assert.ok(
      told.some((value) => (value as { user: string }).user === userOf(alice)),
      JSON.stringify(bob.events.slice(-8)),
    )
  })

  it('has read on one what was read on the other', async () => {
    await alice.client.markRead(userOf(bob))
    const unread = () => laptop.client.conversations().find(({ peer }) => peer === userOf(bob))?.unread
    await laptop.until(() => unread() === 0, 'nothing unread')
    // What the server has is not told again: a second connection publishes nothing.
    await alice.reopen()
    const { metrics } = people.node.node.server
    const before = metrics.publishesIn
    const from = alice.events.length
    alice.client.connect()
    await alice.until(() => alice.events.slice(from).some(({ event }) => event === 'caughtUp'), 'caught up')
    await alice.client.devices()
    assert.equal(metrics.publishesIn, before)
  })

  it('warns a contact to whom the new device writes first', async () => {
    const third = await linkTo(people, alice)
    const from = bob.events.length
    await third.client.send(userOf(bob), 'from the third')
    await bob.until(() => bob.received.some(({ text }) => text === 'from the third'), 'it')
    const told = bob.events.slice(from).find(({ event }) => event === 'devicesChanged')?.value
    assert.deepEqual(told, { user: userOf(alice), added: [third.client.me()?.number], removed: [] })
    await bob.client.send(userOf(alice), 'to all three')
    await third.until(() => texts(third, userOf(bob)).includes('to all three'), 'it on the third')
    await alice.client.removeDevice(third.client.me()?.device ?? '')
  })

  it('removes the second, which hears of it and gets nothing any more', async () => {
    const device = laptop.client.me()?.device ?? ''
    await alice.client.removeDevice(device)
    await laptop.until(
      () =>
        laptop.events.some(
          ({ event, value }) =>
            event === 'revoked' || (event === 'offline' && (value as { reason: string }).reason === 'unauthorized'),
        ),
      'the end',
    )
    await bob.client.send(userOf(alice), 'only to the phone')
    await alice.until(() => texts(alice, userOf(bob)).includes('only to the phone'), 'it on the phone')
    assert.ok(!texts(laptop, userOf(bob)).includes('only to the phone'))
    assert.equal((await alice.client.devices()).length, 1)
  })

  it('resets the identity after a loss: contacts are warned, and nothing goes to the new one unapproved', async () => {
    const before = bob.client.safetyNumber(userOf(alice))?.digits
    await alice.client.resetIdentity()
    await alice.until(() => alice.events.filter(({ event }) => event === 'caughtUp').length >= 2, 'connected anew')
    await bob.client.send(userOf(alice), 'held until approved')
    await bob.until(() => saw(bob, 'identityChanged'), 'the warning')
    await bob.until(() => bob.client.waiting() === 1, 'nothing but that one waiting')
    await bob.reopen()
    const from = bob.events.length
    bob.client.connect()
    await bob.until(() => bob.events.slice(from).some(({ event }) => event === 'identityChanged'), 'it once more')
    await bob.until(() => bob.client.waiting() === 1, 'that one waiting still')
    assert.notEqual(bob.client.safetyNumber(userOf(alice))?.digits, before)
    await bob.client.approveIdentity(userOf(alice))
    await alice.until(() => texts(alice, userOf(bob)).includes('held until approved'), 'it after the approval')
    assert.equal(bob.client.safetyNumber(userOf(alice))?.digits, alice.client.safetyNumber(userOf(bob))?.digits)
  })

  it('says what comes first after the reset under a session of the new identity: nobody has to ask again', async () => {
    const from = bob.events.length
    await alice.client.resetIdentity()
    await alice.client.send(userOf(bob), 'as the new one')
    await bob.until(() => texts(bob, userOf(alice)).includes('as the new one'), 'it')
    assert.ok(!bob.events.slice(from).some(({ event }) => event === 'unreadable'))
  })
})

describe('a database that was put back from an older copy', () => {
  let people: People
  before(async () => {
    people = await startPeople()
  })
  after(() => people.stop())

  it('is found out before anything is sent, and both sides go on talking; each message is shown once', async () => {
    const alice = await people.person('alice')
    const bob = await people.person('bob')
    const talk = async (text: string) => {
      await alice.client.send(userOf(bob), `${text} from alice`)
      await bob.until(() => texts(bob, userOf(alice)).includes(`${text} from alice`), text)
      await bob.client.send(userOf(alice), `${text} from bob`)
      await alice.until(() => texts(alice, userOf(bob)).includes(`${text} from bob`), text)
    }
    await talk('first')
    await alice.client.close()
    const copy = alice.copy()
    alice.restore(alice.copy())
    alice.client.connect()
    await alice.until(() => alice.client.isOnline(), 'online')
    for (let i = 0; i < 5; i++) await talk(`lost ${i}`)
    await alice.client.close()
    alice.restore(copy)
    alice.client.connect()
    const isFound = () =>
      alice.events.some(({ event, value }) => event === 'fault' && (value as { code: string }).code === 'restored')
    await alice.until(isFound, 'the restored copy')
    await bob.client.send(userOf(alice), 'to the restored one')
    await alice.until(() => texts(alice, userOf(bob)).includes('to the restored one'), 'it')
    await talk('after')
    const seen = texts(bob, userOf(alice))
    assert.equal(new Set(seen).size, seen.length)
    assert.equal(texts(alice, userOf(bob)).filter((text) => text === 'after from bob').length, 1)
  })
})
