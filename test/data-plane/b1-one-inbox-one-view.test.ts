import assert from 'node:assert/strict'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import type { World } from '../world/world.ts'
import {
  attend,
  caughtUp,
  commit,
  copyFolder,
  createGate,
  inOf,
  messages,
  receiveMessages,
  send,
  startScene,
  stopScenes,
} from './scene.ts'

const REFUSED = 0x80

async function unsubscribe(client: Client, ...filters: string[]): Promise<void> {
  const before = client.packets.length
  client.send({ cmd: 'unsubscribe', messageId: 60_000, unsubscriptions: filters })
  await client.until((c) => c.packets.slice(before).some(({ cmd }) => cmd === 'unsuback'), 'UNSUBACK')
}

describe('B1: the session is a view of the inbox', () => {
  let world: World
  let alice: TestDevice
  let bob: TestDevice
  let from: Client
  before(async () => {
    world = await startScene()
  })
  let n = 0
  beforeEach(async () => {
    n++
    alice = await world.person(`alice${n}`)
    bob = await world.person(`bob${n}`)
    from = await attend(world, alice)
  })
  after(stopScenes)

  const present = (client: Client) => client.connack?.sessionPresent
  const rows = async (device: TestDevice) => (await world.server.opened.ports.inbox.page(device.id, 0, 0, 99)).length

  it('present once the device has subscribed, on the disk before SUBACK', async () => {
    const first = await world.connect(bob)
    assert.equal(present(first), false)
    first.destroy()
    const second = await world.connect(bob)
    assert.equal(present(second), false)
    assert.deepEqual(await second.subscribe(inOf(bob)), [1])
    // What a crash at this instant would leave.
    const other = await startScene({ folder: copyFolder(world) })
    assert.equal(present(await other.connect(bob)), true)
    assert.equal(present(await world.connect(bob)), true)
  })

  it('which delivers as soon as the device is ready, without SUBSCRIBE', async () => {
    ;(await attend(world, bob)).destroy()
    await send(from, alice, [bob])
    const back = await world.connect(bob)
    await receiveMessages(back, 1)
  })

  it('and delivers nothing to a device that never subscribed, until it does; its inbox is kept', async () => {
    const shy = await world.connect(bob)
    await send(from, alice, [bob])
    await send(from, alice, [bob])
    await shy.ping()
    await shy.ping()
    assert.deepEqual(shy.received, [])
    await shy.subscribe(inOf(bob))
    assert.equal((await receiveMessages(shy, 2)).length, 2)
  })

  it('cleared by clean=true, which sets nothing; the rows stay', async () => {
    ;(await attend(world, bob)).destroy()
    await send(from, alice, [bob])
    const clean = await world.connect(bob, { clean: true, autoAck: false })
    assert.equal(present(clean), false)
    await clean.ping()
    assert.deepEqual(clean.received, [])
    await clean.subscribe(inOf(bob))
    await receiveMessages(clean, 1)
    clean.destroy()
    const back = await world.connect(bob)
    assert.equal(present(back), false)
    await back.ping()
    assert.deepEqual(back.received, [])
    assert.equal(await rows(bob), 1)
    await back.subscribe(inOf(bob))
    await receiveMessages(back, 1)
  })

  it('cleared by UNSUBSCRIBE, at once and durably; the rows stay', async () => {
    const to = await attend(world, bob, { autoAck: false })
    await send(from, alice, [bob])
    await receiveMessages(to, 1)
    await unsubscribe(to, inOf(bob))
    await send(from, alice, [bob])
    await to.ping()
    assert.equal(messages(to).length, 1)
    to.destroy()
    const back = await world.connect(bob)
    assert.equal(present(back), false)
    await back.ping()
    assert.deepEqual(back.received, [])
    assert.equal(await rows(bob), 2)
    await back.subscribe(inOf(bob))
    await receiveMessages(back, 2)
  })

  it('goes on where it was when a connection unsubscribes and subscribes again', async () => {
    const to = await attend(world, bob, { autoAck: false })
    await send(from, alice, [bob])
    const [first] = await receiveMessages(to, 1)
    await unsubscribe(to, inOf(bob))
    await send(from, alice, [bob])
    await to.subscribe(inOf(bob))
    await receiveMessages(to, 2)
    await send(from, alice, [bob])
    const got = await receiveMessages(to, 3)
    assert.equal(new Set(got.map(({ seq }) => seq)).size, 3)
    assert.equal(new Set(got.map(({ packet }) => packet.messageId)).size, 3)
    // What was in the window before is acknowledged as if nothing had happened.
    to.puback(first?.packet.messageId as number)
    await to.ping()
    await commit(world)
    assert.equal(await rows(bob), 2)
  })

  it('has exactly one filter, and asks for QoS 1: 0 is refused, 2 is granted as 1', async () => {
    const to = await world.connect(bob)
    assert.deepEqual(await to.subscribe({ topic: inOf(bob), qos: 0 }), [REFUSED])
    const foreign = [inOf(alice), '#', `d/${bob.id}/+`, `d/${bob.id}/from/#`, '$SYS/#', `$share/g/${inOf(bob)}`]
    assert.deepEqual(
      await to.subscribe(...foreign),
      foreign.map(() => REFUSED),
    )
    await send(from, alice, [bob])
    await to.ping()
    assert.deepEqual(to.received, [])
    to.destroy()
    const back = await world.connect(bob)
    assert.equal(present(back), false)
    assert.deepEqual(await back.subscribe({ topic: inOf(bob), qos: 2 }), [1])
    const [message] = await receiveMessages(back, 1)
    assert.equal(message?.packet.qos, 1)
  })

  it('of a thing is from/# and nothing else', async () => {
    const sensor = await world.thing(`sensor${n}`)
    const thing = await world.connect(sensor)
    assert.deepEqual(await thing.subscribe(`d/${sensor.id}/in`, `d/${sensor.id}/from/#`, `d/${sensor.id}/from/+`), [
      REFUSED,
      1,
      REFUSED,
    ])
    thing.destroy()
    assert.equal(present(await world.connect(sensor)), true)
  })

  it('outlives a restart, and a device that sends before it subscribes again', async () => {
    ;(await attend(world, bob)).destroy()
    await world.restart()
    const back = await world.connect(bob)
    assert.equal(present(back), true)
    await caughtUp(back)
    from = await world.connect(alice)
    await send(back, bob, [alice])
    await world.restart()
    assert.equal(present(await world.connect(bob)), true)
  })
})

