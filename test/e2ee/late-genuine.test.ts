/** A false copy of a message that comes before the genuine one: nobody is asked again for what came after all. */
import assert from 'node:assert/strict'
import { decodeDelivery, decodeSendRequest, encodeDelivery } from '../../topics/codec.ts'
import { type Party, type Scene, startScene } from './scene.ts'

const DAY_MS = 86_400_000
/** Field of a body that asks for something again. */
const PLAINTEXT = 8

describe('a false copy of a message', () => {
  let scene: Scene
  let alice: Party
  let bob: Party
  /** Requests of Bob to send something again, as they leave him; one that is published twice counts once. */
  let asked: Set<string>

  beforeEach(async () => {
    scene = await startScene()
    alice = await scene.person()
    bob = await scene.person()
    await alice.send(bob, 'hello')
    await bob.until(() => bob.texts(alice).length === 1, 'the first message')
    await bob.send(alice, 'hello yourself')
    await alice.until(() => alice.texts(bob).length === 2, 'its answer')
    await scene.quiet()
    asked = new Set()
    scene.middle.up = ({ payload }, link) => {
      const request = decodeSendRequest(payload, 0, payload.length)
      const bodies = request.fault ? [] : (request.pair?.devices ?? [])
      if (link.device === bob.device && bodies.some(({ field }) => field === PLAINTEXT)) {
        asked.add(Buffer.from(payload).toString('hex'))
      }
      return undefined
    }
  })
  afterEach(() => scene.stop())

  const falseCopy = (payload: Uint8Array): Uint8Array => {
    const delivery = decodeDelivery(payload)
    assert.ok(!delivery.fault && delivery.whisper !== undefined)
    const whisper = Uint8Array.from(delivery.whisper)
    whisper[whisper.length - 1] = (whisper.at(-1) ?? 0) ^ 1
    return encodeDelivery({ ...delivery, whisper })
  }
  const isText = (payload: Uint8Array): boolean => {
    const delivery = decodeDelivery(payload)
    return !delivery.fault && delivery.whisper !== undefined
  }

  /** Alice says it and is gone: nobody answers Bob's request. Bob gets what `copies` makes of the message. */
  async function say(text: string, copies: (payload: Uint8Array) => Uint8Array[]): Promise<void> {
    await bob.reopen()
    await alice.send(bob, text)
    await alice.until(() => alice.client.waiting() === 0, 'stored')
    await alice.client.close()
    scene.middle.down = ({ payload }, link) => {
      if (link.device !== bob.device || !isText(payload)) return undefined
      scene.middle.down = undefined
      return copies(Uint8Array.from(payload))
    }
    await bob.online()
    await bob.until(() => bob.told.unreadable.length === 1, 'what cannot be read')
    await bob.until(() => asked.size === 1 && bob.client.waiting() === 0, 'the request for it')
  }

  /** Long after, at a new connection, when what is missing is asked for again. */
  async function later(): Promise<void> {
    scene.pass(DAY_MS)
    await bob.reconnect()
    // Behind everything that Bob does when he comes back.
    await bob.client.devices()
    await bob.client.setVerified(alice.user, false)
    await scene.quiet()
  }

  it('is asked for once; when the genuine one comes under the same seq, it is not asked for again', async () => {
    await say('genuine', (payload) => [falseCopy(payload), payload])
    await bob.until(() => bob.texts(alice).includes('genuine'), 'the genuine message')
    await later()
    assert.equal(asked.size, 1)
    assert.equal(bob.texts(alice).filter((text) => text === 'genuine').length, 1)
  })

  it('is asked for again when no genuine one came', async () => {
    await say('lost', (payload) => [falseCopy(payload)])
    await later()
    await bob.until(() => asked.size === 2, 'the second request')
    assert.ok(!bob.texts(alice).includes('lost'))
  })
})
