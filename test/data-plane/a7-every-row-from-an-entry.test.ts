import assert from 'node:assert/strict'
import { ROW_MARK } from '../../core/row.ts'
import { encodeSendRequest } from '../../topics/codec.ts'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import type { World } from '../world/world.ts'
import {
  accepted,
  acknowledged,
  attend,
  caughtUp,
  commit,
  deliveredUpTo,
  deliveries,
  outOf,
  receipts,
  receiveMessages,
  send,
  startScene,
  stopScenes,
  storeFact,
  until,
} from './scene.ts'

describe('A7: every inbox row comes from an intake entry', () => {
  let world: World
  let alice: TestDevice
  let bob: TestDevice
  let from: Client
  let to: Client
  beforeEach(async () => {
    world = await startScene()
    alice = await world.person('alice')
    bob = await world.person('bob')
    from = await attend(world, alice)
    to = await attend(world, bob)
  })
  afterEach(stopScenes)

  const rowsOf = (device: TestDevice) => world.server.opened.ports.inbox.page(device.id, 0, 0, 100)

  it('delivered marks too: they wait in the inbox of a sender who went away, under a number of their own', async () => {
    from.destroy()
    const quiet = await attend(world, alice, { autoAck: false })
    await send(quiet, alice, [bob])
    quiet.destroy()
    const [message] = await receiveMessages(to, 1)
    await until(async () => (await rowsOf(alice)).length === 1, 'the entry of the mark')
    await commit(world)
    const rows = await rowsOf(alice)
    assert.deepEqual(
      rows.map(({ kind, peer }) => [kind, peer]),
      [[ROW_MARK, '']],
    )
    assert.ok((rows[0]?.seq ?? 0) > (message?.seq ?? 0))
    await world.restart()
    const back = await world.connect(alice)
    await back.until(() => deliveredUpTo(back) === message?.seq, 'delivered')
  })

  it('and acknowledging a mark makes no entry, so there is no loop', async () => {
    await send(from, alice, [bob])
    const [message] = await receiveMessages(to, 1)
    await from.until(() => deliveredUpTo(from) === message?.seq, 'delivered')
    const before = deliveredUpTo(from)
    await acknowledged(world, from)
    assert.deepEqual(await rowsOf(alice), [])
    // A later message of others lingers as long as an answer to that acknowledgement would.
    const carol = await world.person('carol')
    const other = await attend(world, carol)
    await send(other, carol, [alice])
    await receiveMessages(from, 1)
    await other.until(() => deliveredUpTo(other) > 0, 'delivered')
    const own = deliveries(from).filter(({ receipts: said }) => said !== undefined)
    assert.equal(own.length, 1)
    assert.ok(deliveredUpTo(other) > before)
  })

  it('marks of a conversation are merged while they linger: one entry for many messages', async () => {
    for (let i = 0; i < 10; i++) await send(from, alice, [bob])
    await receiveMessages(to, 10)
    await from.until(() => accepted(from).size === 10 && deliveredUpTo(from) > 0, 'receipts')
    const last = deliveries(to).at(-1)?.seq ?? 0
    await from.until(() => deliveredUpTo(from) === last, 'delivered up to the last')
    const marks = receipts(from).filter(({ delivered }) => delivered > 0)
    assert.ok(marks.length <= 3, `${marks.length} marks for 10 messages`)
  })

  it('read marks are entries that keep no record and are durable with their PUBACK', async () => {
    await send(from, alice, [bob])
    const [message] = await receiveMessages(to, 1)
    const tablet = await world.sibling(bob, 'tablet')
    from.destroy()
    const read = message?.seq ?? 0
    await to.publish(
      outOf(bob),
      encodeSendRequest({ receipts: { items: [{ peer: alice.user, read, played: [read] }] } }),
    )
    assert.deepEqual((await world.server.opened.ports.inbox.open('bob')).records, [])
    await world.restart()
    const back = await world.connect(alice)
    await back.until(() => receipts(back).some((item) => item.read === read), 'read mark')
    const [mark] = receipts(back).filter((item) => item.read > 0)
    assert.deepEqual(Buffer.from(mark?.peer ?? []), Buffer.from(bob.user))
    assert.deepEqual([mark?.own, mark?.played], [false, [read]])
    const own = await attend(world, tablet)
    await own.until(() => receipts(own).some((item) => item.read === read), 'own read mark')
    const [copy] = receipts(own)
    assert.deepEqual([Buffer.from(copy?.peer ?? []), copy?.own], [Buffer.from(alice.user), true])
  })

  it('read marks of several conversations in one request are all stored when it is acknowledged', async () => {
    const others = [await world.person('p0'), await world.person('p1'), await world.person('p2')]
    const readBy = (peers: readonly Pick<TestDevice, 'user'>[]) =>
      encodeSendRequest({ receipts: { items: peers.map(({ user }, i) => ({ peer: user, read: 1_000 + i })) } })
    await to.publish(outOf(bob), readBy([alice]))
    // The directory takes its time for the first one, the last one is known.
    const { directory } = world.server.opened.ports
    const { account } = directory
    const held = Promise.withResolvers<void>()
    directory.account = async (user) => {
      if (Buffer.compare(user, (others[0] as TestDevice).user) === 0) await held.promise
      return account(user)
    }
    const id = to.post(outOf(bob), readBy([...others, { user: new Uint8Array(16).fill(7) }, bob, ...others, alice]))
    const isAcked = () => to.packets.some((packet) => packet.cmd === 'puback' && packet.messageId === id)
    await to.ping()
    await commit(world)
    assert.equal(isAcked(), false)
    held.resolve()
    await to.until(isAcked, 'PUBACK')
    for (const device of others) await until(async () => (await rowsOf(device)).length === 2, `rows of ${device.id}`)
  })

  it('the caught-up marker is no row, and the errors of a connection are none either', async () => {
    await caughtUp(from)
    const [marker] = deliveries(from).filter((down) => down.caughtUp !== undefined)
    assert.equal(marker?.packet.qos, 0)
    assert.equal(marker?.caughtUp?.wire, 1)
    assert.ok(Math.abs((marker?.caughtUp?.serverMs ?? 0) - Date.now()) < 60_000)
    const before = storeFact(world, 'lastSeq')
    await send(from, alice, [{ ...bob, registrationId: 1 }])
    assert.equal(storeFact(world, 'lastSeq'), before)
    assert.deepEqual(await rowsOf(alice), [])
  })

  it('the marker comes behind the whole backlog and in front of live traffic', async () => {
    to.destroy()
    for (let i = 0; i < 150; i++) await send(from, alice, [bob])
    const back = await world.connect(bob)
    await caughtUp(back)
    await send(from, alice, [bob])
    await receiveMessages(back, 151)
    const kinds = deliveries(back).flatMap(({ whisper, caughtUp: up }) => (whisper ? 'm' : up ? '|' : []))
    assert.equal(kinds.join(''), `${'m'.repeat(150)}|m`)
  })
})
