import assert from 'node:assert/strict'
import { limits } from '../../topics/limits.ts'
import { messageType, oracleBytes } from '../wire/oracle.ts'
import type { Client } from '../world/client.ts'
import type { World } from '../world/world.ts'
import { field, join, publishBytes } from './bytes.ts'
import { toBobOf } from './envelopes.ts'
import { MINUTE_MS, pairBytes, refusalIn, type Scene, startScene } from './scene.ts'

describe('in a request the largest that is allowed is taken, and one more is refused:', () => {
  let scene: Scene
  let world: World
  before(async () => {
    scene = await startScene()
    world = scene.world
  })
  beforeEach(() => {
    world.clock.offsetMs += MINUTE_MS
  })
  afterEach(() => scene.assertUntouched('still talking'))
  after(() => scene.stop())

  it('bytes of an envelope', async () => {
    const eve = await world.connect(scene.attackers.person)
    await eve.subscribe('d/eve/in')
    const bob = await world.connect(scene.castOf(scene.attackers.person).bob)
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
})

function isError(payload: Buffer): boolean {
  return 'error' in messageType('Delivery').toObject(messageType('Delivery').decode(payload))
}

function errorsIn(client: Client): (number | undefined)[] {
  return client.received
    .map(({ payload }) => messageType('Delivery').toObject(messageType('Delivery').decode(payload)))
    .flatMap(({ error }) => (error === undefined ? [] : [(error as { code: number }).code]))
}
