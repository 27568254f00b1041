import assert from 'node:assert/strict'
import { ROW_FRAME } from '../../core/row.ts'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import type { World } from '../world/world.ts'
import {
  acknowledged,
  attend,
  caughtUp,
  commit,
  deliveredUpTo,
  messages,
  outOf,
  pairRequest,
  receiveMessages,
  send,
  startScene,
  stopScenes,
  until,
} from './scene.ts'

describe('B4: the newer connection of a device takes it over', () => {
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

  it('the older one is closed, and what it did not acknowledge comes again, marked as such', async () => {
    const old = await attend(world, bob, { autoAck: false })
    for (let i = 0; i < 3; i++) await send(from, alice, [bob])
    await receiveMessages(old, 3)
    const now = await world.connect(bob)
    await old.closed()
    assert.equal(world.server.metrics.disconnects['takeover'], 1)
    const got = await receiveMessages(now, 3)
    assert.ok(got.every(({ packet }) => packet.dup))
    await send(from, alice, [bob])
    const all = await receiveMessages(now, 4)
    assert.equal(all[3]?.packet.dup, false)
    assert.equal(world.server.metrics.connections, 2)
  })

  it('a PUBACK that had arrived on the older one counts', async () => {
    const old = await attend(world, bob, { autoAck: false })
    await send(from, alice, [bob])
    const [message] = await receiveMessages(old, 1)
    old.puback(message?.packet.messageId as number)
    await old.ping()
    const now = await world.connect(bob)
    await caughtUp(now)
    assert.deepEqual(messages(now), [])
    await acknowledged(world, now)
    assert.deepEqual(await world.server.opened.ports.inbox.page('bob', 0, 0, 9), [])
  })

  it('and so does one that came in the same read as the end of the connection', async () => {
    const old = await attend(world, bob, { autoAck: false })
    await send(from, alice, [bob])
    const [message] = await receiveMessages(old, 1)
    const id = message?.packet.messageId as number
    old.sendBytes(Buffer.of(0x40, 2, id >> 8, id & 255, 0xe0, 0))
    await old.closed()
    await commit(world)
    assert.deepEqual(await world.server.opened.ports.inbox.page('bob', 0, 0, 9), [])
    await from.until(() => deliveredUpTo(from) === message?.seq, 'delivered')
  })

  it('what the older one has published and not heard of is stored once', async () => {
    const old = await attend(world, bob)
    const request = pairRequest([alice])
    old.post(outOf(bob), request)
    const now = await world.connect(bob)
    await now.publish(outOf(bob), request)
    await receiveMessages(from, 1)
    await send(now, bob, [alice])
    assert.equal((await receiveMessages(from, 2)).length, 2)
  })

  it('nothing is lost between them: a row is written before the device is located, and claimed before it is read', async () => {
    let to = await attend(world, bob)
    const connections = [to]
    let isSending = true
    const sending = (async () => {
      for (let i = 0; i < 300; i++) await send(from, alice, [bob])
      isSending = false
    })()
    while (isSending) {
      world.clock.offsetMs += 10_000
      to = await world.connect(bob)
      connections.push(to)
      const before = messages(to).length
      await to.until(() => messages(to).length > before + 10 || !isSending, 'ten messages').catch(() => undefined)
    }
    await sending
    const seqs = () => new Set(connections.flatMap((client) => messages(client).map(({ seq }) => seq)))
    await to.until(() => seqs().size === 300, 'all 300')
    assert.ok(connections.length > 3, `${connections.length} connections`)
    for (const client of connections) {
      const got = messages(client).map(({ seq }) => seq)
      assert.deepEqual(
        got,
        [...got].sort((a, b) => a - b),
      )
    }
  })

  it('a connection that dies before it is ready gives the claim back', async () => {
    ;(await attend(world, bob)).destroy()
    const { ports } = world.server.opened
    const { open } = ports.inbox
    const held = Promise.withResolvers<void>()
    let opens = 0
    ports.inbox.open = async (device) => {
      opens++
      await held.promise
      return open(device)
    }
    const dying = await world.connect(bob, { lazy: true })
    await until(() => opens === 1, 'the opening of the inbox')
    const row = { device: 'bob', seq: 1, sub: 0, kind: ROW_FRAME, peer: '', expiresMs: 0, start: 0, end: 0 } as const
    assert.equal(ports.claims.wake('bob', { ...row, source: undefined }), 'woken')
    dying.destroy()
    await until(() => ports.claims.wake('bob', { ...row, source: undefined }) === 'away', 'the end of the claim')
    held.resolve()
    ports.inbox.open = open
    assert.equal(opens, 1)
    await send(from, alice, [bob])
    const back = await world.connect(bob)
    await receiveMessages(back, 1)
  })
})
