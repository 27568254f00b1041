import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { errorOf, RETRY_LATER, RETRY_REPAIR } from '../../topics/errors.ts'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import type { World } from '../world/world.ts'
import {
  accepted,
  acknowledged,
  attend,
  errorsOf,
  messages,
  nextStamp,
  outOf,
  pairRequest,
  putAway,
  receiveMessages,
  send,
  startScene,
  stopScenes,
} from './scene.ts'

const DAY_MS = 86_400_000
const RECORDS_MAX = 1_024

describe('A3: request records are the dedupe', () => {
  let world: World
  let alice: TestDevice
  let bob: TestDevice
  let to: Client
  async function begin(settles: boolean): Promise<void> {
    world = await startScene({ settles })
    alice = await world.person('alice')
    bob = await world.person('bob')
    to = await attend(world, bob)
  }
  beforeEach(() => begin(false))
  afterEach(stopScenes)

  /** alice without acknowledging anything: her records wait. */
  const quietly = (options = {}) => attend(world, alice, { autoAck: false, ...options })

  it('so that a request sent again while its record waits gets its PUBACK and nothing else', async () => {
    const from = await quietly()
    const request = pairRequest([bob])
    for (let i = 0; i < 3; i++) await from.publish(outOf(alice), request)
    await receiveMessages(to, 1)
    await send(from, alice, [bob])
    await receiveMessages(to, 2)
    assert.deepEqual(errorsOf(from), [])
    assert.equal(world.server.metrics.repeated, 2)
  })

  for (const again of [
    'on a new connection',
    'after a restart',
    'after ten days',
    'once records were put away',
  ] as const) {
    it(`also ${again}`, async () => {
      if (again === 'once records were put away') {
        await world.stop()
        await begin(true)
      }
      const first = await quietly()
      const stamp = nextStamp()
      const request = pairRequest([bob], { stamp })
      await first.publish(outOf(alice), request)
      await receiveMessages(to, 1)
      first.destroy()
      if (again === 'after a restart') await world.restart()
      if (again === 'after ten days') world.clock.offsetMs += 10 * DAY_MS
      if (again === 'once records were put away') {
        await putAway(world, 'tailEntries')
      }
      const second = await quietly()
      await second.publish(outOf(alice), request)
      assert.deepEqual(errorsOf(second), [])
      await second.until(() => accepted(second).has(stamp), 'accepted')
      assert.equal(accepted(second).get(stamp), messages(to)[0]?.seq)
      const there = await attend(world, bob)
      await send(second, alice, [bob])
      const seqs = () => new Set([...messages(to), ...messages(there)].map(({ seq }) => seq))
      await there.until(() => seqs().size >= 2, 'the next message')
      assert.equal(seqs().size, 2)
    })
  }

  it('and told that its stamp is behind once the record is settled, with the last one to go on above', async () => {
    const from = await attend(world, alice)
    const first = nextStamp()
    const request = pairRequest([bob], { stamp: first })
    await from.publish(outOf(alice), request)
    const last = await send(from, alice, [bob])
    await from.until(() => accepted(from).size === 2, 'accepted')
    await acknowledged(world, from)
    await from.publish(outOf(alice), request)
    await world.restart()
    const again = await attend(world, alice)
    await again.publish(outOf(alice), request)
    for (const client of [from, again]) {
      assert.deepEqual(
        errorsOf(client).map(({ stamp, code, retry, lastStamp }) => ({ stamp, code, retry, lastStamp })),
        [{ stamp: first, code: errorOf('stamp_behind').number, retry: RETRY_REPAIR, lastStamp: last }],
      )
    }
    assert.equal(new Set(messages(to).map(({ seq }) => seq)).size, 2)
  })

  it('and told the same when its bytes are others, or when a database came back from an old copy', async () => {
    const from = await quietly()
    const stamp = await send(from, alice, [bob])
    await send(from, alice, [bob], { stamp })
    await send(from, alice, [bob], { stamp: stamp - 5 })
    assert.deepEqual(
      errorsOf(from).map((error) => [error.stamp, error.code, error.lastStamp]),
      [
        [stamp, errorOf('stamp_behind').number, stamp],
        [stamp - 5, errorOf('stamp_behind').number, stamp],
      ],
    )
    await send(from, alice, [bob])
    assert.equal((await receiveMessages(to, 2)).length, 2)
  })

  it('with at most 1,024 waiting for a device: the next is to be sent later, and taken when one is settled', async () => {
    const from = await quietly()
    const first = nextStamp(RECORDS_MAX + 1)
    const ids = Array.from({ length: RECORDS_MAX + 1 }, (_, i) => {
      const request = pairRequest([bob], { stamp: first + i, body: randomBytes(20) })
      return from.post(outOf(alice), request)
    })
    await from.until(
      (c) => c.packets.filter(({ cmd }) => cmd === 'puback').length === ids.length,
      'all PUBACKs',
      15_000,
    )
    assert.deepEqual(
      errorsOf(from).map(({ stamp, code, retry, retryInS }) => ({ stamp, code, retry, retryInS })),
      [{ stamp: first + RECORDS_MAX, code: errorOf('records_full').number, retry: RETRY_LATER, retryInS: 5 }],
    )
    await from.until(() => accepted(from).size >= 16, 'accepted')
    for (const packet of from.received) if (packet.qos === 1) from.puback(packet.messageId as number)
    await acknowledged(world, from)
    world.clock.offsetMs += 6_000
    await send(from, alice, [bob], { stamp: first + RECORDS_MAX })
    assert.equal(errorsOf(from).length, 1)
    await receiveMessages(to, RECORDS_MAX + 1)
  })

  it("a thing's rising number is its stamp: not above the last one is answered as done", async () => {
    const sensor = await world.thing('sensor')
    const valve = await world.thing('valve')
    const there = await attend(world, valve)
    let thing = await world.connect(sensor)
    for (const n of [5, 5, 4, 6]) await thing.publish(`d/sensor/raw/d-valve/${n}`, `n ${n}`)
    thing.destroy()
    thing = await world.connect(sensor)
    for (const n of [6, 1, 7]) await thing.publish(`d/sensor/raw/d-valve/${n}`, `n ${n}`)
    await there.receive(3)
    await world.restart()
    thing = await world.connect(sensor)
    const back = await attend(world, valve)
    for (const n of [7, 8]) await thing.publish(`d/sensor/raw/d-valve/${n}`, `n ${n}`)
    const texts = () => [...new Set([...there.received, ...back.received].map(({ payload }) => String(payload)))]
    await back.until(() => texts().includes('n 8'), 'the last number')
    assert.deepEqual(texts(), ['n 5', 'n 6', 'n 7', 'n 8'])
  })

  it('and raw bytes without a number are stored as often as they come, with DUP or without', async () => {
    const sensor = await world.thing('sensor')
    const valve = await world.thing('valve')
    const there = await attend(world, valve)
    const thing = await world.connect(sensor)
    await thing.publish('d/sensor/raw/d-valve', 'x', { messageId: 1 })
    await thing.publish('d/sensor/raw/d-valve', 'x', { messageId: 1, dup: true })
    await thing.publish('d/sensor/raw/d-valve', 'x', { messageId: 1, dup: true })
    const got = await there.receive(3)
    assert.deepEqual(
      got.map(({ payload, dup }) => [String(payload), dup]),
      [
        ['x', false],
        ['x', false],
        ['x', false],
      ],
    )
  })
})
