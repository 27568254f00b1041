import assert from 'node:assert/strict'
import { messageType, oracleBytes } from '../wire/oracle.ts'
import type { Client } from '../world/client.ts'
import { startWorld, type TestDevice, type World } from '../world/world.ts'
import { pairBytes } from './scene.ts'

interface Seen {
  readonly whisper?: Buffer
  readonly peer?: Buffer
  readonly seq?: { toNumber(): number }
  readonly own?: boolean
  readonly error?: {
    stamp: unknown
    code: number
    retry: number
    lastStamp?: unknown
    missing?: { device: number }[]
    extra?: { device: number }[]
  }
  readonly receipts?: { items: { read?: unknown; peer: Buffer }[] }
  readonly caughtUp?: object
}

/** What the connection was told, decoded by protobufjs; the caught-up marker left out. */
function seenBy(client: Client): Seen[] {
  return client.received
    .map(({ payload }) => messageType('Delivery').toObject(messageType('Delivery').decode(payload)) as Seen)
    .filter(({ caughtUp }) => caughtUp === undefined)
}
const errorsOf = (client: Client) => seenBy(client).flatMap(({ error }) => (error === undefined ? [] : [error]))
const bodiesOf = (client: Client) =>
  seenBy(client).flatMap(({ whisper }) => (whisper === undefined ? [] : [String(whisper)]))

const STAMP_BEHIND = 40
const DEVICES_STALE = 22
const YEAR_MS = 365 * 86_400_000

