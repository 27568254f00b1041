import assert from 'node:assert/strict'
import { errorOf } from '../../topics/errors.ts'
import { limits } from '../../topics/limits.ts'
import { retain, WALK_BEGIN, type Walk } from '../../workers/retention.ts'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import type { World } from '../world/world.ts'
import {
  acknowledged,
  attend,
  caughtUp,
  commit,
  deliveredUpTo,
  deliveries,
  errorsOf,
  expiredSeqs,
  messages,
  outOf,
  pairRequest,
  putAway,
  receipts,
  receiveMessages,
  retentionRound,
  send,
  startScene,
  stopScenes,
  until,
} from './scene.ts'

const ROWS_MAX = 5
const DAY_MS = 86_400_000
const undeliverable = errorOf('undeliverable').number
const gaps = (client: Client): number[] => deliveries(client).flatMap(({ notice }) => notice?.gap ?? [])

describe('B6: an inbox is bounded', () => {
  let world: World
  let alice: TestDevice
  let bob: TestDevice
  let from: Client
  beforeEach(async () => {
    world = await startScene({ env: { INBOX_ROWS_MAX: `${ROWS_MAX}` }, settles: true })
    alice = await world.person('alice')
    bob = await world.person('bob')
    from = await attend(world, alice)
    ;(await attend(world, bob)).destroy()
  })
  afterEach(stopScenes)

  it('by rows: when every device of the peer is full a send is refused for good, and taken again when there is room', async () => {
    for (let i = 0; i < ROWS_MAX; i++) await send(from, alice, [bob])
    assert.deepEqual(errorsOf(from), [])
    const refused = await send(from, alice, [bob])
    assert.deepEqual(
      errorsOf(from).map(({ stamp, code, retry }) => [stamp, code, retry]),
      [[refused, undeliverable, 0]],
    )
    const to = await world.connect(bob)
    await receiveMessages(to, ROWS_MAX)
    await acknowledged(world, to)
    await send(from, alice, [bob])
    await receiveMessages(to, ROWS_MAX + 1)
    assert.equal(errorsOf(from).length, 1)
    assert.deepEqual(gaps(to), [])
  })

  it('overshot by what was in flight and no more', async () => {
    const requests = Array.from({ length: 200 }, () => pairRequest([bob]))
    for (const request of requests.slice(0, 100)) from.post(outOf(alice), request)
    await from.until((c) => c.packets.filter(({ cmd }) => cmd === 'puback').length === 100, 'PUBACKs')
    const stored = 100 - errorsOf(from).length
    assert.ok(stored >= ROWS_MAX)
    for (const request of requests.slice(100)) from.post(outOf(alice), request)
    await from.until((c) => c.packets.filter(({ cmd }) => cmd === 'puback').length === 200, 'PUBACKs')
    assert.equal(200 - errorsOf(from).length, stored)
    const to = await world.connect(bob)
    await caughtUp(to)
    assert.equal(messages(to).length, stored)
  })

  it('a full device is skipped while another one has room, and told of the gap behind what it has', async () => {
    const tablet = await world.sibling(bob, 'tablet')
    const here = await attend(world, tablet)
    for (let i = 0; i < ROWS_MAX + 3; i++) {
      await send(from, alice, [bob, tablet])
      await receiveMessages(here, i + 1)
      await acknowledged(world, here)
    }
    assert.deepEqual(errorsOf(from), [])
    const to = await world.connect(bob)
    await to.until(() => gaps(to).length > 0, 'a gap notice')
    assert.deepEqual(gaps(to), [3])
    const order = deliveries(to).flatMap(({ whisper, notice }) => (whisper ? 'm' : notice ? 'gap' : []))
    assert.deepEqual(order, [...Array(ROWS_MAX).fill('m'), 'gap'])
    const notice = deliveries(to).find((down) => down.notice !== undefined)
    assert.equal(notice?.packet.qos, 1)
    await send(from, alice, [bob, tablet])
    await receiveMessages(to, ROWS_MAX + 1)
    assert.deepEqual(gaps(to), [3])
    // It is a row like any other: acknowledged it is gone.
    await acknowledged(world, to)
    assert.deepEqual(await world.server.opened.ports.inbox.page('bob', 0, 0, 9), [])
  })

  it("a device of the sender's own with room does not make a message deliverable", async () => {
    const desk = await world.sibling(alice, 'desk')
    await attend(world, desk)
    for (let i = 0; i < ROWS_MAX; i++) await send(from, alice, [bob], { own: [desk] })
    await send(from, alice, [bob], { own: [desk] })
    assert.deepEqual(
      errorsOf(from).map(({ code }) => code),
      [undeliverable],
    )
  })

  it("a sender's own full device is skipped as well", async () => {
    const desk = await world.sibling(alice, 'desk')
    const to = await world.connect(bob)
    for (let i = 0; i < ROWS_MAX + 2; i++) {
      await send(from, alice, [bob], { own: [desk] })
      await receiveMessages(to, i + 1)
      await acknowledged(world, to)
    }
    const own = await attend(world, desk)
    await own.until(() => gaps(own).length > 0, 'a gap notice')
    assert.deepEqual(gaps(own), [2])
  })

  it('of a thing too, which is told so under from/error', async () => {
    const sensor = await world.thing('sensor')
    const thing = await attend(world, sensor)
    for (let i = 0; i < ROWS_MAX + 1; i++) await thing.publish('d/sensor/raw/home', `${i}`)
    assert.deepEqual(
      thing.received.map(({ topic }) => topic),
      ['d/sensor/from/error/undeliverable'],
    )
  })
})

