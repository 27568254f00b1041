import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { limits } from '../../topics/limits.ts'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import type { World } from '../world/world.ts'
import {
  attend,
  createGate,
  messages,
  outOf,
  pairRequest,
  receiveMessages,
  send,
  startScene,
  stopScenes,
  until,
} from './scene.ts'

const LARGE_BYTES = 60_000
const pubacks = (client: Client): number[] =>
  client.packets.flatMap((packet) => (packet.cmd === 'puback' ? (packet.messageId as number) : []))

describe('A6: an append takes its time', () => {
  const gate = createGate()
  let world: World
  let alice: TestDevice
  let bob: TestDevice
  let from: Client
  let to: Client
  beforeEach(async () => {
    world = await startScene({ gate })
    alice = await world.person('alice')
    bob = await world.person('bob')
    from = await attend(world, alice)
    to = await attend(world, bob)
    await send(from, alice, [bob])
    await receiveMessages(to, 1)
  })
  afterEach(stopScenes)

  const large = () => pairRequest([bob], { body: randomBytes(LARGE_BYTES) })

  it('and nothing is acknowledged before; PINGREQ and PUBACK behind it do not wait', async () => {
    const quiet = await world.person('quiet')
    const client = await attend(world, quiet, { autoAck: false })
    await send(from, alice, [quiet])
    const [message] = await receiveMessages(client, 1)
    gate.close()
    for (let i = 0; i < 5; i++) client.post(outOf(quiet), pairRequest([bob]))
    const { acknowledged } = world.server.metrics
    client.puback(message?.packet.messageId as number)
    await client.ping()
    await client.ping()
    assert.deepEqual(pubacks(client), [])
    assert.equal(world.server.metrics.acknowledged, acknowledged + 1)
    gate.open()
    await client.until(() => pubacks(client).length === 5, 'PUBACKs')
    await receiveMessages(to, 6)
  })

  it('so that the PUBACKs come in the order of the PUBLISHes, whatever they are', async () => {
    gate.close()
    const ids: number[] = []
    for (let i = 0; i < 40; i++) {
      const target = i % 3 === 1 ? [{ ...bob, registrationId: 1 }] : [bob]
      ids.push(from.post(outOf(alice), pairRequest(target)))
    }
    await from.ping()
    gate.open()
    const before = pubacks(from).length
    await from.until(() => pubacks(from).length >= before + 40, 'PUBACKs')
    assert.deepEqual(pubacks(from).slice(-40), ids)
  })

  it('so 256 KiB are read ahead, then the socket is not, and what was not read is not lost', async () => {
    gate.close()
    const arrival = gate.arrival()
    const count = 40
    for (let i = 0; i < count; i++) from.post(outOf(alice), large())
    await arrival
    const { metrics } = world.server
    await until(() => metrics.heldBytes > limits.heldBytesPerConnectionMax, 'a full read-ahead')
    // The pause took hold within one read of the socket.
    await to.ping()
    await to.ping()
    const held = metrics.heldBytes
    assert.ok(held <= limits.heldBytesPerConnectionMax + 64 * 1024 + LARGE_BYTES, `${held} bytes are held`)
    let isAnswered = false
    const ping = from.ping().then(() => {
      isAnswered = true
    })
    await to.ping()
    assert.equal(isAnswered, false)
    gate.open()
    await ping
    await from.until(() => pubacks(from).length === count + 1, 'all PUBACKs')
    await receiveMessages(to, count + 1)
    assert.equal(metrics.heldBytes, 0)
  })

  it('and keepalive does not end a connection that the server does not read, but does when it reads again', async () => {
    const carol = await world.person('carol')
    const impatient = await attend(world, carol, { keepalive: 1 })
    const silent = await attend(world, await world.person('silent'), { keepalive: 1 })
    const later = await world.person('later')
    gate.close()
    for (let i = 0; i < 12; i++) impatient.post(outOf(carol), large())
    await until(() => world.server.metrics.heldBytes > limits.heldBytesPerConnectionMax, 'a full read-ahead')
    await silent.closed()
    assert.equal(world.server.metrics.disconnects['keepalive_timeout'], 1)
    // One more keepalive and a half, told by another one who says nothing.
    const second = await world.connect(later, { keepalive: 1 })
    await second.closed()
    assert.equal(impatient.isClosed, false)
    gate.open()
    await impatient.until(() => pubacks(impatient).length === 12, 'PUBACKs')
    await impatient.closed()
    assert.equal(world.server.metrics.disconnects['keepalive_timeout'], 3)
  })

  it('and a client may have 600 PUBLISHes open at once', async () => {
    const ids = Array.from({ length: 600 }, () => from.post(outOf(alice), pairRequest([bob])))
    await from.until(() => pubacks(from).length === 601, 'PUBACKs', 10_000)
    assert.deepEqual(pubacks(from).slice(1), ids)
    await receiveMessages(to, 601)
    assert.equal(new Set(messages(to).map(({ seq }) => seq)).size, 601)
  })

  it("and at the node's bound the newest connections are closed, one after the other, the oldest goes on", async () => {
    const middle = await world.person('middle')
    const newest = await world.person('newest')
    const clients = new Map<TestDevice, Client>([[alice, from]])
    for (const device of [middle, newest]) {
      world.clock.offsetMs += 1_000
      clients.set(device, await attend(world, device))
    }
    const { metrics } = world.server
    gate.close()
    // As if others held all but 250 KB of what the node may hold.
    const others = limits.heldBytesPerNodeMax - 250_000
    metrics.heldBytes += others
    for (const [device, client] of clients) client.post(outOf(device), large())
    await until(() => metrics.heldBytes > others + 3 * LARGE_BYTES, 'all three')
    for (const client of clients.values()) assert.equal(client.isClosed, false)
    for (let i = 0; i < 3; i++) from.post(outOf(alice), large())
    await clients.get(newest)?.closed()
    await clients.get(middle)?.closed()
    assert.equal(metrics.disconnects['overloaded'], 2)
    metrics.heldBytes -= others
    gate.open()
    await from.until(() => pubacks(from).length === 5, 'PUBACKs')
    assert.equal(metrics.heldBytes, 0)
  })

  it('and a batch that fails is refused whole, with what was decided on top of it; the same stamps are new again', async () => {
    gate.close()
    const arrival = gate.arrival()
    const requests = [pairRequest([bob]), pairRequest([bob]), pairRequest([bob])]
    from.post(outOf(alice), requests[0] as Uint8Array)
    await arrival
    from.post(outOf(alice), requests[1] as Uint8Array)
    from.post(outOf(alice), requests[2] as Uint8Array)
    await from.ping()
    gate.fail(10)
    await from.until(() => pubacks(from).length === 4, 'answers')
    gate.open()
    world.clock.offsetMs += 6_000
    for (const request of requests) await from.publish(outOf(alice), request)
    const got = await receiveMessages(to, 4)
    assert.equal(got.length, 4)
    const seqs = got.map(({ seq }) => seq)
    assert.deepEqual(
      seqs,
      [...new Set(seqs)].sort((a, b) => a - b),
    )
  })
})
