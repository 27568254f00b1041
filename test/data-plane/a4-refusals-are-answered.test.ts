import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { decodeDelivery, encodeSendRequest } from '../../topics/codec.ts'
import { errorOf, RETRY_LATER, RETRY_REPAIR } from '../../topics/errors.ts'
import type { Client, Received } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import type { World } from '../world/world.ts'
import {
  attend,
  createGate,
  errorsOf,
  messages,
  nextStamp,
  order,
  outOf,
  pairRequest,
  putAway,
  receiveMessages,
  send,
  startScene,
  stopScenes,
  TEXT_BYTES,
  until,
} from './scene.ts'

const STALE_REGISTRATION = 9
const pubacks = (client: Client): number => client.packets.filter(({ cmd }) => cmd === 'puback').length

/** Errors by the stamp they answer, as they stand between the PUBACKs. */
const byError = ({ payload }: Received): string => {
  const delivery = decodeDelivery(payload)
  return delivery.fault || delivery.error === undefined ? 'other' : `error ${delivery.error.stamp}`
}

describe('A4: refusals are answered', () => {
  let world: World
  let alice: TestDevice
  let bob: TestDevice
  let from: Client
  before(async () => {
    world = await startScene()
    alice = await world.person('alice')
    bob = await world.person('bob')
  })
  beforeEach(async () => {
    world.clock.offsetMs += 60_000
    from = await attend(world, alice)
  })
  afterEach(() => from.destroy())
  after(stopScenes)

  const stale = (): TestDevice => ({ ...bob, registrationId: STALE_REGISTRATION })

  it('in front of their PUBACK and in the order of the requests, those that are accepted among them', async () => {
    const first = nextStamp(6)
    const requests = [
      pairRequest([bob], { stamp: first }),
      pairRequest([stale()], { stamp: first + 1 }),
      pairRequest([bob], { stamp: first + 2 }),
      pairRequest([bob], { stamp: first }),
      pairRequest([await world.person('nobody'), bob], { stamp: first + 4 }),
      pairRequest([bob], { stamp: first + 5 }),
    ]
    for (const [i, request] of requests.entries()) from.post(outOf(alice), request, { messageId: 101 + i })
    await from.until(() => pubacks(from) === requests.length, 'all PUBACKs')
    assert.deepEqual(
      order(from, byError).filter((text) => text !== 'other'),
      [
        'puback 101',
        `error ${first + 1}`,
        'puback 102',
        'puback 103',
        `error ${first}`,
        'puback 104',
        `error ${first + 4}`,
        'puback 105',
        'puback 106',
      ],
    )
  })

  it('with what to repair; the answer has QoS 0, is no row, and the repaired request is judged anew', async () => {
    const stamp = nextStamp()
    await send(from, alice, [stale()], { stamp })
    const [error] = errorsOf(from)
    assert.equal(error?.code, errorOf('devices_stale').number)
    assert.equal(error?.retry, RETRY_REPAIR)
    assert.deepEqual(
      error?.stale.map(({ device, registrationId }) => ({ device, registrationId })),
      [{ device: bob.number, registrationId: bob.registrationId }],
    )
    const packet = from.received.find((received) => byError(received) === `error ${stamp}`)
    assert.equal(packet?.qos, 0)
    from.destroy()
    from = await attend(world, alice)
    await send(from, alice, [bob], { stamp })
    assert.deepEqual(errorsOf(from), [])
    const there = await attend(world, bob)
    await there.until(() => messages(there).length > 0, 'the message')
    there.destroy()
  })

  const final: [code: Parameters<typeof errorOf>[0], request: (stamp: number) => Uint8Array | Promise<Uint8Array>][] = [
    ['unknown_recipient', (stamp) => pairRequest([{ ...bob, user: randomBytes(16) }], { stamp })],
    ['unknown_field', (stamp) => Buffer.concat([pairRequest([bob], { stamp }), Buffer.of(0xa0, 0x06, 1)])],
    ['empty_body', (stamp) => pairRequest([bob], { stamp, body: new Uint8Array(0) })],
    ['unsupported', (stamp) => encodeSendRequest({ stamp, withdraw: { peer: bob.user, seqs: [1] } })],
    ['raw_not_allowed', (stamp) => encodeSendRequest({ stamp, raw: { peer: bob.user, raw: randomBytes(9) } })],
    [
      'peer_not_a_person',
      async (stamp) => pairRequest([await world.service(`s${stamp % 1e6}`, `h${stamp}`)], { stamp }),
    ],
    ['not_allowed', async (stamp) => rawTo(await world.thing(`t${stamp % 1e6}`), stamp)],
  ]
  const rawTo = (to: TestDevice, stamp: number) =>
    encodeSendRequest({ stamp, raw: { peer: to.user, raw: randomBytes(9) } })
  for (const [code, request] of final) {
    it(`by name and for good: ${code}`, async () => {
      const stamp = nextStamp()
      await from.publish(outOf(alice), await request(stamp))
      assert.deepEqual(
        errorsOf(from).map((error) => [error.stamp, error.code, error.retry]),
        [[stamp, errorOf(code).number, errorOf(code).retry]],
      )
    })
  }

  const hopeless: [what: string, topic: () => string, payload: () => Uint8Array, reason: string][] = [
    ['bytes that are no request', () => outOf(alice), () => randomBytes(TEXT_BYTES).fill(0xff), 'malformed_payload'],
    ['a request without a stamp', () => outOf(alice), () => pairRequest([bob], { stamp: 0 }), 'malformed_payload'],
    ['a topic of another device', () => outOf(bob), () => pairRequest([bob]), 'foreign_topic'],
    ['a topic of another kind of device', () => `d/${alice.id}/raw/d-${bob.id}`, () => randomBytes(9), 'foreign_topic'],
    ['a topic that nobody has', () => `d/${alice.id}/elsewhere`, () => randomBytes(9), 'foreign_topic'],
  ]
  for (const [what, topic, payload, reason] of hopeless) {
    it(`by closing, without PUBACK, when nobody could be told: ${what}`, async () => {
      const before = world.server.metrics.disconnects[reason] ?? 0
      from.post(outOf(alice), pairRequest([bob]), { messageId: 1 })
      from.post(topic(), payload(), { messageId: 2 })
      from.post(outOf(alice), pairRequest([bob]), { messageId: 3 })
      await from.closed()
      const acked = from.packets.flatMap((packet) => (packet.cmd === 'puback' ? packet.messageId : []))
      assert.equal(acked.includes(2) || acked.includes(3), false)
      assert.equal(world.server.metrics.disconnects[reason], before + 1)
      // What was accepted in front of it is in a commit; nothing is held for it afterwards.
      await until(() => world.server.metrics.heldBytes === 0, 'end of what was held')
      assert.equal(world.server.plugins.ingress.senders.size, 0)
    })
  }

  it('to things as one JSON line under from/error/<code>, then PUBACK', async () => {
    const sensor = await world.thing('sensor')
    const thing = await attend(world, sensor)
    const bad: [to: string, code: string][] = [
      ['d-nowhere', 'unknown_recipient'],
      ['x-y', 'recipient_invalid'],
      [`d-${bob.id}`, 'not_allowed'],
    ]
    for (const [i, [to]] of bad.entries()) await thing.publish(`d/sensor/raw/${to}/${i + 1}`, 'x', { messageId: i + 1 })
    await thing.publish('d/sensor/raw/home/007', 'x', { messageId: 9 })
    await thing.publish('d/sensor/raw/home', randomBytes(65_537), { messageId: 10 })
    const lines = thing.received.map(({ topic, qos, payload }) => ({ topic, qos, ...JSON.parse(String(payload)) }))
    assert.deepEqual(
      lines.map(({ topic, qos, to, n }) => ({ topic, qos, to, n })),
      [
        ...bad.map(([to, code], i) => ({ topic: `d/sensor/from/error/${code}`, qos: 0, to, n: `${i + 1}` })),
        { topic: 'd/sensor/from/error/number_invalid', qos: 0, to: 'home', n: '007' },
        { topic: 'd/sensor/from/error/too_large', qos: 0, to: 'home', n: '' },
      ],
    )
    for (const { text } of lines) assert.match(text, /\w+ \w+/)
    assert.deepEqual(
      order(thing, () => 'error'),
      [1, 2, 3, 9, 10].flatMap((id) => ['error', `puback ${id}`]),
    )
  })
})

