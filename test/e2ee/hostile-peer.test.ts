import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { retryRequestOf } from '../../client/crypto/cipher.ts'
import { newContentId } from '../../client/outbox/outbox-rows.ts'
import {
  type Content,
  type Delivery,
  decodeDelivery,
  decodeSendRequest,
  encodeContent,
  encodeDelivery,
  type Fields,
  pad,
  SCOPE,
} from '../../topics/codec.ts'
import { pairConversation, parseUuid } from '../../topics/ids.ts'
import { makeKeys } from '../world/person.ts'
import { type Rogue, startRogue } from './rogue.ts'
import { type Party, type Scene, startScene } from './scene.ts'

const DAY_MS = 86_400_000
const bytesOf = (user: string): Uint8Array => parseUuid(user) as Uint8Array

describe('a hostile peer', () => {
  let scene: Scene
  let bob: Party
  let mallory: Rogue
  before(async () => {
    scene = await startScene()
  })
  after(() => scene.stop())
  beforeEach(async () => {
    bob = await scene.person()
    mallory = await startRogue(scene)
  })
  afterEach(async () => {
    scene.middle.behave()
    mallory.stop()
    await scene.end([bob])
  })

  const dropped = () => bob.told.fault.filter(({ code }) => code === 'undecryptable').length
  /** The next honest message gets through, and nothing else is shown. */
  async function honest(text: string, before: readonly string[] = []): Promise<void> {
    await mallory.text(bob, text)
    await bob.until(() => bob.texts(mallory.user).includes(text), text)
    await scene.quiet()
    assert.deepEqual(bob.texts(mallory.user), [...before, text])
    assert.equal(bob.client.conversations().length, 1)
  }

  it('sends a content that is malformed, has no name, or is of another conversation: dropped, and said', async () => {
    const carol = await scene.person()
    const id = newContentId(scene.now())
    const other = pairConversation(bytesOf(carol.user), bytesOf(bob.user))
    const own = pairConversation(bytesOf(mallory.user), bytesOf(bob.user))
    const wrong: Uint8Array[] = [
      pad(Uint8Array.from([0xff, 0xff, 0xff])),
      pad(randomBytes(300)),
      new Uint8Array(159),
      new Uint8Array(0),
      Buffer.from('not padded at all'),
      pad(new Uint8Array(0)),
      pad(encodeContent({ conversation: own, post: { text: 'no name' } })),
      pad(encodeContent({ id: id.subarray(0, 9), conversation: own, post: { text: 'a short name' } })),
      pad(encodeContent({ id, post: { text: 'no conversation' } })),
      pad(encodeContent({ id, conversation: other, post: { text: 'of another conversation' } })),
      pad(encodeContent({ id, conversation: own.subarray(1), post: { text: 'half a conversation' } })),
    ]
    for (const padded of wrong) {
      const { field, bytes } = await mallory.encrypt(bob, padded)
      await mallory.post(bob, { [field]: bytes })
    }
    await bob.until(() => dropped() === wrong.length, 'what was dropped')
    assert.deepEqual(bob.client.conversations(), [])
    assert.equal(bob.told.unreadable.length, 0)
    await honest('now an honest one')
    await scene.end([carol])
  })

  it("sends what only one's own devices may say: it has no effect", async () => {
    const carol = await scene.person()
    const between = pairConversation(bytesOf(carol.user), bytesOf(bob.user))
    const forged = encodeContent({
      id: newContentId(scene.now()),
      conversation: between,
      post: { text: 'forged history' },
    })
    const message = {
      content: forged,
      peer: bytesOf(carol.user),
      author: bytesOf(carol.user),
      seq: 5,
      sentMs: 5,
      status: 1,
    }
    const contents: Fields<Content>[] = [
      { historyPiece: { index: 0, count: 1, messages: [message] } },
      { devicesChanged: { added: [7], removed: [1] } },
      { syncRead: { conversation: between, upTo: 2 ** 50, readMs: 1 } },
      { heal: {} },
    ]
    for (const fields of contents) await mallory.say(bob, mallory.content(bob, fields))
    await honest('after them')
    assert.deepEqual(bob.texts(carol), [])
    assert.equal(bob.told.devicesChanged.length, 0)
    await scene.end([carol])
  })

  it('repeats a name, and says times of the future: shown once, and not beyond a day from now', async () => {
    const id = newContentId(scene.now() + 1_000 * DAY_MS)
    await mallory.say(bob, mallory.content(bob, { post: { text: 'from the future' } }, id))
    await mallory.say(bob, mallory.content(bob, { post: { text: 'under the same name' } }, id))
    await honest('the next', ['from the future'])
    const [first] = bob.client.messages(mallory.user)
    assert.ok((first?.sentMs ?? 0) <= scene.now() + DAY_MS)
  })

  it('claims to send again what was never asked for: it stands where it came', async () => {
    await mallory.text(bob, 'one')
    await mallory.text(bob, 'two')
    await bob.until(() => bob.texts(mallory.user).length === 2, 'two')
    const [one] = bob.client.messages(mallory.user)
    await mallory.say(bob, mallory.content(bob, { post: { text: 'in between?' }, resendOf: (one?.seq ?? 0) + 1 }))
    await honest('last', ['one', 'two', 'in between?'])
  })

  it('repeats and malleates a first message: shown once', async () => {
    const { field, bytes } = await mallory.encrypt(bob, pad(mallory.content(bob, { post: { text: 'first' } })))
    assert.equal(field, 'prekey')
    for (let i = 0; i < 3; i++) await mallory.post(bob, { prekey: bytes })
    for (let at = 5; at < bytes.length; at += 61) {
      const other = Uint8Array.from(bytes)
      other[at] = (other[at] as number) ^ 4
      await mallory.post(bob, { prekey: other })
    }
    await honest('second', ['first'])
  })

  it('jumps 25,001 messages ahead: bounded time, refused, and a new session works', async function () {
    this.timeout(60_000)
    await honest('before')
    await bob.send(mallory.user, 'answered')
    await mallory.client.until(() => mallory.received().some(({ kind }) => kind === 'whisper'), 'the answer')
    const answer = mallory.received().find(({ kind }) => kind === 'whisper')
    const { context } = mallory
    const whisper = answer?.whisper as Uint8Array
    await context.store.turn(() => context.cipher.decrypt(bob.user, 1, { field: 'whisper', bytes: whisper }))
    const padded = pad(mallory.content(bob, { post: { text: 'far ahead' } }))
    let last: Uint8Array = padded
    await context.store.turn(async () => {
      for (let i = 0; i < 25_002; i++) last = (await context.cipher.encrypt(bob.user, 1, padded)).bytes
    })
    const startedMs = performance.now()
    await mallory.post(bob, { whisper: last })
    await bob.until(() => bob.told.unreadable.length === 1, 'the refusal')
    assert.ok(performance.now() - startedMs < 2_000)
    await context.store.turn(() => context.cipher.sessions.set(bob.user, 1, null))
    await mallory.text(bob, 'on a new session')
    await bob.until(() => bob.texts(mallory.user).includes('on a new session'), 'it')
    assert.ok(!bob.texts(mallory.user).includes('far ahead'))
  })

  it('begins 45 sessions: the last one works, and so does the answer', async () => {
    const { context } = mallory
    for (let i = 0; i < 45; i++) {
      scene.pass(11 * 60_000)
      await context.store.turn(() => context.cipher.sessions.set(bob.user, 1, null))
      await mallory.text(bob, `session ${i}`)
    }
    await bob.until(() => bob.texts(mallory.user).length === 45, 'all')
    await bob.send(mallory.user, 'answered')
    await mallory.client.until(() => mallory.received().some(({ kind }) => kind === 'whisper'), 'the answer')
  })

  it('sends bodies that are no messages, and plaintext that is no request: nothing is shown', async () => {
    await honest('before')
    const all = [new Uint8Array(1), Buffer.from('garbage'), randomBytes(200), randomBytes(60_000)]
    for (const field of ['prekey', 'whisper', 'plaintext'] as const) {
      for (const bytes of all) await mallory.post(bob, { [field]: bytes })
    }
    await honest('after', ['before'])
  })

  it('sends a content of the longest length, and padding of the longest: read or dropped, and it goes on', async () => {
    const long = 'x'.repeat(90 * 1024)
    await mallory.say(bob, mallory.content(bob, { post: { text: long } }))
    const padded = new Uint8Array(96 * 1024)
    padded.set(pad(mallory.content(bob, { post: { text: 'much padding' } })))
    const { field, bytes } = await mallory.encrypt(bob, padded)
    await mallory.post(bob, { [field]: bytes })
    await mallory.text(bob, 'after')
    await bob.until(() => bob.texts(mallory.user).includes('after'), 'after')
  })

  it('shows the code of another pair, of a wrong length, garbage, or its own: never verified', async () => {
    const carol = await scene.person()
    await honest('hello')
    await carol.send(bob, 'hello')
    await bob.until(() => bob.texts(carol).length === 1, 'carol')
    await bob.send(carol, 'hello')
    await carol.until(() => carol.texts(bob).includes('hello'), 'bob')
    const { client } = bob
    const right = carol.client.safetyNumber(bob.user)?.qr as Uint8Array
    assert.equal(client.compareSafetyNumber(carol.user, right), true)
    assert.equal(client.compareSafetyNumber(mallory.user, right), false)
    assert.equal(client.compareSafetyNumber(carol.user, client.safetyNumber(carol.user)?.qr as Uint8Array), false)
    assert.equal(client.compareSafetyNumber(carol.user, client.safetyNumber(mallory.user)?.qr as Uint8Array), false)
    for (const wrong of [new Uint8Array(0), right.subarray(1), randomBytes(70), randomBytes(5_000)]) {
      assert.equal(client.compareSafetyNumber(carol.user, wrong), false)
    }
    for (let at = 0; at < right.length; at++) {
      const other = Uint8Array.from(right)
      other[at] = (other[at] as number) ^ 1
      assert.equal(client.compareSafetyNumber(carol.user, other), false, `byte ${at}`)
    }
    await scene.end([carol])
  })
})

