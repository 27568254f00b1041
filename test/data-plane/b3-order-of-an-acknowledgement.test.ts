import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { limits } from '../../topics/limits.ts'
import { type Client, connectClient } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import { type ServerProcess, spawnServer } from '../world/process.ts'
import type { World } from '../world/world.ts'
import {
  acknowledged,
  attend,
  caughtUp,
  copyFolder,
  createGate,
  deliveredUpTo,
  expiredSeqs,
  inOf,
  messages,
  outOf,
  pairRequest,
  receipts,
  receiveMessages,
  send,
  startScene,
  stopScenes,
} from './scene.ts'

/** Each delivered mark that came, in order. */
const marks = (client: Client): number[] =>
  receipts(client).flatMap(({ delivered }) => (delivered > 0 ? delivered : []))
const puback = (client: Client, i: number) => client.puback(messages(client)[i]?.packet.messageId as number)

describe('B3: an acknowledgement makes its mark, then takes the row', () => {
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

  /** Resolves when a mark that was made now would have arrived: another conversation's was. */
  async function othersMark(): Promise<void> {
    const carol = await world.person(`c${Date.now() % 1e9}`)
    const dora = await world.person(`d${Date.now() % 1e9}`)
    const one = await attend(world, carol)
    await attend(world, dora)
    await send(one, carol, [dora])
    await one.until(() => deliveredUpTo(one) > 0, 'delivered')
  }

  it('which says "up to" the last row in front of the first that is not acknowledged, out of order or not', async () => {
    const to = await attend(world, bob, { autoAck: false })
    for (let i = 0; i < 4; i++) await send(from, alice, [bob])
    const seqs = (await receiveMessages(to, 4)).map(({ seq }) => seq)
    puback(to, 2)
    puback(to, 1)
    await to.ping()
    await othersMark()
    assert.deepEqual(marks(from), [])
    puback(to, 0)
    await from.until(() => marks(from).length > 0, 'a mark')
    assert.deepEqual(marks(from), [seqs[2]])
    puback(to, 3)
    await from.until(() => marks(from).length > 1, 'a mark')
    assert.deepEqual(marks(from), [seqs[2], seqs[3]])
  })

  it('which never falls back, also when another device says less while it is on its way to the disk', async () => {
    await world.stop()
    const gate = createGate()
    world = await startScene({ gate })
    alice = await world.person('alice')
    bob = await world.person('bob')
    const tablet = await world.sibling(bob, 'tablet')
    from = await attend(world, alice)
    const one = await attend(world, bob, { autoAck: false })
    const other = await attend(world, tablet, { autoAck: false })
    // One turn more than the linger has room for: the mark is appended at once.
    const turns = limits.receiptLingerRecordsMax
    for (let i = 0; i <= turns; i++) await send(from, alice, [bob, tablet])
    const last = (await receiveMessages(one, turns + 1)).at(-1)?.seq
    await receiveMessages(other, turns + 1)
    gate.close()
    puback(one, 0)
    for (let i = 0; i < turns; i++) {
      puback(one, i + 1)
      await one.ping()
    }
    for (let i = 0; i < turns; i++) {
      puback(other, i)
      await other.ping()
    }
    gate.open()
    await from.until(() => marks(from).includes(last as number), 'the highest mark')
    await othersMark()
    const keys = [bob, alice].map(({ user }) => Buffer.from(user).toString('latin1')) as [string, string]
    assert.equal(await world.server.opened.ports.inbox.markOf(...keys), last)
    assert.equal(marks(from).at(-1), last)
  })

  it('of each conversation by itself', async () => {
    const carol = await world.person('carol')
    const other = await attend(world, carol)
    const to = await attend(world, bob, { autoAck: false })
    await send(from, alice, [bob])
    await send(other, carol, [bob])
    const [first, second] = await receiveMessages(to, 2)
    puback(to, 1)
    await other.until(() => marks(other).length > 0, 'a mark')
    assert.deepEqual(marks(other), [second?.seq])
    assert.deepEqual(marks(from), [])
    puback(to, 0)
    await from.until(() => marks(from).length > 0, 'a mark')
    assert.deepEqual(marks(from), [first?.seq])
  })

  it('which rows that make no receipt do not hold: signals, copies of own messages', async () => {
    const desk = await world.sibling(alice, 'desk')
    const own = await attend(world, desk, { autoAck: false })
    const to = await attend(world, bob, { autoAck: false })
    await send(from, alice, [bob], { own: [desk], scope: 1 })
    await send(from, alice, [bob], { own: [desk] })
    const [signal, message] = await receiveMessages(to, 2)
    puback(to, 1)
    await from.until(() => marks(from).length > 0, 'a mark')
    assert.deepEqual(marks(from), [message?.seq])
    puback(to, 0)
    await receiveMessages(own, 2)
    puback(own, 0)
    puback(own, 1)
    await own.ping()
    await othersMark()
    assert.deepEqual(marks(from), [message?.seq])
    assert.ok((signal?.seq ?? 0) < (message?.seq ?? 0))
    assert.deepEqual(receipts(to), [])
  })

  it('once for a user: the maximum of the devices, and not again for the others', async () => {
    const tablet = await world.sibling(bob, 'tablet')
    const phone = await attend(world, bob)
    const late = await attend(world, tablet, { autoAck: false })
    await send(from, alice, [bob, tablet])
    await send(from, alice, [bob, tablet])
    const seqs = (await receiveMessages(phone, 2)).map(({ seq }) => seq)
    await from.until(() => deliveredUpTo(from) === seqs[1], 'delivered')
    const said = marks(from)
    await receiveMessages(late, 2)
    puback(late, 0)
    puback(late, 1)
    await acknowledged(world, late)
    await othersMark()
    assert.deepEqual(marks(from), said)
    await world.restart()
    const back = await world.connect(alice)
    await othersMark()
    assert.deepEqual(marks(back), [])
    // Nothing keeps the tail from shrinking: what was said before is not pending.
    assert.deepEqual(world.server.opened.pendingMarks, [])
  })

  it('so that what was acknowledged above a row that was not comes again with it', async () => {
    const to = await attend(world, bob, { autoAck: false })
    for (let i = 0; i < 3; i++) await send(from, alice, [bob])
    await receiveMessages(to, 3)
    puback(to, 2)
    await acknowledged(world, to)
    to.destroy()
    const back = await world.connect(bob)
    const got = await receiveMessages(back, 3)
    assert.ok(got.every(({ packet }) => packet.dup))
    await from.until(() => deliveredUpTo(from) === got[2]?.seq, 'delivered')
  })

  it('expired stands in front of every later mark, is said once and is final', async () => {
    ;(await attend(world, bob)).destroy()
    await send(from, alice, [bob], { expiresInS: 5 })
    await send(from, alice, [bob], { expiresInS: 5 })
    await send(from, alice, [bob])
    await from.until(() => receipts(from).some(({ accepted }) => accepted.length > 0), 'accepted')
    world.clock.offsetMs += 6_000
    const to = await world.connect(bob)
    const [kept] = await receiveMessages(to, 1)
    await from.until(() => deliveredUpTo(from) === kept?.seq, 'delivered')
    const said = receipts(from)
    const isExpired = said.map(({ expired }) => expired.length > 0)
    const isAbove = said.map(({ delivered }) => delivered === kept?.seq)
    assert.ok(isExpired.indexOf(true) >= 0 && isExpired.indexOf(true) <= isAbove.indexOf(true))
    assert.equal(expiredSeqs(from).length, 2)
    assert.ok(expiredSeqs(from).every((seq) => seq < (kept?.seq ?? 0)))
    assert.deepEqual(Buffer.from(said[isExpired.indexOf(true)]?.peer ?? []), Buffer.from(bob.user))
    to.destroy()
    const again = await world.connect(bob)
    await caughtUp(again)
    await othersMark()
    assert.equal(messages(again).length, 0)
    assert.equal(expiredSeqs(from).length, 2)
  })

  it('expired is not said of what another device of the user has', async () => {
    const tablet = await world.sibling(bob, 'tablet')
    ;(await attend(world, tablet)).destroy()
    const phone = await attend(world, bob)
    await send(from, alice, [bob, tablet], { expiresInS: 5 })
    const [message] = await receiveMessages(phone, 1)
    await from.until(() => deliveredUpTo(from) === message?.seq, 'delivered')
    world.clock.offsetMs += 6_000
    const late = await world.connect(tablet)
    await caughtUp(late)
    assert.deepEqual(messages(late), [])
    await othersMark()
    assert.deepEqual(expiredSeqs(from), [])
    assert.deepEqual(await world.server.opened.ports.inbox.page('tablet', 0, 0, 9), [])
  })

  it('the mark of an acknowledgement survives a crash between the two', async () => {
    from.destroy()
    const to = await attend(world, bob, { autoAck: false })
    const other = await world.connect(alice, { autoAck: false })
    await send(other, alice, [bob])
    const [message] = await receiveMessages(to, 1)
    puback(to, 0)
    await acknowledged(world, to)
    // The mark lingers, only the acknowledgement is on the disk.
    const after = await startScene({ folder: copyFolder(world) })
    assert.deepEqual(
      after.server.opened.pendingMarks.map(({ upTo }) => upTo),
      [message?.seq],
    )
    const back = await after.connect(alice)
    await back.until(() => deliveredUpTo(back) === message?.seq, 'delivered')
    const again = await after.connect(bob)
    await caughtUp(again)
    assert.deepEqual(messages(again), [])
  })
})

