import assert from 'node:assert/strict'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type Delivery, decodeDelivery, decodeSendRequest, encodeDelivery, type Fields } from '../../topics/codec.ts'
import { errorOf } from '../../topics/errors.ts'
import { parseUuid } from '../../topics/ids.ts'
import { call, makeKeys } from '../world/person.ts'
import type { Answered, Link, Published } from './hostile.ts'
import { type Party, type Scene, startScene } from './scene.ts'

interface Bundle {
  number: number
  registrationId: number
  signedPrekey: { id: number; key: string; signature: string }
  oneTimePrekey?: { id: number; key: string } | undefined
  kemPrekey: { id: number; key: string; signature: string }
}
type Keys = { user: string; identityKey: string; devices: Bundle[] }

const WAITS_MS = 60_000
const flipped = (text: string): string => {
  const bytes = Buffer.from(text, 'base64url')
  bytes[10] = (bytes[10] as number) ^ 1
  return bytes.toString('base64url')
}
const requestOf = (payload: Uint8Array) => decodeSendRequest(payload, 0, payload.length)

/** The keys of a device that nobody knows, as a bundle. */
function ghost(number: number): { identityKey: string; bundle: Bundle } {
  const { body } = makeKeys()
  const { signedPrekey, lastResortPrekey, oneTimePrekeys } = body.keys
  const [oneTimePrekey] = oneTimePrekeys
  const bundle = {
    number,
    registrationId: body.registrationId,
    signedPrekey,
    kemPrekey: lastResortPrekey,
    oneTimePrekey,
  }
  return { identityKey: body.identityKey, bundle }
}

