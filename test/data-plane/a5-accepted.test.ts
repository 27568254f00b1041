import assert from 'node:assert/strict'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import type { World } from '../world/world.ts'
import {
  accepted,
  attend,
  commit,
  deliveredUpTo,
  deliveries,
  messages,
  nextStamp,
  outOf,
  pairRequest,
  receipts,
  receiveMessages,
  send,
  startScene,
  stopScenes,
} from './scene.ts'

const LINGER_RECORDS = 16
/** Receipts frames, each with its packet. */
const frames = (client: Client) => deliveries(client).filter(({ receipts: said }) => said !== undefined)

describe('A5: the sender learns seq and time', () => {
  let world: World
  let alice: TestDevice
  let bob: TestDevice
  let from: Client
  beforeEach(async () => {
    world = await startScene()
    alice = await world.person('alice')
    bob = await world.person('bob')
    from = await attend(world, alice)
  })
  afterEach(stopScenes)

  it('of a peer who is there in one frame with delivered, whose PUBACK acknowledges all of it', async () => {
    const to = await attend(world, bob)
    const stamp = await send(from, alice, [bob])
    const [message] = await receiveMessages(to, 1)
    await from.until(() => frames(from).length > 0, 'receipts')
    const [frame] = frames(from)
    assert.equal(frame?.packet.qos, 1)
    assert.deepEqual(
      frame?.receipts?.items.map(({ peer, accepted: pairs, delivered }) => [Buffer.from(peer ?? []), pairs, delivered]),
      [[Buffer.from(bob.user), [stamp, message?.seq], message?.seq]],
    )
    await from.ping()
    await commit(world)
    const { inbox } = world.server.opened.ports
    assert.deepEqual((await inbox.open('alice')).records, [])
    assert.deepEqual(await inbox.page('alice', 0, 0, 9), [])
    assert.equal(frames(from).length, 1)
  })

  it('of a peer who is away after the linger, without delivered', async () => {
    const begun = performance.now()
    const stamp = await send(from, alice, [bob])
    await from.until(() => accepted(from).has(stamp), 'accepted')
    assert.ok(performance.now() - begun >= 450, `${performance.now() - begun} ms`)
    assert.equal(deliveredUpTo(from), 0)
  })

  it('at once when 16 wait, in one frame', async () => {
    const carol = await world.person('carol')
    const other = await attend(world, carol)
    const arrived: string[] = []
    const note = (name: string, client: Client) =>
      client.until(() => accepted(client).size > 0, `accepted of ${name}`).then(() => arrived.push(name))
    const both = [note('one', other), note('sixteen', from)]
    await send(other, carol, [bob])
    for (let i = 0; i < LINGER_RECORDS; i++) from.post(outOf(alice), pairRequest([bob]))
    await Promise.all(both)
    // What was sent last is told first: it did not linger.
    assert.deepEqual(arrived, ['sixteen', 'one'])
    assert.equal(frames(from).length, 1)
    assert.equal(accepted(from).size, LINGER_RECORDS)
  })

  it('on a new connection too, from the records that wait, as long as it did not acknowledge them', async () => {
    from.destroy()
    const quiet = await attend(world, alice, { autoAck: false })
    const stamps = [await send(quiet, alice, [bob]), await send(quiet, alice, [bob])]
    await quiet.until(() => accepted(quiet).size === 2, 'accepted')
    quiet.destroy()
    for (const restarts of [false, true]) {
      if (restarts) await world.restart()
      const again = await attend(world, alice, { autoAck: false })
      await again.until(() => accepted(again).size === 2, 'accepted again')
      assert.deepEqual([...accepted(again)], [...accepted(quiet)])
      assert.deepEqual([...accepted(again).keys()], stamps)
      again.destroy()
    }
    const last = await attend(world, alice)
    await last.until(() => accepted(last).size === 2, 'accepted')
    await last.ping()
    await commit(world)
    last.destroy()
    const done = await attend(world, alice)
    const stamp = await send(done, alice, [bob])
    await done.until(() => accepted(done).has(stamp), 'accepted')
    assert.deepEqual([...accepted(done).keys()], [stamp])
  })

  it('when it subscribes only after it has sent', async () => {
    const carol = await world.person('carol')
    const late = await world.connect(carol)
    const stamp = nextStamp()
    await late.publish(outOf(carol), pairRequest([bob], { stamp }))
    // The linger of this one begins later, so that of the other has ended.
    const later = await send(from, alice, [bob])
    await from.until(() => accepted(from).has(later), 'accepted')
    assert.deepEqual(late.received, [])
    await late.subscribe('d/carol/in')
    await late.until(() => accepted(late).has(stamp), 'accepted')
  })

  it('when its window was full while it lingered', async () => {
    await world.stop()
    world = await startScene({ env: { WINDOW_ROWS: '2' } })
    alice = await world.person('alice')
    bob = await world.person('bob')
    const to = await attend(world, bob)
    const quiet = await attend(world, alice, { autoAck: false })
    for (let i = 0; i < 2; i++) await send(to, bob, [alice])
    await receiveMessages(quiet, 2)
    const stamp = await send(quiet, alice, [bob])
    await to.until(() => accepted(to).size === 2, 'accepted')
    const later = await send(to, bob, [alice])
    await to.until(() => accepted(to).has(later), 'a later linger')
    assert.equal(accepted(quiet).size, 0)
    for (const { packet } of messages(quiet)) quiet.puback(packet.messageId as number)
    await quiet.until(() => accepted(quiet).has(stamp), 'accepted')
  })

  it("and the sender's other devices know from their own copy, without receipts", async () => {
    const desk = await world.sibling(alice, 'desk')
    const own = await attend(world, desk)
    const stamp = await send(from, alice, [bob], { own: [desk] })
    const [copy] = await receiveMessages(own, 1)
    await from.until(() => accepted(from).has(stamp), 'accepted')
    assert.equal(copy?.seq, accepted(from).get(stamp))
    assert.deepEqual(Buffer.from(copy?.peer ?? []), Buffer.from(bob.user))
    assert.equal(copy?.device, alice.number)
    assert.deepEqual(receipts(own), [])
  })
})