describe('B3: a crash before the commit of an acknowledgement', () => {
  const folder = mkdtempSync(join(tmpdir(), 'heliograph-'))
  let server: ServerProcess
  after(async () => {
    await server.kill()
    rmSync(folder, { recursive: true })
  })

  it('means that the row comes again with DUP, and the mark is made then', async () => {
    server = await spawnServer(folder, { DISK_RESERVE_MIB: '1' })
    const alice = await server.devices.person('alice')
    const bob = await server.devices.person('bob')
    const connect = ({ id, token }: TestDevice, autoAck = true) =>
      connectClient({
        port: server.port,
        clientId: id,
        username: id,
        password: token,
        clean: false,
        keepalive: 60,
        autoAck,
      })
    const from = await connect(alice)
    const to = await connect(bob, false)
    await to.subscribe(inOf(bob))
    await from.subscribe(inOf(alice))
    await from.publish(outOf(alice), pairRequest([bob]))
    const [message] = await receiveMessages(to, 1)
    await server.stopStore()
    puback(to, 0)
    await to.ping()
    await server.kill()
    server = await spawnServer(folder, { DISK_RESERVE_MIB: '1' })
    const back = await connect(alice)
    const again = await connect(bob)
    const [copy] = await receiveMessages(again, 1)
    assert.deepEqual([copy?.seq, copy?.packet.dup], [message?.seq, true])
    assert.deepEqual(copy?.packet.payload, message?.packet.payload)
    await back.until(() => deliveredUpTo(back) === message?.seq, 'delivered')
  })
})