describe('a request to send again', () => {
  let scene: Scene
  let alice: Party
  let bob: Party
  before(async () => {
    scene = await startScene()
  })
  after(() => scene.stop())
  beforeEach(async () => {
    alice = await scene.person()
    bob = await scene.person()
  })
  afterEach(async () => {
    scene.middle.behave()
    await scene.end([alice, bob])
  })

  const inject = (to: Party, delivery: Fields<Delivery>) =>
    scene.middle.linkOf(to.device)?.toClient(encodeDelivery(delivery))
  /** Sends a text, and makes what asks for it again. */
  async function sent(text: string): Promise<{ readonly request: Uint8Array; readonly seq: number }> {
    let request: Uint8Array | undefined
    let seq = 0
    scene.middle.down = ({ payload }, { device }) => {
      const delivery = decodeDelivery(payload)
      if (delivery.fault || device !== bob.device) return undefined
      const field = delivery.prekey === undefined ? 'whisper' : 'prekey'
      const body = delivery[field]
      if (body === undefined) return undefined
      request = retryRequestOf({ field, bytes: body }, delivery.seq, 1)
      seq = delivery.seq
      return undefined
    }
    await alice.send(bob, text)
    await bob.until(() => bob.texts(alice).includes(text), text)
    // Nothing is sent again before its seq is known.
    await alice.until(() => (alice.client.messages(bob.user).at(-1)?.seq ?? 0) > 0, 'its seq')
    scene.middle.down = undefined
    return { request: request as Uint8Array, seq }
  }
  /** Stamps of what alice sends to one device alone. */
  function watchResends(): Set<number> {
    const resends = new Set<number>()
    scene.middle.up = ({ payload }, { device }) => {
      const request = decodeSendRequest(payload, 0, payload.length)
      if (device !== alice.device || request.fault) return undefined
      if (request.pair?.scope === SCOPE.partial) resends.add(request.stamp)
      return undefined
    }
    return resends
  }

  it('comes in a flood: answered five times at most, shown once, and talking goes on', async () => {
    const { request, seq } = await sent('asked for again and again')
    const resends = watchResends()
    for (let i = 1; i <= 60; i++) {
      inject(alice, { plaintext: request, peer: bytesOf(bob.user), device: 1, seq: seq + i })
    }
    await alice.until(() => resends.size > 0, 'an answer')
    scene.pass(3_600_000)
    await alice.reconnect()
    await scene.quiet()
    assert.ok(resends.size <= 5, `${resends.size} answers`)
    await alice.send(bob, 'and on')
    await bob.until(() => bob.texts(alice).includes('and on'), 'the next')
    assert.deepEqual(bob.texts(alice), ['asked for again and again', 'and on'])
  })

  it('comes from a device that it never went to, or from another user: not answered', async () => {
    const carol = await scene.person()
    await alice.send(carol, 'hello carol')
    await carol.until(() => carol.texts(alice).length === 1, 'hello')
    const { request, seq } = await sent('for bob alone')
    const resends = watchResends()
    inject(alice, { plaintext: request, peer: bytesOf(bob.user), device: 2, seq: seq + 1 })
    inject(alice, { plaintext: request, peer: bytesOf(bob.user), device: 3, own: true, seq: seq + 2 })
    await scene.quiet()
    assert.equal(resends.size, 0)
    // There is a session with carol: it is healed, and nothing of bob's is in that.
    inject(alice, { plaintext: request, peer: bytesOf(carol.user), device: 1, seq: seq + 3 })
    await scene.quiet()
    await alice.send(carol, 'hello again')
    await carol.until(() => carol.texts(alice).length === 2, 'the next')
    assert.deepEqual(carol.texts(alice), ['hello carol', 'hello again'])
    assert.deepEqual(carol.texts(bob), [])
    await scene.end([carol])
  })

  for (const isEarly of [false, true]) {
    it(`is not answered after an identity change${isEarly ? ' that is found while answering' : ''}`, async () => {
      const phone = scene.newPhone()
      const victim = await scene.enrol(phone)
      await victim.online()
      const { request, seq } = await sentTo(victim, 'for the identity before')
      await victim.client.close()
      scene.pass(3_600_000)
      const thief = await scene.enrol(phone)
      await thief.online()
      assert.equal(thief.user, victim.user)
      const number = thief.client.me()?.number ?? 0
      const ask = () => {
        for (const device of new Set([1, number])) {
          inject(alice, { plaintext: request, peer: bytesOf(thief.user), device, seq: seq + 10 + device })
        }
      }
      if (isEarly) ask()
      else await alice.send(thief, 'to whoever it is')
      if (isEarly) await scene.quiet()
      await alice.send(thief, 'held until approved')
      await alice.until(() => alice.told.identityChanged.length > 0, 'the warning')
      assert.deepEqual(thief.texts(alice), [])
      if (!isEarly) ask()
      await alice.client.approveIdentity(thief.user)
      await thief.until(() => thief.texts(alice).includes('held until approved'), 'what was approved')
      ask()
      await scene.quiet()
      await alice.send(thief, 'and on')
      await thief.until(() => thief.texts(alice).includes('and on'), 'the next')
      assert.ok(!thief.texts(alice).includes('for the identity before'), thief.texts(alice).join())
      await scene.end([victim, thief])
    })
  }

  it('is not answered to a swapped identity, also when that was approved meanwhile', async () => {
    const { request, seq } = await sent('for the true bob')
    const { body } = makeKeys()
    const { signedPrekey, lastResortPrekey: kemPrekey } = body.keys
    const devices = [{ number: 1, registrationId: body.registrationId, signedPrekey, kemPrekey }]
    scene.middle.answer = ({ path }) => {
      if (!path.startsWith(`/v1/keys/${bob.user}`)) return undefined
      return { status: 200, body: { user: bob.user, identityKey: body.identityKey, devices } }
    }
    inject(alice, { plaintext: request, peer: bytesOf(bob.user), device: 1, seq: seq + 1 })
    await alice.until(() => alice.told.identityChanged.length > 0, 'the warning')
    const resends = watchResends()
    await alice.client.approveIdentity(bob.user)
    await alice.until(() => alice.client.waiting() === 0, 'the end of the request')
    await scene.quiet()
    assert.equal(resends.size, 0)
    scene.middle.behave()
    await bob.send(alice, 'it is me')
    await alice.until(() => alice.told.identityChanged.length > 1, 'the next warning')
    await alice.client.approveIdentity(bob.user)
    await alice.send(bob, 'and on')
    await bob.until(() => bob.texts(alice).includes('and on'), 'the next')
  })

  async function sentTo(to: Party, text: string) {
    const before = bob
    bob = to
    try {
      return await sent(text)
    } finally {
      bob = before
    }
  }
})

