/** What once held up a client, or was lost on the way: each with what it needed to show. */
import assert from 'node:assert/strict'
import { forgetIfRestored } from '../../client/inbox/restored.ts'
import { encodeContent } from '../../topics/codec.ts'
import { limits } from '../../topics/limits.ts'
import { type Rogue, startRogue } from '../e2ee/rogue.ts'
import { type Party, type Scene, startScene } from '../e2ee/scene.ts'
import { linkTo, type People, type Person, startPeople, userOf } from './people.ts'

describe('two people whose client', () => {
  let people: People
  let alice: Person
  let bob: Person
  beforeEach(async () => {
    people = await startPeople()
    alice = await people.person('alice')
    bob = await people.person('bob')
    await alice.client.send(userOf(bob), 'hello')
    await bob.until(() => bob.received.length === 1, 'the first message')
    await bob.client.markRead(userOf(alice))
    await bob.client.send(userOf(alice), 'hello yourself')
    await alice.until(() => alice.received.length === 1, 'the answer')
    await alice.client.markRead(userOf(bob))
    await alice.until(() => alice.client.messages(userOf(bob))[0]?.status === 'read', 'blue ticks')
  })
  afterEach(() => people.stop())

  it('is linked see in the history what was read, on both sides of the conversation', async () => {
    const laptop = await linkTo(people, alice)
    await laptop.until(() => laptop.client.messages(userOf(bob)).length === 2, 'the history')
    assert.deepEqual(
      laptop.client.messages(userOf(bob)).map(({ status }) => status),
      ['read', 'read'],
    )
    assert.deepEqual(laptop.client.conversations(), [{ peer: userOf(bob), unread: 0 }])
  })

  it('is not the primary one are refused a reset before anything is ended, and stay connected', async () => {
    const laptop = await linkTo(people, alice)
    await laptop.until(() => laptop.client.isOnline(), 'online')
    await assert.rejects(laptop.client.resetIdentity(), { code: 'not_primary' })
    assert.equal(laptop.client.isOnline(), true)
  })

  it('was closed hear so from every call', async () => {
    await alice.client.close()
    for (const call of [
      () => alice.client.connect(),
      () => alice.client.messages(userOf(bob)),
      () => alice.client.conversations(),
      () => alice.client.waiting(),
    ]) {
      assert.throws(call, { code: 'closed' })
    }
    await assert.rejects(alice.client.send(bob.client.me()?.user ?? '', 'x'), { code: 'closed' })
  })
})

describe('a peer with contents of its own kind', () => {
  let scene: Scene
  let rogue: Rogue
  let alice: Party
  let bob: Party
  beforeEach(async () => {
    scene = await startScene()
    alice = await scene.person()
    bob = await scene.person()
    rogue = await startRogue(scene)
    await rogue.text(alice, 'hello')
    await alice.until(() => alice.client.messages(rogue.user).length === 1, 'its first message')
  })
  afterEach(async () => {
    rogue.stop()
    await scene.stop()
  })

  it('leaves a database that was put back to be found out again when the turn that found it out fails', async () => {
    const { context } = rogue
    const ahead = context.account.lastStamp + 1_000
    const find = (fails: boolean) =>
      context.store.turn((turn) => {
        const isRestored = forgetIfRestored(context, turn, ahead)
        if (fails) throw new Error('the disk is full')
        return isRestored
      })
    await assert.rejects(find(true), /full/)
    assert.equal(await find(false), true)
    assert.equal(await find(false), false)
  })

  it('whose content needs a later version leaves a line that says so', async () => {
    const content = rogue.content(alice, { needs: 2, post: { text: 'of tomorrow' } })
    await rogue.say(alice, content)
    await alice.until(() => alice.client.messages(rogue.user).length === 2, 'the line')
    const message = alice.client.messages(rogue.user).at(-1)
    assert.deepEqual([message?.text, message?.failure], ['', 'newer_content'])
  })

  it('cannot stop the outbox with a content that no history can carry', async () => {
    const around = encodeContent({
      id: new Uint8Array(16),
      conversation: new Uint8Array(16),
      post: { text: '' },
    }).length
    const text = 'y'.repeat(limits.contentBytesMax - around - 16)
    await rogue.say(alice, rogue.content(alice, { post: { text } }))
    await alice.until(() => alice.client.messages(rogue.user).length === 2, 'the long one')
    const laptop = await scene.second(alice)
    await alice.send(bob, 'goes on')
    await bob.until(() => bob.texts(alice).includes('goes on'), 'what is behind it')
    await alice.until(() => alice.client.waiting() === 0, 'nothing waiting')
    await laptop.until(() => laptop.texts(rogue.user).includes('hello'), 'the rest of the history')
  })
})