describe('B1: flapping in front of a disk that is slow', () => {
  const gate = createGate()
  let world: World
  let bob: TestDevice
  beforeEach(async () => {
    world = await startScene({ gate })
    bob = await world.person('bob')
  })
  afterEach(stopScenes)

  const flap = (client: Client, cmd: 'subscribe' | 'unsubscribe', messageId: number) => {
    const filter = inOf(bob)
    const what = cmd === 'subscribe' ? { subscriptions: [{ topic: filter, qos: 1 }] } : { unsubscriptions: [filter] }
    client.send({ cmd, messageId, ...what } as Parameters<Client['send']>[0])
  }
  const answers = (client: Client, cmd: string): number => client.packets.filter((packet) => packet.cmd === cmd).length

  it('a SUBSCRIBE that says it again is not answered before the first is on the disk', async () => {
    const to = await world.connect(bob)
    gate.close()
    flap(to, 'subscribe', 1)
    flap(to, 'subscribe', 2)
    await to.ping()
    assert.equal(answers(to, 'suback'), 0)
    gate.open()
    await to.until((c) => answers(c, 'suback') === 2, 'both SUBACKs')
  })

  it('begins one reader and one slot, so that every row is written once', async () => {
    const alice = await world.person('alice')
    const from = await attend(world, alice)
    ;(await attend(world, bob)).destroy()
    for (let i = 0; i < 3; i++) await send(from, alice, [bob])
    gate.close()
    const to = await world.connect(bob, { autoAck: false })
    flap(to, 'unsubscribe', 1)
    flap(to, 'unsubscribe', 2)
    flap(to, 'subscribe', 3)
    flap(to, 'subscribe', 4)
    await to.ping()
    gate.open()
    await to.until((c) => answers(c, 'suback') === 2, 'both SUBACKs')
    await caughtUp(to)
    const ids = messages(to).map(({ packet }) => packet.messageId as number)
    const [first = 0] = ids
    assert.deepEqual(ids, [first, first + 1, first + 2])
    assert.equal((first - 1) % 1_024, 0)
    assert.equal(to.isClosed, false)
  })
})