describe('A4: what may pass is answered', () => {
  const gate = createGate()
  let world: World
  before(async () => {
    world = await startScene({ gate, refusedHoldMs: 300 })
  })
  after(stopScenes)

  it('to persons with RETRY_LATER, and for requests in flight behind it in that conversation as well', async () => {
    const alice = await world.person('alice')
    const bob = await world.person('bob')
    const carol = await world.person('carol')
    const from = await attend(world, alice)
    await send(from, alice, [bob])
    gate.close()
    const stamps = [nextStamp(), nextStamp(), nextStamp()]
    const arrival = gate.arrival()
    from.post(outOf(alice), pairRequest([bob], { stamp: stamps[0] as number }))
    await arrival
    // SQLITE_IOERR: the commit fails, the store goes on.
    gate.fail(10)
    await from.until(() => errorsOf(from).length === 1, 'refusal')
    gate.open()
    await send(from, alice, [bob], { stamp: stamps[1] as number })
    await send(from, alice, [carol], { stamp: stamps[2] as number })
    assert.deepEqual(
      errorsOf(from).map(({ stamp, code, retry, retryInS }) => ({ stamp, code, retry, retryInS })),
      [
        { stamp: stamps[0], code: errorOf('storage_unavailable').number, retry: RETRY_LATER, retryInS: 5 },
        { stamp: stamps[1], code: errorOf('overloaded').number, retry: RETRY_LATER, retryInS: 5 },
      ],
    )
    world.clock.offsetMs += 5_001
    await send(from, alice, [bob])
    assert.equal(errorsOf(from).length, 2)
    const there = await attend(world, bob)
    assert.equal((await receiveMessages(there, 2)).length, 2)
  })

  it('to things by nothing: no PUBACK, nothing more is taken, and in the end the connection closes', async () => {
    const sensor = await world.thing('sensor')
    const thing = await attend(world, sensor)
    await thing.publish('d/sensor/raw/home', 'stored')
    gate.close()
    const arrival = gate.arrival()
    thing.post('d/sensor/raw/home', 'refused', { messageId: 51 })
    await arrival
    gate.fail(10)
    await until(() => world.server.metrics.heldBytes === 0, 'refusal')
    gate.open()
    thing.post('d/sensor/raw/home', 'behind it', { messageId: 52 })
    await thing.ping()
    assert.equal(thing.isClosed, false)
    await thing.closed()
    assert.equal(pubacks(thing), 1)
    assert.deepEqual(thing.received, [])
    assert.equal(world.server.metrics.disconnects['append_failed'], 1)
    assert.equal(world.server.metrics.heldBytes, 0)
    const { inbox } = world.server.opened.ports
    await putAway(world, 'tailRows')
    assert.equal((await inbox.page('homesvc', 0, 0, 9)).length, 1)
  })
})
