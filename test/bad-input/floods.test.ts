import assert from 'node:assert/strict'
import { limits } from '../../topics/limits.ts'
import { createGate, type Gate } from '../data-plane/scene.ts'
import type { Client } from '../world/client.ts'
import { startWorld, type TestDevice, type World } from '../world/world.ts'
import { connectBytes, join, packet, publishBytes } from './bytes.ts'
import { assertEnded, assertStays, rawClient, until } from './scene.ts'

const TINY_PUBLISHES = 3_000

describe('a flood', () => {
  let gate: Gate
  let world: World
  let a: TestDevice
  let b: TestDevice
  let sender: Client
  beforeEach(async () => {
    gate = createGate()
    world = await startWorld({ env: { DISK_RESERVE_MIB: '1' }, overrides: { gate: gate.words } })
    a = await world.thing('a')
    b = await world.thing('b')
    sender = await world.connect(a)
  })
  afterEach(async () => {
    gate.open()
    await world.stop()
    assert.equal(world.server.metrics.heldBytes, 0)
    assert.equal(world.server.openSockets(), 0)
    assert.deepEqual(world.fatal, [])
  })

  const pubacks = (client: Client) => client.packets.flatMap((each) => (each.cmd === 'puback' ? [each.messageId] : []))

  it('of thousands of small messages in one write is taken whole, acknowledged in order and delivered in order', async () => {
    const reader = await world.connect(b)
    await reader.subscribe('d/b/from/#')
    const ids = Array.from({ length: TINY_PUBLISHES }, (_, i) => i + 1)
    sender.sendBytes(join(...ids.map((id) => publishBytes('d/a/raw/d-b', `${id}`, id))))
    await sender.until((c) => pubacks(c).length === TINY_PUBLISHES || c.isClosed, 'all PUBACKs', 10_000)
    assert.deepEqual(pubacks(sender), ids)
    const received = await reader.receive(TINY_PUBLISHES, 10_000)
    assert.deepEqual(
      received.map(({ payload }) => Number(payload)),
      ids,
    )
  })

  it('behind a slow disk is held to its bound, then left unread, and PINGREQ of others is answered', async () => {
    const other = await world.connect(b)
    gate.close()
    const frames = Array.from({ length: 2_000 }, (_, i) => publishBytes('d/a/raw/d-b', Buffer.alloc(2_000), i + 1))
    sender.sendBytes(join(...frames))
    await until(() => world.server.metrics.heldBytes > limits.heldBytesPerConnectionMax)
    for (let i = 0; i < 20; i++) await assertStays(other)
    // What one read of the socket brought is held beyond the bound, and no more.
    assert.ok(world.server.metrics.heldBytes <= limits.heldBytesPerConnectionMax + 64 * 1024 + 2_100)
    assert.equal(pubacks(sender).length, 0)
    gate.open()
    await sender.until((c) => pubacks(c).length === frames.length, 'all PUBACKs', 10_000)
  })

  it('up to the bound of the node closes the newest connection, then the newest of the others', async () => {
    const { metrics } = world.server
    world.clock.offsetMs += 1_000
    const newest = await world.connect(b)
    gate.close()
    const [first, second] = [publishBytes('d/b/raw/d-a', 'first', 1), publishBytes('d/b/raw/d-a', 'second', 2)]
    sender.post('d/a/raw/d-b', 'older')
    await sender.ping()
    // As if connections that are not here held the rest of what the node may hold.
    const elsewhere = limits.heldBytesPerNodeMax - metrics.heldBytes - first.length
    metrics.heldBytes += elsewhere
    newest.sendBytes(first)
    await assertStays(newest)
    newest.sendBytes(second)
    await assertEnded(world, newest, 'overloaded')
    await assertStays(sender)
    // What the ended one has sent is still held, for a commit that is under way.
    sender.post('d/a/raw/d-b', 'beyond')
    await assertEnded(world, sender, 'overloaded')
    metrics.heldBytes -= elsewhere
  })

  it('of PUBLISHes with one packet id ends the connection: an id is free when its PUBACK is sent', async () => {
    gate.close()
    sender.sendBytes(publishBytes('d/a/raw/d-b', 'first', 7))
    await sender.ping()
    sender.sendBytes(publishBytes('d/a/raw/d-b', 'second', 7))
    await assertEnded(world, sender, 'bad_packet_id')
    assert.equal(pubacks(sender).length, 0)
    gate.open()
    const reader = await world.connect(b)
    await reader.subscribe('d/b/from/#')
    const [first] = await reader.receive(1)
    assert.equal(String(first?.payload), 'first')
    await reader.ping()
    assert.equal(reader.received.length, 1)
  })

  it('of typing is taken, forgotten and not answered', async () => {
    const eve = await world.person('eve')
    const client = await world.connect(eve)
    const before = client.packets.length
    client.sendBytes(join(...Array.from({ length: 5_000 }, () => publishBytes('d/eve/now', '\x08\x01', 0, 0x30))))
    await client.ping()
    assert.equal(client.packets.length, before + 1)
    assert.equal(world.server.metrics.heldBytes, 0)
  })

  it('in front of CONNACK is held to the bound of a connection, then ends it', async () => {
    const { directory } = world.server.opened.ports
    const { authenticate } = directory
    let isAsked = false
    // A directory that does not answer: everything behind CONNECT waits for it.
    directory.authenticate = () => {
      isAsked = true
      return new Promise(() => undefined)
    }
    const connect = connectBytes({ clientId: b.id, username: b.id, password: b.token })
    const waiting = await rawClient(world.server.mqttPort)
    waiting.sendBytes(connect)
    await until(() => isAsked)
    waiting.sendBytes(Buffer.alloc(limits.heldBytesPerConnectionMax, packet(0xc0)))
    waiting.sendBytes(packet(0xc0))
    await assertEnded(world, waiting, 'overloaded')
    assert.equal(world.server.metrics.rejected['overloaded'], 1)
    directory.authenticate = authenticate
    await assertStays(sender)
  })
})
