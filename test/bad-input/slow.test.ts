import assert from 'node:assert/strict'
import { setInterval as every } from 'node:timers/promises'
import type { Client } from '../world/client.ts'
import { startWorld, type TestDevice, type World } from '../world/world.ts'
import { connectBytes, publishBytes } from './bytes.ts'
import { assertEnded, assertStays, rawClient } from './scene.ts'

/** Short, so that a test can wait for the end of them. */
const timeouts = { connectMs: 150, authenticateMs: 250, refusedHoldMs: 100 }
const TRICKLE_MS = 20

describe('who takes too long', () => {
  let world: World
  let a: TestDevice
  let b: TestDevice
  let connect: Buffer
  beforeEach(async () => {
    world = await startWorld({ env: { DISK_RESERVE_MIB: '1' }, overrides: { timeouts } })
    a = await world.thing('a')
    b = await world.thing('b')
    connect = connectBytes({ clientId: a.id, username: a.id, password: a.token, keepaliveS: 1 })
  })
  afterEach(async () => {
    await world.stop()
    assert.equal(world.server.openSockets(), 0)
    assert.equal(world.server.metrics.heldBytes, 0)
  })

  /** Byte by byte, until it is over or the server has had enough. */
  async function trickle(client: Client, bytes: Uint8Array): Promise<void> {
    let at = 0
    for await (const _ of every(TRICKLE_MS)) {
      if (client.isClosed || at === bytes.length) return
      client.sendBytes(bytes.subarray(at, ++at))
    }
  }

  it('to send the first byte is closed', async () => {
    const silent = await rawClient(world.server.mqttPort)
    await assertEnded(world, silent, 'connect_timeout')
    assert.equal(silent.packets.length, 0)
    assert.equal(world.server.metrics.rejected['connect_timeout'], 1)
  })

  it('to send CONNECT byte by byte is closed, while others connect', async () => {
    const slow = await rawClient(world.server.mqttPort)
    const slowly = trickle(slow, connect)
    const other = await world.connect(b)
    await assertEnded(world, slow, 'connect_timeout')
    await slowly
    await assertStays(other)
  })

  it('to send the rest of a packet is closed by its keepalive, which bytes alone do not renew', async () => {
    const slow = await rawClient(world.server.mqttPort)
    slow.sendBytes(connect)
    await slow.until((c) => c.connack !== undefined, 'CONNACK')
    const slowly = trickle(slow, publishBytes('d/a/raw/d-b', Buffer.alloc(1_000)))
    await assertEnded(world, slow, 'keepalive_timeout')
    await slowly
    assert.equal(
      slow.packets.some(({ cmd }) => cmd === 'puback'),
      false,
    )
  })

  it('among directories is answered for with CONNACK 3, and nobody is let in meanwhile', async () => {
    world.server.opened.ports.directory.authenticate = () => new Promise(() => undefined)
    const client = await rawClient(world.server.mqttPort)
    client.sendBytes(connect)
    await client.closed()
    assert.equal(client.connack?.returnCode, 3)
    assert.equal(world.server.metrics.rejected['authenticate_timeout'], 1)
    assert.equal(world.server.metrics.connects, 0)
  })

  it('no longer than a directory that fails: CONNACK 3, default deny', async () => {
    world.server.opened.ports.directory.authenticate = () => Promise.reject(new Error('the directory is gone'))
    const client = await rawClient(world.server.mqttPort)
    client.sendBytes(connect)
    await client.closed()
    assert.equal(client.connack?.returnCode, 3)
    assert.equal(world.server.metrics.connects, 0)
  })

  it('among recipients keeps its sender waiting: no PUBACK, nothing behind is stored, and a resend is stored in order', async () => {
    const { directory } = world.server.opened.ports
    const { accountOfDevice } = directory
    const sender = await world.connect(a)
    await sender.publish('d/a/raw/home/1', 'known')
    directory.accountOfDevice = () => Promise.reject(new Error('the directory is gone'))
    sender.post('d/a/raw/d-b/2', 'second', { messageId: 102 })
    sender.post('d/a/raw/home/3', 'third', { messageId: 103 })
    await assertEnded(world, sender, 'append_failed')
    assert.deepEqual(
      sender.packets.flatMap((each) => (each.cmd === 'puback' ? [each.messageId] : [])),
      [1],
    )
    directory.accountOfDevice = accountOfDevice
    const back = await world.connect(a)
    await back.publish('d/a/raw/d-b/2', 'second', { dup: true })
    await back.publish('d/a/raw/home/3', 'third', { dup: true })
    const reader = await world.connect(b)
    await reader.subscribe('d/b/from/#')
    assert.deepEqual(
      (await reader.receive(1)).map(({ payload }) => String(payload)),
      ['second'],
    )
    assert.equal(world.server.metrics.stored, 3)
  })
})
