import assert from 'node:assert/strict'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import type { World } from '../world/world.ts'
import {
  acknowledged,
  attend,
  caughtUp,
  commit,
  messages,
  receiveMessages,
  send,
  startScene,
  stopScenes,
} from './scene.ts'

const SLOT_IDS = 1_024
const SLOTS = 63
const MINUTE_MS = 60_000
const idOf = ({ packet }: { packet: { messageId: number | undefined } }): number => packet.messageId as number
const idsOf = (client: Client): number[] => messages(client).map(idOf)
const slotOf = (id: number): number => Math.floor((id - 1) / SLOT_IDS)

describe('B2: packet ids never repeat between neighbouring connections', () => {
  let world: World
  let alice: TestDevice
  let bob: TestDevice
  let from: Client
  beforeEach(async () => {
    world = await startScene({ env: { WINDOW_ROWS: '5' } })
    alice = await world.person('alice')
    bob = await world.person('bob')
    from = await attend(world, alice)
    ;(await attend(world, bob)).destroy()
  })
  afterEach(stopScenes)

  /** A connection that gets `count` messages and acknowledges none. */
  async function quietly(count: number): Promise<Client> {
    // Nobody connects so often in a minute.
    world.clock.offsetMs += MINUTE_MS + 1
    const client = await world.connect(bob, { autoAck: false })
    await receiveMessages(client, count)
    return client
  }

  it('each has its slot of 1,024, the next one another; also across a restart and all the way round', async () => {
    await send(from, alice, [bob])
    const slots: number[] = []
    for (let i = 0; i < SLOTS + 3; i++) {
      if (i === 10) await world.restart()
      const client = await quietly(1)
      const [message] = messages(client)
      assert.ok(message)
      slots.push(slotOf(idOf(message)))
      client.destroy()
    }
    assert.ok(slots.every((slot) => slot >= 0 && slot < SLOTS))
    for (let i = 0; i + SLOTS <= slots.length; i++) assert.equal(new Set(slots.slice(i, i + SLOTS)).size, SLOTS)
    assert.deepEqual(slots.slice(SLOTS), slots.slice(0, slots.length - SLOTS))
  })

  it('within one they go on through the slot and do not repeat in the window', async () => {
    const to = await world.connect(bob)
    for (let i = 0; i < 30; i++) await send(from, alice, [bob])
    const ids = (await receiveMessages(to, 30)).map(idOf)
    assert.deepEqual(
      ids,
      ids.map((_, i) => (ids[0] as number) + i),
    )
    assert.equal((ids[0] as number) % SLOT_IDS, 1)
  })

  it('so a PUBACK of the connection before is counted and acknowledges nothing', async () => {
    await send(from, alice, [bob])
    await send(from, alice, [bob])
    const first = await quietly(2)
    const stale = idsOf(first)
    first.destroy()
    const second = await quietly(2)
    const before = world.server.metrics.unknownPubacks
    for (const id of stale) second.puback(id)
    second.puback(65_000)
    await acknowledged(world, second)
    assert.equal(world.server.metrics.unknownPubacks, before + 3)
    assert.equal(second.isClosed, false)
    second.destroy()
    const third = await quietly(2)
    for (const id of idsOf(third)) third.puback(id)
    for (const id of idsOf(third)) third.puback(id)
    await acknowledged(world, third)
    assert.equal(world.server.metrics.unknownPubacks, before + 5)
    third.destroy()
    const last = await world.connect(bob)
    await caughtUp(last)
    assert.deepEqual(messages(last), [])
  })

  it('what is sent again has a new id and DUP, what was never sent has not, also after a restart', async () => {
    for (let i = 0; i < 8; i++) await send(from, alice, [bob])
    const first = await quietly(5)
    assert.deepEqual(
      messages(first).map(({ packet }) => packet.dup),
      Array(5).fill(false),
    )
    first.destroy()
    for (const restarts of [false, true]) {
      if (restarts) await world.restart()
      const again = await quietly(5)
      const [one] = messages(again)
      assert.ok(one)
      assert.equal(one.packet.dup, true)
      assert.notEqual(idOf(one), idOf(messages(first)[0] as typeof one))
      assert.deepEqual(
        messages(again).map(({ seq, packet }) => [seq, packet.payload, packet.dup]),
        messages(first).map(({ seq, packet }) => [seq, packet.payload, true]),
      )
      again.destroy()
    }
    const all = await quietly(5)
    for (const id of idsOf(all)) all.puback(id)
    await receiveMessages(all, 8)
    assert.deepEqual(
      messages(all).map(({ packet }) => packet.dup),
      [...Array(5).fill(true), ...Array(3).fill(false)],
    )
  })

  it('and the window holds so many as were said: the next comes when a PUBACK makes room', async () => {
    for (let i = 0; i < 12; i++) await send(from, alice, [bob])
    const to = await quietly(5)
    await to.ping()
    await to.ping()
    assert.equal(messages(to).length, 5)
    while (messages(to).length < 12) {
      const before = messages(to).length
      for (const id of idsOf(to)) to.puback(id)
      await receiveMessages(to, Math.min(12, before + 5))
      await to.ping()
      assert.ok(messages(to).length <= before + 5)
    }
    const seqs = messages(to).map(({ seq }) => seq)
    assert.deepEqual(
      seqs,
      [...new Set(seqs)].sort((a, b) => a - b),
    )
  })

  it('a full window without PUBACK for 60 s ends the connection; one PUBACK begins the time anew', async () => {
    const carol = await world.person('carol')
    ;(await attend(world, carol)).destroy()
    for (let i = 0; i < 8; i++) {
      await send(from, alice, [bob])
      await send(from, alice, [carol])
    }
    const lazy = await quietly(5)
    const slow = await world.connect(carol, { autoAck: false })
    await receiveMessages(slow, 5)
    await lazy.ping()
    world.clock.offsetMs += 40_000
    slow.puback(idsOf(slow)[0] as number)
    await receiveMessages(slow, 6)
    world.clock.offsetMs += 21_000
    await lazy.closed()
    assert.equal(world.server.metrics.disconnects['no_puback'], 1)
    assert.equal(slow.isClosed, false)
    world.clock.offsetMs += 40_000
    await slow.closed()
    assert.equal(world.server.metrics.disconnects['no_puback'], 2)
  })

  it('so does one row that is never acknowledged, once the ring of ids is taken up behind it', async () => {
    const to = await quietly(0)
    let acked = 1
    for (let i = 0; i < 12 && !to.isClosed; i++) {
      await send(from, alice, [bob])
      if (i < 5) await receiveMessages(to, i + 1)
      else await to.ping()
      for (const id of idsOf(to).slice(acked)) to.puback(id)
      acked = Math.max(1, messages(to).length)
    }
    await to.ping()
    assert.ok(messages(to).length >= 5)
    world.clock.offsetMs += MINUTE_MS + 1_000
    await to.closed()
    assert.equal(world.server.metrics.disconnects['no_puback'], 1)
    await commit(world)
    const back = await world.connect(bob)
    await receiveMessages(back, 1)
  })
})
