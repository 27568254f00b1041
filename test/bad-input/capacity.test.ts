import assert from 'node:assert/strict'
import { createAdmission, type Ticket } from '../../plugins/admission.ts'
import { sweepStalled } from '../../plugins/delivery.ts'
import { limits } from '../../topics/limits.ts'
import { startWorld, type TestDevice } from '../world/world.ts'
import { assertEnded, assertStays, lastReason, rawClient, refusalIn, until } from './scene.ts'

describe('the most that a node holds is held, and one more is not:', () => {
  it('connections of all addresses whose inbox is not open yet', () => {
    const many = 100_000
    const caps = { connectionsMax: many, connectionsPerAddressMax: many, handshakesMax: 10, handshakesPerAddressMax: 3 }
    const admission = createAdmission(Date.now, caps)
    const begin = (): Ticket => {
      const ticket = admission.begin()
      if ('reason' in ticket) throw new Error(ticket.reason)
      return ticket
    }
    const tickets = Array.from({ length: caps.handshakesMax }, begin)
    const one = tickets[0] as Ticket
    const isFull = () => assert.deepEqual(admission.begin(), { returnCode: 0, reason: 'too_many_handshakes' })
    isFull()
    // Until its inbox is open it counts for the node, CONNACK or not.
    assert.equal(admission.enter(one, '10.0.0.1'), undefined)
    admission.established(one)
    isFull()
    admission.opened(one)
    const next = begin()
    isFull()
    admission.leave(next)
    admission.leave(one)
    admission.leave(one)
    begin()
    isFull()
  })

  it('connections for which stores are asked at one time, the others waiting in their order', async () => {
    const many = 100_000
    const caps = {
      connectionsMax: many,
      connectionsPerAddressMax: many,
      handshakesMax: many,
      handshakesPerAddressMax: many,
    }
    const admission = createAdmission(Date.now, caps)
    const begin = () => admission.begin() as Ticket
    const inside = Array.from({ length: limits.openingsMax }, begin)
    for (const ticket of inside) assert.equal(admission.turn(ticket), undefined)
    const waiting = Array.from({ length: 4 }, begin)
    const order: number[] = []
    const turns = waiting.map((ticket, i) => admission.turn(ticket)?.then(() => void order.push(i)))
    // One that leaves while it waits passes nothing on, and one that is done does.
    admission.leave(waiting[1] as Ticket)
    admission.opened(inside[0] as Ticket)
    await turns[0]
    admission.leave(inside[1] as Ticket)
    await turns[2]
    assert.deepEqual(order, [0, 2])
    admission.opened(inside[1] as Ticket)
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(order, [0, 2])
    admission.opened(waiting[0] as Ticket)
    await turns[3]
    assert.deepEqual(order, [0, 2, 3])
  })

  it('connections of the node that are being made, over real sockets', async () => {
    const world = await startWorld({ env: { HANDSHAKES_MAX: '3', DISK_RESERVE_MIB: '1' } })
    const waiting = await Promise.all([1, 2, 3].map(() => rawClient(world.server.mqttPort)))
    const late = await rawClient(world.server.mqttPort)
    await assertEnded(world, late, 'too_many_handshakes')
    assert.equal(world.server.metrics.rejected['too_many_handshakes'], 1)
    // Who is through takes no place: three devices are connected, and three more handshakes go on.
    for (const client of waiting) client.destroy()
    await until(() => world.server.openSockets() === 0)
    for (const id of ['a', 'b', 'c']) {
      const client = await world.connect(await world.thing(id))
      assert.equal(client.connack?.returnCode, 0)
      await client.subscribe(`d/${id}/from/#`)
    }
    const more = await Promise.all([1, 2, 3].map(() => rawClient(world.server.mqttPort)))
    await until(() => world.server.openSockets() === 6)
    for (const client of more) client.destroy()
    await world.stop()
  })

  it('connections, who is beyond being told so', async () => {
    const world = await startWorld({ env: { CONNECTIONS_MAX: '2', DISK_RESERVE_MIB: '1' } })
    const devices = await Promise.all(['a', 'b', 'c'].map((id) => world.thing(id)))
    const [a, b] = await Promise.all(devices.slice(0, 2).map((device) => world.connect(device)))
    const late = await rawClient(world.server.mqttPort)
    await late.closed()
    assert.equal(late.connack?.returnCode, 3)
    assert.equal(world.server.metrics.rejected['too_many_connections'], 1)
    await a?.publish('d/a/raw/d-b', 'still here')
    await b?.disconnect()
    assert.equal((await world.connect(devices[2] as TestDevice)).connack?.returnCode, 0)
    await world.stop()
  })

  it('connections of one address', async () => {
    const world = await startWorld({ env: { CONNECTIONS_PER_ADDRESS_MAX: '2', DISK_RESERVE_MIB: '1' } })
    const first = await rawClient(world.server.mqttPort)
    const second = await rawClient(world.server.mqttPort)
    const third = await rawClient(world.server.mqttPort)
    await assertEnded(world, third, 'too_many_of_address')
    assert.equal(first.isClosed || second.isClosed, false)
    first.destroy()
    second.destroy()
    await world.stop()
  })

  it('rows in the window of a connection', async () => {
    const windowRows = 10
    const world = await startWorld({ env: { WINDOW_ROWS: String(windowRows), DISK_RESERVE_MIB: '1' } })
    const [a, b] = [await world.thing('a'), await world.thing('b')]
    const sender = await world.connect(a)
    const reader = await world.connect(b, { autoAck: false })
    await reader.subscribe('d/b/from/#')
    for (let i = 0; i <= windowRows; i++) await sender.publish('d/a/raw/d-b', `${i}`)
    await reader.receive(windowRows)
    await reader.ping()
    assert.equal(reader.received.length, windowRows)
    for (const { messageId } of [...reader.received]) reader.puback(messageId as number)
    await reader.receive(windowRows + 1)
    await world.stop()
  })

  it('milliseconds without PUBACK of a full window', async () => {
    const world = await startWorld({ env: { WINDOW_ROWS: '1', DISK_RESERVE_MIB: '1' } })
    const [a, b] = [await world.thing('a'), await world.thing('b')]
    const sender = await world.connect(a)
    const reader = await world.connect(b, { autoAck: false })
    await reader.subscribe('d/b/from/#')
    const { flow } = world.server.plugins.delivery
    const at = Date.now()
    await sender.publish('d/a/raw/d-b', 'first')
    await sender.publish('d/a/raw/d-b', 'second')
    await until(() => flow.stalled.size === 1)
    world.clock.offsetMs = limits.ackTimeoutMs - (Date.now() - at) - 1_000
    sweepStalled(world.server.plugins.delivery)
    await assertStays(reader)
    world.clock.offsetMs = limits.ackTimeoutMs + 1
    await assertEnded(world, reader, 'no_puback')
    await world.stop()
  })

  it('rows of an inbox, and the sender of one more is told', async () => {
    const world = await startWorld({ env: { INBOX_ROWS_MAX: '3', DISK_RESERVE_MIB: '1' } })
    const [a, b] = [await world.thing('a'), await world.thing('b')]
    const sender = await world.connect(a)
    await sender.subscribe('d/a/from/#')
    for (const text of ['1', '2', '3', 'too much']) await sender.publish('d/a/raw/d-b', text)
    assert.equal(refusalIn(sender, a), 'undeliverable')
    assert.equal(world.server.metrics.refused['undeliverable'], 1)
    const reader = await world.connect(b)
    await reader.subscribe('d/b/from/#')
    await reader.receive(3)
    await reader.ping()
    assert.deepEqual(
      reader.received.map(({ payload }) => String(payload)),
      ['1', '2', '3'],
    )
    await world.stop()
  })

  it('bytes that wait for a reader who does not read', async () => {
    const world = await startWorld({ env: { DISK_RESERVE_MIB: '1' } })
    const [a, b] = [await world.thing('a'), await world.thing('b')]
    const sender = await world.connect(a)
    const reader = await world.connect(b, { autoAck: false })
    await reader.subscribe('d/b/from/#')
    reader.socket.pause()
    const { flow } = world.server.plugins.delivery
    const body = Buffer.alloc(limits.rawBytesMax, 1)
    while (flow.stalled.size === 0) await sender.publish('d/a/raw/d-b', body)
    const [slow] = flow.stalled
    const buffered = slow?.wire.bufferedBytes() ?? 0
    assert.ok(buffered > limits.socketBufferBytesMax, `${buffered} bytes wait`)
    assert.ok(buffered < limits.socketBufferBytesMax + limits.frameBytesMax, `${buffered} bytes wait`)
    await sender.publish('d/a/raw/d-b', body)
    assert.equal(slow?.wire.bufferedBytes(), buffered)
    world.clock.offsetMs = limits.slowReaderTimeoutMs - 5_000
    sweepStalled(world.server.plugins.delivery)
    assert.equal(slow?.isOpen, true)
    world.clock.offsetMs = limits.slowReaderTimeoutMs + 5_000
    await until(() => slow?.isOpen === false)
    assert.equal(lastReason(world), 'slow_reader')
    await assertStays(sender)
    await world.stop()
  })
})