describe('a hostile server', () => {
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

  /** Answers that carry somebody's keys become what `change` makes of them. */
  function changeKeys(of: Party, change: (keys: Keys, first: Bundle) => unknown): void {
    scene.middle.answer = ({ method, path }, answered): Answered | undefined => {
      if (method !== 'GET' || !path.startsWith(`/v1/keys/${of.user}`) || answered.status !== 200) return undefined
      const keys = structuredClone(answered.body) as unknown as Keys
      change(keys, keys.devices[0] as Bundle)
      return { status: 200, body: keys as unknown as Record<string, unknown> }
    }
  }
  /** Requests of alice with a body that reached the server, from now on. */
  function countSent(): { count: number } {
    const sent = { count: 0 }
    scene.middle.up = ({ payload }, { device }) => {
      const request = requestOf(payload)
      if (device === alice.device && !request.fault && request.stamp > 0) sent.count++
      return undefined
    }
    return sent
  }
  const codes = (party: Party) => party.told.fault.map(({ code }) => code)

  /** Holds the deliveries with a body for a party back; gives them as they come. */
  function holdFor(
    party: Party,
  ): { readonly link: Link; readonly published: Published; readonly delivery: Delivery }[] {
    const held: { link: Link; published: Published; delivery: Delivery }[] = []
    scene.middle.down = (published, link) => {
      const delivery = decodeDelivery(published.payload)
      if (link.device !== party.device || delivery.fault) return undefined
      if (delivery.whisper === undefined && delivery.prekey === undefined) return undefined
      held.push({ link, published, delivery })
      return 'drop'
    }
    return held
  }
  const inject = (to: Party, delivery: Fields<Delivery>) =>
    scene.middle.linkOf(to.device)?.toClient(encodeDelivery(delivery))

  /** What was kept waiting goes out once the server is honest again. */
  async function honest(text: string): Promise<void> {
    scene.middle.behave()
    scene.pass(WAITS_MS)
    await alice.reconnect()
    await bob.until(() => bob.texts(alice).includes(text), `"${text}" once the server is honest`)
    await scene.quiet()
    assert.equal(bob.texts(alice).filter((each) => each === text).length, 1)
  }
  async function talk(text: string): Promise<void> {
    await alice.send(bob, text)
    await bob.until(() => bob.texts(alice).includes(text), text)
    await bob.send(alice, `${text}, answered`)
    await alice.until(() => alice.texts(bob).includes(`${text}, answered`), `the answer to ${text}`)
  }

  /** What is wrong, and how the answer and its first device become so. */
  const falseKeys: [string, (keys: Keys, first: Bundle) => unknown][] = [
    [
      'a signed prekey with a wrong signature',
      (_keys, { signedPrekey }) => Object.assign(signedPrekey, { signature: flipped(signedPrekey.signature) }),
    ],
    [
      'a KEM prekey with a wrong signature',
      (_keys, { kemPrekey }) => Object.assign(kemPrekey, { signature: flipped(kemPrekey.signature) }),
    ],
    [
      'another signed prekey under the signature',
      (_keys, { signedPrekey }) => Object.assign(signedPrekey, { key: ghost(1).bundle.signedPrekey.key }),
    ],
    ['a ghost device beside the true one', ({ devices }) => devices.push(ghost(9).bundle)],
    ['a ghost device in place of the true one', (keys) => Object.assign(keys, { devices: [ghost(1).bundle] })],
  ]
  for (const [what, change] of falseKeys) {
    it(`gives ${what}: nothing is sent, and it is said`, async () => {
      const sent = countSent()
      changeKeys(bob, change)
      await alice.send(bob, 'only for bob')
      await alice.until(() => codes(alice).includes('bad_answer'), 'the fault')
      await scene.quiet()
      assert.equal(sent.count, 0)
      assert.equal(alice.client.waiting(), 1)
      await honest('only for bob')
    })
  }

  it('puts a device of somebody else into a bundle: nothing is sent', async () => {
    const carol = await scene.person()
    const sent = countSent()
    const token = scene.middle.tokens.get(bob.device) ?? ''
    const { body } = await call(scene.node.url, 'GET', `/v1/keys/${carol.user}`, { token })
    const [foreign] = (body as unknown as Keys).devices
    changeKeys(bob, ({ devices }) => devices.push({ ...(foreign as Bundle), number: 2 }))
    await alice.send(bob, 'not for carol')
    await alice.until(() => codes(alice).includes('bad_answer'), 'the fault')
    await scene.quiet()
    assert.equal(sent.count, 0)
    await honest('not for carol')
    await scene.end([carol])
  })

  it("gives one a ghost device of one's own: nothing is encrypted for it, and it is said", async () => {
    const sent = countSent()
    scene.middle.answer = ({ method, path }, { status, body }) => {
      if (path === '/v1/devices' && body !== undefined) {
        const [first] = body['devices'] as Record<string, unknown>[]
        return {
          status,
          body: {
            devices: [first, { ...first, device: 'ghostghost99', number: 9, isPrimary: false, isCurrent: false }],
          },
        }
      }
      if (method !== 'GET' || !path.startsWith(`/v1/keys/${alice.user}`)) return undefined
      const { bundle } = ghost(9)
      return { status: 200, body: { user: alice.user, identityKey: ghost(9).identityKey, devices: [bundle] } }
    }
    await alice.reconnect()
    await alice.send(bob, 'no copy for a ghost')
    await alice.until(() => codes(alice).includes('bad_answer'), 'the fault')
    await scene.quiet()
    assert.equal(sent.count, 0)
    await honest('no copy for a ghost')
  })

  it('swaps the identity at first contact: the safety numbers tell', async () => {
    const { identityKey, bundle } = ghost(1)
    changeKeys(bob, (keys) => Object.assign(keys, { identityKey, devices: [bundle] }))
    await alice.send(bob, 'to whom?')
    await alice.until(() => alice.client.safetyNumber(bob.user) !== undefined, 'an identity')
    const seenByAlice = alice.client.safetyNumber(bob.user)?.digits
    scene.middle.behave()
    await bob.send(alice, 'hello')
    await bob.until(() => bob.client.safetyNumber(alice.user) !== undefined, 'an identity')
    assert.notEqual(seenByAlice, bob.client.safetyNumber(alice.user)?.digits)
    await scene.quiet()
    assert.deepEqual(bob.texts(alice), ['hello'])
  })

  it('swaps the identity of somebody who is known: it is told, nothing is sent until it is approved', async () => {
    await talk('known')
    const { identityKey, bundle } = ghost(1)
    changeKeys(bob, (keys) => Object.assign(keys, { identityKey, devices: [bundle] }))
    // Calls the session stale, so that the bundle is fetched anew.
    let stamp = 0
    scene.middle.up = ({ payload }, { device }) => {
      const request = requestOf(payload)
      if (device !== alice.device || request.fault) return undefined
      stamp = request.stamp
      const { number: code } = errorOf('devices_stale')
      setImmediate(() => inject(alice, { error: { stamp, code, retry: 2, stale: [{ device: 1, registrationId: 7 }] } }))
      return 'drop'
    }
    await alice.send(bob, 'for the true bob')
    await alice.until(() => alice.told.identityChanged.length > 0, 'the warning')
    const sent = countSent()
    await scene.quiet()
    assert.equal(sent.count, 0)
    assert.equal(alice.client.waiting(), 1)
    scene.middle.behave()
    // The true key is another one than the false one: it has to be approved as well.
    await alice.client.approveIdentity(bob.user)
    await alice.until(() => alice.told.identityChanged.length > 1, 'the second warning')
    await alice.client.approveIdentity(bob.user)
    await honest('for the true bob')
  })

  it('swaps a one-time key, or gives it twice: what cannot be read is asked for, and shown once', async () => {
    changeKeys(bob, (_keys, { oneTimePrekey }) =>
      Object.assign(oneTimePrekey ?? {}, { key: ghost(1).bundle.oneTimePrekey?.key }),
    )
    await alice.send(bob, 'under a swapped key')
    await bob.until(() => bob.told.unreadable.length === 1, 'the message that cannot be read')
    assert.deepEqual(bob.texts(alice), [])
    scene.middle.behave()
    await bob.until(() => bob.texts(alice).length === 1, 'the message, sent again')
    const carol = await scene.person()
    const dave = await scene.person()
    let first: Record<string, unknown> | undefined
    scene.middle.answer = ({ method, path }, { status, body }) => {
      if (method !== 'GET' || !path.startsWith(`/v1/keys/${bob.user}`)) return undefined
      first ??= body
      return { status, body: first }
    }
    await carol.send(bob, 'from carol')
    await bob.until(() => bob.texts(carol).length === 1, 'the first user of the key')
    await dave.send(bob, 'from dave')
    await bob.until(() => bob.told.unreadable.length === 2, 'the second user of the key')
    scene.middle.behave()
    await bob.until(() => bob.texts(dave).length === 1, 'the second, sent again')
    assert.deepEqual(
      [bob.texts(alice), bob.texts(carol), bob.texts(dave)],
      [['under a swapped key'], ['from carol'], ['from dave']],
    )
    await scene.end([carol, dave])
  })

  it('withholds one-time keys, or they are used up: it works on the last-resort key', async () => {
    const token = scene.middle.tokens.get(bob.device) ?? ''
    const body = { oneTimePrekeys: [], oneTimeKemPrekeys: [] }
    // What he does at his first connection is over: he would fill up again.
    await bob.client.devices()
    await scene.quiet()
    assert.equal((await call(scene.node.url, 'PUT', '/v1/keys', { token, body })).status, 204)
    await talk('on the last resort')
    changeKeys(alice, (_keys, first) => Reflect.deleteProperty(first, 'oneTimePrekey'))
    const carol = await scene.person()
    await carol.send(alice, 'without a one-time key')
    await alice.until(() => alice.texts(carol).length === 1, 'the message')
    await scene.end([carol])
    // The owner finds out at its next connection, and fills up.
    const count = async () => (await call(scene.node.url, 'GET', '/v1/keys/count', { token })).body
    await bob.reconnect()
    for (let tries = 0; tries < 200 && Number((await count())['ec']) < 20; tries++) await scene.quiet()
    assert.deepEqual(await count(), { ec: 100, kem: 100 })
  })

  it('relabels the sender, its device or the recipient: refused, and the genuine copy still opens', async () => {
    const carol = await scene.person()
    for (const [i, text] of ['first', 'second'].entries()) {
      const held = holdFor(bob)
      await alice.send(bob, text)
      await bob.until(() => held.length === 1, 'the delivery')
      const { link, published, delivery } = held[0] as (typeof held)[0]
      scene.middle.down = undefined
      const before = bob.told.unreadable.length
      inject(carol, delivery)
      inject(bob, { ...delivery, peer: parseUuid(carol.user) })
      inject(bob, { ...delivery, device: 2 })
      inject(bob, { ...delivery, own: true, device: 3, seq: delivery.seq + 1 })
      await bob.until(() => bob.told.unreadable.length >= before + 2, 'those that cannot be read')
      await carol.until(() => carol.told.unreadable.length > i, 'the one at the wrong device')
      link.toClient(published.payload, published.messageId)
      await bob.until(() => bob.texts(alice).includes(text), 'the genuine copy')
      // The next one is no first message.
      await bob.send(alice, `answer ${i}`)
      await alice.until(() => alice.texts(bob).includes(`answer ${i}`), 'the answer')
    }
    await scene.quiet()
    assert.deepEqual(
      bob.texts(alice).filter((text) => !text.startsWith('answer')),
      ['first', 'second'],
    )
    assert.deepEqual(carol.texts(alice), [])
    assert.deepEqual(bob.texts(carol), [])
    await scene.end([carol])
  })

  it('repeats old messages, also under another seq: each is shown once', async () => {
    const seen: Delivery[] = []
    scene.middle.down = (published, { device }) => {
      const delivery = decodeDelivery(published.payload)
      const hasBody = !delivery.fault && (delivery.prekey ?? delivery.whisper) !== undefined
      if (device === bob.device && hasBody) seen.push(decodeDelivery(Uint8Array.from(published.payload)) as Delivery)
      return undefined
    }
    await talk('one')
    await talk('two')
    scene.middle.down = undefined
    assert.ok(seen.some(({ kind }) => kind === 'prekey') && seen.some(({ kind }) => kind === 'whisper'))
    for (const delivery of seen) {
      inject(bob, delivery)
      inject(bob, { ...delivery, seq: delivery.seq + 1 })
    }
    await bob.until(() => bob.told.unreadable.length >= seen.length, 'the repeats')
    assert.deepEqual(bob.texts(alice), ['one', 'one, answered', 'two', 'two, answered'])
    await talk('three')
    assert.equal(bob.texts(alice).length, 6)
  })

  it('repeats a first message on the last-resort key after the state was lost: its base key is known', async () => {
    const token = scene.middle.tokens.get(bob.device) ?? ''
    const none = { oneTimePrekeys: [], oneTimeKemPrekeys: [] }
    assert.equal((await call(scene.node.url, 'PUT', '/v1/keys', { token, body: none })).status, 204)
    const held = holdFor(bob)
    await alice.send(bob, 'on the last resort')
    await bob.until(() => held.length === 1, 'the delivery')
    const { link, published, delivery } = held[0] as (typeof held)[0]
    const again = {
      ...delivery,
      prekey: Uint8Array.from(delivery.prekey ?? []),
      peer: Uint8Array.from(delivery.peer ?? []),
    }
    scene.middle.down = undefined
    link.toClient(published.payload, published.messageId)
    await bob.until(() => bob.texts(alice).length === 1, 'the message')
    await bob.client.close()
    const db = new DatabaseSync(join(bob.folder, 'client.db'))
    db.exec('DELETE FROM sessions')
    db.close()
    bob.crash()
    await bob.online()
    inject(bob, { ...again, seq: again.seq + 1 })
    await bob.until(() => bob.told.unreadable.length === 1, 'the refusal')
    assert.deepEqual(bob.texts(alice), ['on the last resort'])
    await talk('after it')
  })

  it('truncates and flips bytes: no wrong text, no end, and the genuine copy still opens', async () => {
    for (const text of ['a first message', 'a later message']) {
      const held = holdFor(bob)
      await alice.send(bob, text)
      await bob.until(() => held.length === 1, 'the delivery')
      const { link, published, delivery } = held[0] as (typeof held)[0]
      scene.middle.down = undefined
      const field = delivery.prekey === undefined ? 'whisper' : 'prekey'
      const body = delivery[field] as Uint8Array
      for (let at = 0; at < body.length; at += field === 'prekey' ? 23 : 3) {
        const wrong = Uint8Array.from(body)
        wrong[at] = (wrong[at] as number) ^ (1 << (at % 8))
        inject(bob, { ...delivery, [field]: wrong })
      }
      for (const length of [0, 1, 40, body.length - 1]) inject(bob, { ...delivery, [field]: body.subarray(0, length) })
      for (let at = 0; at < published.payload.length; at += 31) {
        const wrong = Uint8Array.from(published.payload)
        wrong[at] = (wrong[at] as number) ^ 0xff
        link.toClient(wrong)
      }
      link.toClient(published.payload, published.messageId)
      await bob.until(() => bob.texts(alice).includes(text), 'the genuine copy')
      await scene.quiet()
      const shown = bob.texts(alice).filter((each) => !each.startsWith('answer'))
      assert.equal(shown.filter((each) => each === text).length, 1)
      assert.ok(
        shown.every((each) => each.endsWith('message')),
        shown.join(),
      )
      assert.ok(bob.client.isOnline())
      await bob.send(alice, `answer to ${text}`)
      await alice.until(() => alice.texts(bob).includes(`answer to ${text}`), 'the answer')
    }
  })

  it('delivers in the reverse order, after a long delay: shown in the order of the conversation', async () => {
    await talk('before')
    const held = holdFor(bob)
    for (let i = 0; i < 40; i++) await alice.send(bob, `text ${i}`)
    await bob.until(() => held.length === 40, 'forty')
    scene.middle.down = undefined
    for (const { link, published } of held.reverse()) link.toClient(published.payload, published.messageId)
    await bob.until(() => bob.texts(alice).length === 42, 'all')
    assert.deepEqual(
      bob.texts(alice).slice(2),
      Array.from({ length: 40 }, (_, i) => `text ${i}`),
    )
    assert.equal(bob.told.unreadable.length, 0)
  })

  it('lies about a missing device: the signature stops it', async () => {
    await talk('before')
    const sent = countSent()
    const { identityKey } = await call(scene.node.url, 'GET', `/v1/keys/${bob.user}`, {
      token: scene.middle.tokens.get(bob.device) ?? '',
    }).then(({ body }) => body as unknown as Keys)
    scene.middle.answer = ({ path }) => {
      if (path !== `/v1/keys/${bob.user}/9`) return undefined
      return { status: 200, body: { user: bob.user, identityKey, devices: [ghost(9).bundle] } }
    }
    const { number: code } = errorOf('devices_stale')
    scene.middle.up = ({ payload }, { device }) => {
      const request = requestOf(payload)
      if (device !== alice.device || request.fault) return undefined
      sent.count++
      const { stamp } = request
      setImmediate(() =>
        inject(alice, { error: { stamp, code, retry: 2, missing: [{ device: 9, registrationId: 77 }] } }),
      )
      return 'drop'
    }
    await alice.send(bob, 'not for the ninth')
    await alice.until(() => codes(alice).includes('bad_answer'), 'the fault')
    await scene.quiet()
    // Once for the true device, before the lie.
    assert.equal(sent.count, 1)
    await alice.until(() => alice.told.devicesChanged.length > 0, 'the warning')
    await honest('not for the ninth')
  })

  it('calls the session stale for ever: after five rounds the message has failed, and the next one is sent', async () => {
    await talk('before')
    let rounds = 0
    const { number: code } = errorOf('devices_stale')
    const registrationId = 77
    scene.middle.up = ({ payload }, { device }) => {
      const request = requestOf(payload)
      if (device !== alice.device || request.fault || request.stamp === 0) return undefined
      rounds++
      scene.pass(3_600_000)
      const { stamp } = request
      setImmediate(() => inject(alice, { error: { stamp, code, retry: 2, stale: [{ device: 1, registrationId }] } }))
      return 'drop'
    }
    await alice.send(bob, 'stale')
    await alice.until(() => alice.client.messages(bob.user).at(-1)?.failure === 'refused', 'the end')
    assert.ok(rounds <= 7, `${rounds} rounds`)
    scene.middle.behave()
    scene.pass(WAITS_MS)
    await alice.reconnect()
    await talk('after')
  })

  it('says that the keys differ: the client uploads new ones', async () => {
    let uploads = 0
    scene.middle.answer = ({ method, path }) => {
      if (method === 'PUT' && path === '/v1/keys') uploads++
      if (path !== '/v1/keys/check' || uploads > 0) return undefined
      const { about } = errorOf('keys_differ')
      return {
        status: 409,
        body: {
          type: 'urn:heliograph:error:keys_differ',
          code: 'keys_differ',
          title: about,
          detail: about,
          status: 409,
        },
      }
    }
    await bob.reconnect()
    await bob.until(() => uploads > 0, 'the upload')
    scene.middle.behave()
    await talk('with the new keys')
  })
})
