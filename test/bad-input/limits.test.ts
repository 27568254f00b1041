import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { limits } from '../../topics/limits.ts'
import { OBSERVER_PASSWORD, type TestDevice, type World } from '../world/world.ts'
import { connectBytes, join, packet, publishBytes, subscribeBytes, unsubscribeBytes } from './bytes.ts'
import {
  assertEnded,
  assertStays,
  lastReason,
  MINUTE_MS,
  rawClient,
  refusalIn,
  type Scene,
  startScene,
  until,
} from './scene.ts'

describe('the largest that is allowed is taken, and one more is not:', () => {
  let scene: Scene
  let world: World
  let mallory: TestDevice
  before(async () => {
    scene = await startScene()
    world = scene.world
    mallory = scene.attackers.thing
  })
  beforeEach(() => {
    world.clock.offsetMs += MINUTE_MS
  })
  afterEach(() => scene.assertUntouched('still talking'))
  after(() => scene.stop())

  /** Sends one CONNECT and gives the code of its answer; undefined: closed without one. */
  async function codeOf(bytes: Uint8Array): Promise<number | undefined> {
    const client = await rawClient(world.server.mqttPort)
    client.sendBytes(bytes)
    await client.until((c) => c.connack !== undefined || c.isClosed, 'CONNACK or close')
    client.destroy()
    return client.connack?.returnCode
  }

  const connectOf = (parts: Parameters<typeof connectBytes>[0]) =>
    codeOf(connectBytes({ clientId: mallory.id, username: mallory.id, password: mallory.token, ...parts }))

  it('bytes of a packet before CONNECT', async () => {
    const of = (bytes: number) => {
      const make = (chars: number) =>
        connectBytes({ clientId: 'o'.repeat(chars), username: 'observer', password: OBSERVER_PASSWORD, clean: true })
      return make(bytes - (make(bytes).length - bytes))
    }
    assert.equal(of(limits.frameBeforeConnectBytesMax).length, limits.frameBeforeConnectBytesMax)
    assert.equal(await codeOf(of(limits.frameBeforeConnectBytesMax)), 0)
    assert.equal(await codeOf(of(limits.frameBeforeConnectBytesMax + 1)), undefined)
    assert.equal(lastReason(world), 'frame_too_large')
  })

  it('bytes of a packet after CONNECT', async () => {
    const client = await world.connect(mallory)
    await client.subscribe('d/mallory/from/#')
    const of = (bytes: number) => {
      const head = publishBytes('d/mallory/raw/d-victim', '').length + 2
      return publishBytes('d/mallory/raw/d-victim', Buffer.alloc(bytes - head))
    }
    assert.equal(of(limits.frameBytesMax).length, limits.frameBytesMax)
    client.sendBytes(of(limits.frameBytesMax))
    await client.until((c) => c.packets.some(({ cmd }) => cmd === 'puback'), 'PUBACK')
    assert.equal(refusalIn(client, mallory), 'too_large')
    client.sendBytes(of(limits.frameBytesMax + 1))
    await assertEnded(world, client, 'frame_too_large')
  })

  it('bytes of a raw topic', async () => {
    const sender = await world.connect(mallory)
    await sender.subscribe('d/mallory/from/#')
    const victim = await world.connect(scene.castOf(mallory).victim)
    await sender.publish('d/mallory/raw/d-victim', Buffer.alloc(limits.rawBytesMax, 1))
    const [got] = await victim.receive(1)
    assert.equal(got?.payload.length, limits.rawBytesMax)
    await sender.publish('d/mallory/raw/d-victim', Buffer.alloc(limits.rawBytesMax + 1, 1))
    assert.equal(refusalIn(sender, mallory), 'too_large')
    await victim.ping()
    await victim.disconnect()
    assert.equal(victim.received.length, 1)
    await sender.disconnect()
  })

  it('bytes of a will', async () => {
    const will = (bytes: number) => ({ topic: 'd/mallory/gone', payload: Buffer.alloc(bytes, 1) })
    assert.equal(await connectOf({ will: will(limits.willBytesMax) }), 0)
    assert.equal(await connectOf({ will: will(limits.willBytesMax + 1) }), 5)
  })

  it('bytes and levels of a filter', async () => {
    const client = await world.connect(mallory)
    const levels = (count: number) => 'x/'.repeat(count).slice(0, -1)
    assert.deepEqual(await client.subscribe('x'.repeat(limits.topicBytesMax)), [0x80])
    assert.deepEqual(await client.subscribe(levels(limits.topicLevelsMax)), [0x80])
    client.sendBytes(subscribeBytes(['x'.repeat(limits.topicBytesMax + 1)]))
    await assertEnded(world, client, 'bad_subscribe')
    const again = await world.connect(mallory)
    again.sendBytes(subscribeBytes([levels(limits.topicLevelsMax + 1)]))
    await assertEnded(world, again, 'bad_subscribe')
  })

  it('characters of a device id', async () => {
    const longest = await world.thing('a'.repeat(limits.deviceIdCharsMax))
    assert.equal(await connectOf({ clientId: longest.id, username: longest.id, password: longest.token }), 0)
    assert.equal(await connectOf({ clientId: `${longest.id}a`, username: `${longest.id}a` }), 2)
  })

  it('bytes of a token', async () => {
    const device = await deviceWithToken(world, 'longtoken', randomBytes(limits.tokenBytesMax))
    const tooLong = await deviceWithToken(world, 'longertoken', randomBytes(limits.tokenBytesMax + 1))
    for (const [{ id, token }, code] of [
      [device, 0],
      [tooLong, 4],
    ] as const) {
      assert.equal(await connectOf({ clientId: id, username: id, password: token }), code)
    }
  })

  it('filters of a SUBSCRIBE and of an UNSUBSCRIBE', async () => {
    const filters = (count: number) => Array.from({ length: count }, (_, i) => `x/${i}`)
    for (const make of [subscribeBytes, unsubscribeBytes]) {
      const client = await world.connect(mallory)
      client.sendBytes(make(filters(limits.filtersPerSubscribeMax)))
      await client.until((c) => c.packets.some(({ cmd }) => cmd === 'suback' || cmd === 'unsuback'), 'an answer')
      client.sendBytes(make(filters(limits.filtersPerSubscribeMax + 1)))
      await assertEnded(world, client, 'bad_subscribe')
    }
  })

  it('seconds of a keepalive', async () => {
    assert.equal(await connectOf({ keepaliveS: limits.keepaliveSMax }), 0)
    assert.equal(await connectOf({ keepaliveS: limits.keepaliveSMax + 1 }), 5)
  })

  it('control packets in ten seconds', async () => {
    const client = await world.connect(mallory)
    const pings = (count: number) => client.sendBytes(join(...Array.from({ length: count }, () => packet(0xc0))))
    const answered = (count: number) =>
      client.until((c) => c.packets.filter(({ cmd }) => cmd === 'pingresp').length === count, `${count} PINGRESPs`)
    pings(limits.controlPacketsPer10SMax)
    await answered(limits.controlPacketsPer10SMax)
    world.clock.offsetMs += 10_001
    pings(limits.controlPacketsPer10SMax)
    await answered(2 * limits.controlPacketsPer10SMax)
    pings(1)
    await assertEnded(world, client, 'flood')
  })

  it('acknowledgements of nothing in ten seconds', async () => {
    const client = await world.connect(mallory)
    const before = world.server.metrics.unknownPubacks
    const acks = (count: number) =>
      client.sendBytes(join(...Array.from({ length: count }, (_, i) => packet(0x40, i >>> 8, i & 255))))
    await client.ping()
    acks(limits.unknownPubacksPer10SMax)
    await assertStays(client)
    assert.equal(world.server.metrics.unknownPubacks - before, limits.unknownPubacksPer10SMax)
    acks(1)
    await assertEnded(world, client, 'flood')
  })

  it('connects of a device in a minute, and the ban behind them', async () => {
    const flapper = await world.thing('flapper')
    const code = () => connectOf({ clientId: flapper.id, username: flapper.id, password: flapper.token })
    const wrong = () => connectOf({ clientId: flapper.id, username: flapper.id, password: 'wrong' })
    // Whoever does not know its token cannot get it banned.
    for (let i = 0; i < 2 * limits.connectsPerDevicePerMinuteMax; i++) assert.equal(await wrong(), 4)
    for (let i = 0; i < limits.connectsPerDevicePerMinuteMax; i++) assert.equal(await code(), 0)
    assert.equal(await code(), 5)
    assert.equal(lastReason(world), 'flapping')
    const bannedAt = world.clock.offsetMs
    world.clock.offsetMs = bannedAt + limits.flappingBanMs - 5_000
    assert.equal(await code(), 5)
    world.clock.offsetMs = bannedAt + limits.flappingBanMs + 1
    assert.equal(await code(), 0)
  })

  it('connections of one address that have not finished CONNECT', async () => {
    const { server } = world
    const standing = server.openSockets()
    const waiting = await Promise.all(
      Array.from({ length: limits.handshakesPerAddressMax }, () => rawClient(server.mqttPort)),
    )
    await until(() => server.openSockets() === standing + limits.handshakesPerAddressMax)
    const late = await rawClient(server.mqttPort)
    await assertEnded(world, late, 'too_many_handshakes')
    waiting[0]?.destroy()
    await until(() => server.openSockets() === standing + limits.handshakesPerAddressMax - 1)
    assert.equal(await connectOf({}), 0)
    for (const client of waiting) client.destroy()
    await until(() => server.openSockets() === standing)
  })
})

async function deviceWithToken(world: World, id: string, secret: Buffer): Promise<{ id: string; token: Buffer }> {
  const owner = await world.service(`${id.slice(0, 6)}svc`, id)
  const tokenHash = createHash('sha256').update(secret).digest()
  const device = { id, user: owner.user, number: 2, registrationId: 5, numbered: false, tokenHash }
  await world.server.opened.ports.directory.create([], [device])
  return { id, token: secret }
}
