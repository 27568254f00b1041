/** A message that was accepted and could not be put into an inbox: the client that sent it says so, and goes on. */
import assert from 'node:assert/strict'
import { decodeSendRequest, encodeDelivery } from '../../topics/codec.ts'
import { errorOf } from '../../topics/errors.ts'
import { type Party, type Scene, startScene } from './scene.ts'

describe('a message that became a dead letter', () => {
  let scene: Scene
  let alice: Party
  let bob: Party
  before(async () => {
    scene = await startScene()
    alice = await scene.person()
    bob = await scene.person()
  })
  after(() => scene.stop())

  const told = (stamp: number): Uint8Array => {
    const { number: code, retry } = errorOf('dead_letter')
    return encodeDelivery({ error: { stamp, code, retry } })
  }
  const last = () => alice.client.messages(bob.user, { limit: 100 }).at(-1)

  it('has failed for its sender, accepted or not, and what follows is sent', async () => {
    let stamp = 0
    scene.middle.up = ({ payload }, { device }) => {
      const request = decodeSendRequest(payload, 0, payload.length)
      if (device === alice.device && !request.fault && request.stamp > 0) stamp = request.stamp
      return undefined
    }
    await alice.send(bob, 'lost')
    await alice.until(() => ['accepted', 'delivered'].includes(last()?.status ?? ''), 'it is accepted')
    const link = scene.middle.linkOf(alice.device)
    assert.ok(link && stamp > 0)
    link.toClient(told(stamp))
    await alice.until(() => last()?.status === 'failed', 'the failure')
    // What comes behind it changes nothing.
    link.toClient(told(stamp))
    await alice.send(bob, 'not lost')
    await bob.until(() => bob.texts(alice).includes('not lost'), 'what follows')
    const statuses = alice.client.messages(bob.user, { limit: 100 }).map(({ text, status }) => [text, status])
    assert.deepEqual(statuses[0], ['lost', 'failed'])
    assert.deepEqual(alice.told.fault, [])
  })

  it('of a stamp that is not known is passed over', async () => {
    scene.middle.linkOf(alice.device)?.toClient(told(12_345))
    await alice.send(bob, 'as ever')
    await bob.until(() => bob.texts(alice).includes('as ever'), 'the next one')
    assert.deepEqual(alice.told.fault, [])
  })
})
