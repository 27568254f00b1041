import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { limits } from '../../topics/limits.ts'
import { messageType, oracleBytes } from '../wire/oracle.ts'
import type { Client } from '../world/client.ts'
import { OBSERVER_PASSWORD, type TestDevice, type World } from '../world/world.ts'
import { connectBytes, field, join, packet, publishBytes, subscribeBytes, unsubscribeBytes } from './bytes.ts'
import { toBobOf } from './envelopes.ts'
import {
  assertEnded,
  assertStays,
  lastReason,
  MINUTE_MS,
  pairBytes,
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

  it('bytes of an envelope', async () => {
    const eve = await world.connect(scene.attackers.person)
    await eve.subscribe('d/eve/in')
    const bob = await world.connect(scene.castOf(mallory).bob)
    const cast = scene.castOf(scene.attackers.person)
    await eve.publish('d/eve/out', toBobOf(limits.envelopeBytesMax, cast, cast.stamp()))
    await bob.receive(1)
    await eve.publish('d/eve/out', toBobOf(limits.envelopeBytesMax + 1, cast, cast.stamp()))
    await eve.until((c) => c.received.some(({ payload }) => isError(payload)), 'a refusal')
    await bob.ping()
    await bob.disconnect()
    assert.equal(bob.received.filter(({ qos }) => qos === 1).length, 1)
    await eve.disconnect()
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

  it('entries of the lists in a request', async () => {
    const eve = await world.connect(scene.attackers.person)
    await eve.subscribe('d/eve/in')
    const cast = scene.castOf(scene.attackers.person)
    const peer = cast.bob.user
    const times = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value)
    const lists: [string, number, (count: number) => object, string | undefined][] = [
      [
        'devices',
        limits.devicesPerRequestMax,
        (n) => ({ pair: { peer, devices: times(n, { whisper: Buffer.of(1), device: 9 }) } }),
        'devices_stale',
      ],
      [
        'receipts',
        limits.receiptsPerRequestMax,
        (n) => ({ receipts: { items: times(n, { peer: cast.me.user, read: 1 }) } }),
        undefined,
      ],
      [
        'played',
        limits.seqsPerListMax,
        (n) => ({ receipts: { items: [{ peer: cast.me.user, played: times(n, 5) }] } }),
        undefined,
      ],
      ['rows of a sync', limits.syncRowsMax, (limit) => ({ sync: { peer, limit } }), 'unsupported'],
    ]
    for (const [name, max, make, refused] of lists) {
      for (const [count, expected] of [
        [max, refused],
        [max + 1, 'too_large'],
      ] as const) {
        const before = eve.received.length
        await eve.publish('d/eve/out', oracleBytes('SendRequest', { stamp: cast.stamp(), ...make(count) }))
        const answer = eve.received.length === before ? undefined : refusalIn(eve, cast.me)
        assert.equal(answer, expected, `${count} ${name}`)
      }
    }
    await eve.disconnect()
  })

  it('seconds until a message or a call expires', async () => {
    const eve = await world.connect(scene.attackers.person)
    await eve.subscribe('d/eve/in')
    const cast = scene.castOf(scene.attackers.person)
    const send = async (...fields: Uint8Array[]) => {
      const before = world.server.metrics.stored
      await eve.publish('d/eve/out', join(pairBytes(cast.bob, cast.stamp(), 'x'), ...fields))
      return world.server.metrics.stored - before
    }
    assert.equal(await send(field(12, limits.expiresInSMax + 1)), 0)
    assert.equal(await send(field(11, 3), field(12, limits.callExpiresInSMax + 1)), 0)
    const bob = await world.connect(cast.bob)
    assert.equal(await send(field(12, limits.expiresInSMax)), 1)
    assert.equal(await send(field(11, 3), field(12, limits.callExpiresInSMax)), 1)
    await bob.receive(2)
    await bob.ping()
    await bob.disconnect()
    await eve.disconnect()
  })

  it('milliseconds that after_seq may be ahead of the store', async () => {
    const eve = await world.connect(scene.attackers.person)
    await eve.subscribe('d/eve/in')
    const cast = scene.castOf(scene.attackers.person)
    const bob = await world.connect(cast.bob)
    await eve.publish('d/eve/out', pairBytes(cast.bob, cast.stamp(), 'first'))
    const [first] = await bob.receive(1)
    const { seq } = messageType('Delivery').toObject(messageType('Delivery').decode(first?.payload as Buffer)) as {
      seq: { toNumber(): number }
    }
    // The clock of the store is behind its last number, so that this number is what counts.
    world.clock.offsetMs -= 10_000
    const ahead = seq.toNumber() + limits.afterSeqAheadMsMax * 16_384
    await eve.publish('d/eve/out', join(pairBytes(cast.bob, cast.stamp(), 'x'), field(13, ahead + 1)))
    assert.equal(refusalIn(eve, cast.me), 'seq_ahead')
    await eve.publish('d/eve/out', join(pairBytes(cast.bob, cast.stamp(), 'x'), field(13, ahead)))
    await bob.receive(2)
    await bob.ping()
    await bob.disconnect()
    await eve.disconnect()
    // Its numbers are ahead of its clock now; those behind it are not to be taken for a leap.
    world.clock.offsetMs += 10 * MINUTE_MS
  })

  it('requests that wait for the acknowledgement of accepted', async () => {
    const patient = await world.person('patient')
    const client = await world.connect(patient, { autoAck: false })
    await client.subscribe('d/patient/in')
    const friend = await world.person('friend')
    let stamp = 1
    const requests = Array.from({ length: limits.waitingRecordsMax }, () =>
      publishBytes('d/patient/out', pairBytes(friend, ++stamp, 'x'), stamp),
    )
    client.sendBytes(join(...requests))
    await client.until((c) => c.packets.filter(({ cmd }) => cmd === 'puback').length === requests.length, 'PUBACKs')
    assert.equal(world.server.metrics.refused['records_full'] ?? 0, 0)
    await client.publish('d/patient/out', pairBytes(friend, ++stamp, 'x'))
    assert.equal(world.server.metrics.refused['records_full'], 1)
    assert.equal(errorsIn(client).at(-1), 64)
    client.destroy()
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
      Array.from({ length: limits.halfOpenPerAddressMax }, () => rawClient(server.mqttPort)),
    )
    await until(() => server.openSockets() === standing + limits.halfOpenPerAddressMax)
    const late = await rawClient(server.mqttPort)
    await assertEnded(world, late, 'too_many_half_open')
    waiting[0]?.destroy()
    await until(() => server.openSockets() === standing + limits.halfOpenPerAddressMax - 1)
    assert.equal(await connectOf({}), 0)
    for (const client of waiting) client.destroy()
    await until(() => server.openSockets() === standing)
  })
})

function isError(payload: Buffer): boolean {
  return 'error' in messageType('Delivery').toObject(messageType('Delivery').decode(payload))
}

function errorsIn(client: Client): (number | undefined)[] {
  return client.received
    .map(({ payload }) => messageType('Delivery').toObject(messageType('Delivery').decode(payload)))
    .flatMap(({ error }) => (error === undefined ? [] : [(error as { code: number }).code]))
}

async function deviceWithToken(world: World, id: string, secret: Buffer): Promise<{ id: string; token: Buffer }> {
  const owner = await world.service(`${id.slice(0, 6)}svc`, id)
  const tokenHash = createHash('sha256').update(secret).digest()
  const device = { id, user: owner.user, number: 2, registrationId: 5, numbered: false, tokenHash }
  await world.server.opened.ports.directory.create([], [device])
  return { id, token: secret }
}