describe('two who begin at once', () => {
  let scene: Scene
  before(async () => {
    scene = await startScene()
  })
  after(() => scene.stop())

  it('read both first messages, and go on', async () => {
    const alice = await scene.person()
    const bob = await scene.person()
    const held: (() => void)[] = []
    scene.middle.down = ({ payload, messageId }, link) => {
      const delivery = decodeDelivery(payload)
      if (delivery.fault || delivery.prekey === undefined) return undefined
      held.push(() => link.toClient(payload, messageId))
      return 'drop'
    }
    await Promise.all([alice.send(bob, 'from alice'), bob.send(alice, 'from bob')])
    await alice.until(() => held.length === 2, 'both first messages')
    scene.middle.down = undefined
    for (const letGo of held) letGo()
    for (let i = 0; i < 5; i++) {
      await alice.send(bob, `alice ${i}`)
      await bob.send(alice, `bob ${i}`)
      await bob.until(() => bob.texts(alice).includes(`alice ${i}`), `alice ${i}`)
      await alice.until(() => alice.texts(bob).includes(`bob ${i}`), `bob ${i}`)
    }
    await alice.until(() => alice.client.messages(bob.user).every(({ seq }) => seq > 0), 'seqs')
    await bob.until(() => bob.client.messages(alice.user).every(({ seq }) => seq > 0), 'seqs')
    assert.equal(alice.texts(bob).length, 12)
    assert.deepEqual(alice.texts(bob), bob.texts(alice))
    assert.equal(alice.told.unreadable.length + bob.told.unreadable.length, 0)
    await scene.end([alice, bob])
  })
})