describe('a request of a person', () => {
  let world: World
  let eve: TestDevice
  let bob: TestDevice
  let sender: Client
  let reader: Client
  beforeEach(async () => {
    world = await startWorld({ env: { DISK_RESERVE_MIB: '1' } })
    eve = await world.person('eve')
    bob = await world.person('bob')
    sender = await world.connect(eve)
    await sender.subscribe('d/eve/in')
    reader = await world.connect(bob)
    await reader.subscribe('d/bob/in')
  })
  afterEach(async () => {
    await world.stop()
    assert.equal(world.server.metrics.heldBytes, 0)
    assert.deepEqual(world.fatal, [])
  })

  const messages = (count: number) => reader.until((c) => bodiesOf(c).length === count, `${count} messages`)

  it('sent twice with one stamp is acknowledged twice and stored once', async () => {
    const silent = await world.connect(eve, { autoAck: false })
    const request = pairBytes(bob, 1_000, 'once')
    await silent.publish('d/eve/out', request)
    await silent.publish('d/eve/out', request, { dup: true })
    await silent.publish('d/eve/out', pairBytes(bob, 1_001, 'behind it'))
    await messages(2)
    assert.deepEqual(bodiesOf(reader), ['once', 'behind it'])
    assert.equal(world.server.metrics.repeated, 1)
  })

  it('with a stamp that another one has had is refused with the last stamp, and nothing of it is stored', async () => {
    await sender.publish('d/eve/out', pairBytes(bob, 1_000, 'the first'))
    await sender.publish('d/eve/out', pairBytes(bob, 1_000, 'another'))
    await sender.publish('d/eve/out', pairBytes(bob, 999, 'an older one'))
    await sender.publish('d/eve/out', pairBytes(bob, 1_001, 'the second'))
    await messages(2)
    assert.deepEqual(bodiesOf(reader), ['the first', 'the second'])
    const errors = errorsOf(sender)
    assert.deepEqual(
      errors.map(({ code }) => code),
      [STAMP_BEHIND, STAMP_BEHIND],
    )
    assert.deepEqual(
      errors.map(({ lastStamp }) => String(lastStamp)),
      ['1000', '1000'],
    )
  })

  it('with stamps of any year is ordered by the server: a clock that is wrong moves nothing', async () => {
    const stamps = [1, Date.now() - 10 * YEAR_MS, Date.now() + 10 * YEAR_MS, 2 ** 53 - 1]
    for (const stamp of stamps) await sender.publish('d/eve/out', pairBytes(bob, stamp, `stamped ${stamp}`))
    await messages(stamps.length)
    const seqs = seenBy(reader).flatMap(({ seq, whisper }) => (whisper === undefined ? [] : [seq?.toNumber() ?? 0]))
    assert.deepEqual(
      seqs,
      seqs.toSorted((x, y) => x - y),
    )
    const now = (Date.now() - Date.UTC(2025, 0)) * 16_384
    for (const seq of seqs) assert.ok(Math.abs(seq - now) < 60_000 * 16_384)
  })

  it('says nothing of its sender: that is who logged in, also when it was captured from another', async () => {
    const captured = pairBytes(bob, 1_000, 'hello')
    await sender.publish('d/eve/out', captured)
    const mallory = await world.person('mallory')
    const replayer = await world.connect(mallory)
    await replayer.publish('d/mallory/out', captured)
    await messages(2)
    const peers = seenBy(reader).flatMap(({ peer, whisper }) => (whisper === undefined ? [] : [peer?.toString('hex')]))
    assert.deepEqual(
      peers,
      [eve, mallory].map(({ user }) => Buffer.from(user).toString('hex')),
    )
  })

  it('that does not name all devices reaches none of them, and its sender is told which to add and to drop', async () => {
    const sibling = await world.sibling(bob, 'bob2')
    const second = await world.connect(sibling)
    await second.subscribe('d/bob2/in')
    const body = { whisper: Buffer.from('half') }
    const named = (...devices: object[]) =>
      oracleBytes('SendRequest', { stamp: 1_000, pair: { peer: bob.user, devices } })
    await sender.publish('d/eve/out', named({ ...body, device: bob.number, registrationId: bob.registrationId }))
    await sender.publish(
      'd/eve/out',
      named(
        { ...body, device: bob.number, registrationId: bob.registrationId },
        { ...body, device: sibling.number, registrationId: sibling.registrationId },
        { ...body, device: 7, registrationId: 7 },
      ),
    )
    const [first, other] = errorsOf(sender)
    assert.deepEqual([first?.code, other?.code], [DEVICES_STALE, DEVICES_STALE])
    assert.deepEqual(
      first?.missing?.map(({ device }) => device),
      [sibling.number],
    )
    assert.deepEqual(
      other?.extra?.map(({ device }) => device),
      [7],
    )
    for (const client of [reader, second]) {
      await client.ping()
      assert.deepEqual(bodiesOf(client), [])
    }
  })

  it('to a device that was revoked meanwhile reaches nobody', async () => {
    await sender.publish('d/eve/out', pairBytes(bob, 1_000, 'before'))
    await messages(1)
    await world.server.opened.ports.directory.revoke('bob')
    await sender.publish('d/eve/out', pairBytes(bob, 1_001, 'after'))
    assert.equal(errorsOf(sender).length, 1)
    await reader.ping()
    assert.deepEqual(bodiesOf(reader), ['before'])
  })

  it('is answered in front of its PUBACK even when the sender has not subscribed', async () => {
    const quiet = await world.person('quiet')
    const client = await world.connect(quiet)
    await client.publish('d/quiet/out', pairBytes({ ...bob, registrationId: 9 }, 1_000, 'stale'))
    assert.equal(world.server.metrics.refused['devices_stale'], 1)
    assert.equal(errorsOf(client).length, 1)
    assert.deepEqual(client.packets.map(({ cmd }) => cmd).slice(-2), ['publish', 'puback'])
    await reader.ping()
    assert.deepEqual(bodiesOf(reader), [])
  })

  it('with marks of several conversations is acknowledged in its place in the order', async () => {
    const others = await Promise.all(['x1', 'x2', 'x3'].map((id) => world.person(id)))
    const items = [...others, bob].map(({ user }) => ({ peer: user, read: 5 }))
    const marks = oracleBytes('SendRequest', { receipts: { items } })
    sender.post('d/eve/out', marks, { messageId: 301 })
    sender.post('d/eve/out', pairBytes(bob, 1_000, 'behind the marks'), { messageId: 302 })
    await messages(1)
    const acked = () => sender.packets.flatMap((each) => (each.cmd === 'puback' ? [each.messageId] : []))
    await sender.until(() => acked().length === 2, 'two PUBACKs')
    assert.deepEqual(acked(), [301, 302])
    const strangers = await Promise.all(others.map((device) => world.connect(device)))
    for (const [i, client] of strangers.entries()) {
      await client.subscribe(`d/${others[i]?.id}/in`)
      await client.until((c) => seenBy(c).some(({ receipts }) => receipts !== undefined), 'a mark')
    }
  })
})