describe('B6: an inbox is bounded by time', () => {
  let world: World
  let alice: TestDevice
  let bob: TestDevice
  let from: Client
  beforeEach(async () => {
    world = await startScene({ settles: true })
    alice = await world.person('alice')
    bob = await world.person('bob')
    from = await attend(world, alice)
    ;(await attend(world, bob)).destroy()
  })
  afterEach(stopScenes)

  async function sendOld(): Promise<number> {
    const stamp = await send(from, alice, [bob])
    await from.until(() => receipts(from).some(({ accepted }) => accepted.includes(stamp)), 'accepted')
    await putAway(world, 'tailRows')
    return receipts(from).flatMap(({ accepted }) => accepted[1] ?? [])[0] as number
  }

  it('past 30 days a row leaves and its sender is told, though the device never comes', async () => {
    const seq = await sendOld()
    world.clock.offsetMs += 29 * DAY_MS
    await send(from, alice, [bob])
    world.clock.offsetMs += DAY_MS + 2 * limits.ackTimeoutMs
    await retentionRound(world)
    await from.until(() => expiredSeqs(from).length > 0, 'expired')
    assert.deepEqual(expiredSeqs(from), [seq])
    assert.equal(deliveredUpTo(from), 0)
    const to = await world.connect(bob)
    await caughtUp(to)
    assert.equal(messages(to).length, 1)
    assert.notEqual(messages(to)[0]?.seq, seq)
  })

  it('and the pump does not deliver it either, when the device comes first', async () => {
    const seq = await sendOld()
    // The job leaves alone for a minute what may be on its way.
    world.clock.offsetMs += limits.inboxTtlMs + limits.ackTimeoutMs / 2
    const to = await world.connect(bob)
    await caughtUp(to)
    assert.deepEqual(messages(to), [])
    await from.until(() => expiredSeqs(from).length > 0, 'expired')
    assert.deepEqual(expiredSeqs(from), [seq])
    await commit(world)
    assert.deepEqual(await world.server.opened.ports.inbox.page('bob', 0, 0, 9), [])
  })

  it('the same for what its sender wanted to end earlier', async () => {
    const stamp = await send(from, alice, [bob], { expiresInS: 10 })
    await from.until(() => receipts(from).some(({ accepted }) => accepted.includes(stamp)), 'accepted')
    await putAway(world, 'tailRows')
    world.clock.offsetMs += 11_000 + limits.ackTimeoutMs
    await retentionRound(world)
    await from.until(() => expiredSeqs(from).length > 0, 'expired')
    assert.deepEqual(await world.server.opened.ports.inbox.page('bob', 0, 0, 9), [])
  })

  it('raw bytes of things end without a word', async () => {
    const sensor = await world.thing('sensor')
    const thing = await attend(world, sensor)
    await thing.publish('d/sensor/raw/home', 'x')
    await putAway(world, 'tailRows')
    const { inbox } = world.server.opened.ports
    assert.equal((await inbox.page('homesvc', 0, 0, 9)).length, 1)
    world.clock.offsetMs += 31 * DAY_MS
    await retentionRound(world)
    await until(async () => (await inbox.page('homesvc', 0, 0, 9)).length === 0, 'the end of the row')
    assert.deepEqual(thing.received, [])
  })

  it('by steps of the retention job that are bounded, come round, and may be taken twice', async () => {
    const { ports } = world.server.opened
    const peers: TestDevice[] = []
    for (let i = 0; i < 80; i++) peers.push(await world.person(`p${String(i).padStart(2, '0')}`))
    for (const peer of peers) for (let i = 0; i < 2; i++) from.post(outOf(alice), pairRequest([peer]))
    await from.until((c) => c.packets.filter(({ cmd }) => cmd === 'puback').length === 160, 'PUBACKs')
    const [last] = peers.slice(-1)
    for (let i = 0; i < 300; i++) from.post(outOf(alice), pairRequest([last as TestDevice]))
    await from.until((c) => c.packets.filter(({ cmd }) => cmd === 'puback').length === 460, 'PUBACKs')
    await putAway(world, 'tailRows')
    const steps: Walk[] = []
    let walk: Walk = WALK_BEGIN
    do {
      walk = await retain(walk, ports)
      steps.push(walk)
    } while (walk.device !== '' && steps.length < 100)
    // 80 devices and 460 rows: neither fits into one step.
    assert.ok(steps.length >= 2, `${steps.length} steps`)
    assert.equal((await ports.inbox.page('p00', 0, 0, 9)).length, 2)
    world.clock.offsetMs += 31 * DAY_MS
    await until(async () => {
      // Beside the server's own job, from the beginning and from wherever it was.
      await Promise.all([retain(WALK_BEGIN, ports), retain(WALK_BEGIN, ports), retain(steps[0] as Walk, ports)])
      const pages = await Promise.all(peers.map(({ id }) => ports.inbox.page(id, 0, 0, 9)))
      return pages.every((page) => page.length === 0)
    }, 'the end of every row')
    // A seq is one of its conversation: two shards may give the same.
    const told = () =>
      receipts(from).flatMap(({ peer, expired }) =>
        expired.map((seq) => `${Buffer.from(peer ?? []).toString('hex')} ${seq}`),
      )
    const isTold = () => new Set(told()).size === 460
    await from.until(isTold, 'every expired seq')
    const most = Math.max(...receipts(from).map(({ expired }) => expired.length))
    assert.ok(most <= limits.seqsPerListMax, `${most} in one receipt`)
  })

  it('an inbox whose device was revoked is dropped', async () => {
    await sendOld()
    await world.server.opened.ports.directory.revoke('bob')
    await retentionRound(world)
    const { inbox } = world.server.opened.ports
    await until(async () => (await inbox.page('bob', 0, 0, 9)).length === 0, 'the end of the inbox')
    assert.deepEqual(expiredSeqs(from), [])
  })
})
