import assert from 'node:assert/strict'
import { StoreDownFault } from '../../core/ports.ts'
import { unknownRow } from '../../core/row.ts'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import type { World } from '../world/world.ts'
import { attend, deliveredUpTo, messages, receiveMessages, send, startScene, stopScenes, until } from './scene.ts'

const keyOf = ({ user }: TestDevice): string => Buffer.from(user).toString('latin1')

describe('B5: a wake may be lost', () => {
  let world: World
  let alice: TestDevice
  let bob: TestDevice
  let from: Client
  let woken = 0
  beforeEach(async () => {
    world = await startScene({ env: { WINDOW_ROWS: '4' } })
    alice = await world.person('alice')
    bob = await world.person('bob')
    from = await attend(world, alice)
    woken = 0
  })
  afterEach(stopScenes)

  /** From now on every wake is taken and nobody woken. */
  function dropWakes(): void {
    world.server.opened.ports.claims.wake = () => {
      woken++
      return 'woken'
    }
  }

  it('and the rows come at the next connection, in order, once', async () => {
    const to = await attend(world, bob)
    dropWakes()
    for (let i = 0; i < 30; i++) await send(from, alice, [bob])
    const { inbox } = world.server.opened.ports
    await until(async () => (await inbox.page(bob.id, 0, 0, 99)).length === 30, 'the rows')
    // Wakes of rows that are written together may be one.
    await until(() => woken > 0, 'a wake')
    await to.ping()
    assert.deepEqual(messages(to), [])
    to.destroy()
    const back = await world.connect(bob)
    const got = await receiveMessages(back, 30)
    assert.deepEqual(
      got.map(({ packet }) => packet.dup),
      Array(30).fill(false),
    )
    const seqs = got.map(({ seq }) => seq)
    assert.deepEqual(
      seqs,
      [...new Set(seqs)].sort((a, b) => a - b),
    )
  })

  it('and a row that comes while the inbox cannot be read does not pass over one whose wake was lost', async () => {
    const to = await attend(world, bob)
    await send(from, alice, [bob])
    await receiveMessages(to, 1)
    const { claims, inbox } = world.server.opened.ports
    const [wake, page] = [claims.wake, inbox.page]
    dropWakes()
    await send(from, alice, [bob])
    await until(() => woken > 0, 'the wake that is lost')
    let refused = 0
    inbox.page = async () => {
      refused++
      throw new StoreDownFault('cassandra', 'away')
    }
    claims.wake = wake
    claims.wake(bob.id, unknownRow(bob.id))
    await until(() => refused > 0, 'a read that fails')
    await send(from, alice, [bob])
    await to.ping()
    assert.equal(messages(to).length, 1)
    inbox.page = page
    const seqs = (await receiveMessages(to, 3)).map(({ seq }) => seq)
    assert.equal(new Set(seqs).size, 3)
    assert.deepEqual(
      seqs,
      [...seqs].sort((a, b) => a - b),
    )
  })

  it('and a connection that is reading anyway finds them, marks of the other side too', async () => {
    ;(await attend(world, bob)).destroy()
    for (let i = 0; i < 8; i++) await send(from, alice, [bob])
    const to = await world.connect(bob, { autoAck: false })
    await receiveMessages(to, 4)
    dropWakes()
    for (let i = 0; i < 16; i++) await send(from, alice, [bob])
    assert.equal(messages(to).length, 4)
    const { inbox } = world.server.opened.ports
    await until(async () => (await inbox.page(bob.id, 0, 0, 99)).length === 24, 'the rows')
    let acked = 0
    while (messages(to).length < 24) {
      const known = messages(to)
      for (const { packet } of known.slice(acked)) to.puback(packet.messageId as number)
      acked = known.length
      await receiveMessages(to, acked + 1)
    }
    for (const { packet } of messages(to).slice(acked)) to.puback(packet.messageId as number)
    await to.ping()
    const last = messages(to).at(-1)?.seq
    // The mark is appended; its wake is lost as well.
    await until(async () => (await inbox.markOf(keyOf(bob), keyOf(alice))) === last, 'the mark')
    from.destroy()
    const back = await world.connect(alice)
    await back.until(() => deliveredUpTo(back) === last, 'delivered')
  })
})
