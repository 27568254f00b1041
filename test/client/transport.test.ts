import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createTransport, type Transport, type TransportSettings } from '../../client/transport/transport.ts'
import { type Delivery, decodeDelivery } from '../../topics/codec.ts'
import { limits } from '../../topics/limits.ts'
import { type MadeDevice, startTestNode } from '../api/node.ts'
import { commit, nextStamp, pairRequest, startScene, stopScenes } from '../data-plane/scene.ts'
import type { TestDevice } from '../world/devices.ts'
import type { World } from '../world/world.ts'
import { createWatcher, type Delivered, type Watcher } from './watcher.ts'

describe('the transport of the SDK at the real server', () => {
  let world: World
  let alice: TestDevice
  let bob: TestDevice
  const transports: Transport[] = []
  beforeEach(async () => {
    world = await startScene()
    alice = await world.person('alice')
    bob = await world.person('bob')
  })
  afterEach(async () => {
    for (const transport of transports.splice(0)) transport.destroy()
    await stopScenes()
  })

  function open(device: TestDevice, then: Partial<Watcher> = {}, settings: Partial<TransportSettings> = {}) {
    const seen = createWatcher(then)
    const transport = createTransport(
      {
        url: `mqtt://127.0.0.1:${world.server.mqttPort}`,
        device: device.id,
        token: () => device.token,
        random: () => 0,
        ...settings,
      },
      seen,
    )
    transports.push(transport)
    return { transport, seen }
  }
  async function online(device: TestDevice, then?: Partial<Watcher>) {
    const { transport, seen } = open(device, then)
    transport.start()
    await seen.until(() => seen.online === 1, 'online')
    return { transport, seen }
  }

  const decoded = ({ delivered }: Watcher): Delivery[] =>
    delivered.map(({ payload }) => {
      const delivery = decodeDelivery(payload)
      if (delivery.fault) throw new Error('a delivery cannot be read')
      return delivery
    })
  const bodiesOf = (seen: Watcher): Buffer[] =>
    decoded(seen).flatMap(({ whisper }) => (whisper ? [Buffer.from(whisper)] : []))
  const caughtUp = (seen: Watcher): number => decoded(seen).filter((down) => down.caughtUp !== undefined).length
  const acksOf = (delivered: readonly Delivered[]) => delivered.map(({ ack }) => ack)

  it('carries a full window of requests: PUBACKs in order, deliveries in order', async () => {
    const from = await online(alice)
    // More than the server sends to who acknowledges nothing.
    const to = await online(bob, {
      onDelivery: (_payload, ack) => ack.packetId !== 0 && to.transport.acknowledge([ack]),
    })
    const bodies = Array.from({ length: limits.clientPublishesMax }, () => randomBytes(100))
    const first = nextStamp(bodies.length)
    for (const [i, body] of bodies.entries()) {
      from.transport.publish(pairRequest([bob], { stamp: first + i, body }), first + i)
    }
    await from.seen.until(() => from.seen.stored.length === bodies.length, 'all PUBACKs')
    assert.deepEqual(
      from.seen.stored,
      bodies.map((_, i) => first + i),
    )
    await to.seen.until(() => bodiesOf(to.seen).length === bodies.length, 'all deliveries')
    assert.deepEqual(bodiesOf(to.seen), bodies)
  })

  it('what was not acknowledged comes again after a crash, and what was does not', async () => {
    const from = await online(alice)
    const before = await online(bob)
    const first = nextStamp(3)
    for (let i = 0; i < 3; i++) {
      from.transport.publish(pairRequest([bob], { stamp: first + i, body: Buffer.from([65 + i]) }), first + i)
    }
    await before.seen.until(() => bodiesOf(before.seen).length === 3, 'three deliveries')
    before.transport.acknowledge(acksOf(before.seen.delivered.filter(({ ack }) => ack.packetId !== 0).slice(0, 2)))
    await before.transport.stop()
    await commit(world)
    const after = await online(bob)
    await after.seen.until(() => caughtUp(after.seen) === 1, 'the end of the inbox')
    assert.deepEqual(bodiesOf(after.seen).map(String), ['C'])
    assert.equal(after.seen.delivered[0]?.isRepeat, true)
  })

  it('is told whether the server has its session, and gets its inbox either way', async () => {
    const first = await online(bob)
    await first.seen.until(() => caughtUp(first.seen) === 1, 'the end of the inbox')
    await first.transport.stop()
    const from = await online(alice)
    const stamp = nextStamp()
    from.transport.publish(pairRequest([bob], { stamp, body: Buffer.from('waits') }), stamp)
    await from.seen.until(() => from.seen.stored.length === 1, 'PUBACK')
    const again = await online(bob)
    await again.seen.until(() => caughtUp(again.seen) === 1, 'the end of the inbox')
    assert.deepEqual(bodiesOf(again.seen).map(String), ['waits'])
  })

  it('comes back by itself, and goes on', async () => {
    const from = await online(alice)
    world.server.opened.ports.claims.evict(alice.id, 'overloaded')
    await from.seen.until(() => from.seen.online === 2, 'online again')
    const stamp = nextStamp()
    from.transport.publish(pairRequest([bob], { stamp }), stamp)
    await from.seen.until(() => from.seen.stored.length === 1, 'PUBACK')
    assert.equal(from.seen.ends[0]?.reason, 'closed')
  })

  it('two programs of one device do not fight for long: the waits grow, and the reason is told', async () => {
    let share = 0
    const { seen, transport } = open(alice, {}, { random: () => share })
    transport.start()
    for (let times = 1; times <= 6; times++) {
      await seen.until(() => seen.online === times, 'online')
      // The last wait is the longest there is: what comes after it came of retryNow.
      if (times === 6) share = 1
      await world.connect(alice)
      await seen.until(() => seen.ends.length === times, 'an end')
    }
    assert.deepEqual(
      seen.ends.map(({ reason }) => reason),
      ['closed', 'closed', 'taken_over', 'taken_over', 'taken_over', 'taken_over'],
    )
    transport.retryNow()
    await seen.until(() => seen.online === 7, 'online')
    await world.connect(alice)
    await seen.until(() => seen.ends.length === 7, 'an end')
    assert.equal(seen.ends[6]?.reason, 'closed', 'the user wants it here')
  })

  it('a revoked device stops: nothing is tried again before the user comes', async () => {
    const { seen, transport } = await online(alice)
    await world.server.opened.ports.directory.revoke(alice.id)
    world.server.opened.ports.claims.evict(alice.id, 'revoked')
    await seen.until(() => seen.ends.some(({ reason }) => reason === 'unauthorized'), 'unauthorized')
    const end = seen.ends.at(-1)
    assert.equal(end?.retryInMs, undefined)
    assert.match(end?.text ?? '', /register or link/)
    const { length } = seen.ends
    transport.retryNow()
    await seen.until(() => seen.ends.length === length + 1, 'an end')
    assert.equal(seen.ends.at(-1)?.reason, 'unauthorized')
  })

  it('asks for the token at every connection', async () => {
    let token = 'wrong'
    const { seen, transport } = open(alice, {}, { token: () => token })
    transport.start()
    await seen.until(() => seen.ends.length === 1, 'an end')
    assert.equal(seen.ends[0]?.reason, 'unauthorized')
    token = alice.token
    transport.retryNow()
    await seen.until(() => seen.online === 1, 'online')
  })

  it('speaks MQTT over WebSocket as well', async () => {
    const node = await startTestNode()
    try {
      const [made] = (await node.make({ kind: 'person', prefix: 'p', count: 1 })) as [MadeDevice]
      const url = `ws://127.0.0.1:${node.node.httpPort}/v1/ws`
      const { seen, transport } = open({ ...alice, id: made.device, token: made.token }, {}, { url })
      transport.start()
      await seen.until(() => seen.online === 1 && caughtUp(seen) === 1, 'the end of the inbox')
      const stamps = Array.from({ length: 8 }, (_, i) => nextStamp() + i)
      // To nobody: refused for good, which is PUBACK and an error in front of it.
      for (const stamp of stamps) transport.publish(pairRequest([bob], { stamp }), stamp)
      await seen.until(() => seen.stored.length === stamps.length, 'all PUBACKs')
      assert.deepEqual(seen.stored, stamps)
      assert.equal(decoded(seen).filter(({ error }) => error !== undefined).length, stamps.length)
      await transport.stop()
      assert.deepEqual(seen.ends, [])
    } finally {
      await node.stop()
    }
  })
})
