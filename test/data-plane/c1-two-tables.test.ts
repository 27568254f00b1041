import assert from 'node:assert/strict'
import { receiptEnvelope } from '../../core/own-envelopes.ts'
import { RETRY_LATER } from '../../topics/errors.ts'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import type { World } from '../world/world.ts'
import {
  acknowledged,
  attend,
  caughtUp,
  copyFolder,
  errorsOf,
  messages,
  outOf,
  pairRequest,
  receiveMessages,
  send,
  startScene,
  stopScenes,
  storeFact,
  until,
} from './scene.ts'

const rising = (list: readonly number[]) => [...new Set(list)].sort((a, b) => a - b)
const pubacks = (client: Client): number => client.packets.filter(({ cmd }) => cmd === 'puback').length

describe('C1: rows live in a tail, and old ones in a table of their own', () => {
  let world: World
  let alice: TestDevice
  let bob: TestDevice
  let from: Client
  async function begin(options: Parameters<typeof startScene>[0]): Promise<void> {
    world = await startScene(options)
    alice = await world.person('alice')
    bob = await world.person('bob')
    from = await attend(world, alice)
    ;(await attend(world, bob)).destroy()
  }
  afterEach(stopScenes)

  it('what waits goes from one to the other, and is read from both in order, then live', async () => {
    await begin({ settles: true })
    for (let i = 0; i < 20; i++) await send(from, alice, [bob])
    await until(() => storeFact(world, 'tailRows') === 0, 'an empty tail')
    const settled = storeFact(world, 'settledRows')
    assert.ok(settled >= 20, `${settled} settled rows`)
    const to = await world.connect(bob, { autoAck: false })
    const requests = Array.from({ length: 60 }, () => pairRequest([bob]))
    for (const request of requests) from.post(outOf(alice), request)
    const seqs = (await receiveMessages(to, 80)).map(({ seq }) => seq)
    assert.deepEqual(seqs, rising(seqs))
    await to.ping()
    assert.equal(messages(to).length, 80)
  })

  it('what is acknowledged while it goes does not come back, on the next connection or after a crash', async () => {
    await begin({ settles: true })
    const to = await world.connect(bob)
    for (let i = 0; i < 400; i++) from.post(outOf(alice), pairRequest([bob]))
    await receiveMessages(to, 400)
    await acknowledged(world, to)
    to.destroy()
    assert.equal(new Set(messages(to).map(({ seq }) => seq)).size, 400)
    const back = await world.connect(bob)
    await caughtUp(back)
    assert.deepEqual(messages(back), [])
    const other = await startScene({ folder: copyFolder(world) })
    const after = await other.connect(bob)
    await caughtUp(after)
    assert.deepEqual(messages(after), [])
  })

  it('most live traffic is acknowledged before it goes: it never is in the second table', async () => {
    await begin({})
    const to = await world.connect(bob)
    for (let i = 0; i < 50; i++) await send(from, alice, [bob])
    await receiveMessages(to, 50)
    await acknowledged(world, to)
    await until(() => storeFact(world, 'tailRows') === 0, 'an empty tail')
    assert.equal(storeFact(world, 'settledRows'), 0)
  })

  it('the tail is bounded: a send waits for room and goes on, in order, and nothing is lost by a crash', async () => {
    const rowsMax = 20
    await begin({ tailRowsMax: rowsMax })
    let most = 0
    for (let i = 0; i < 300; i++) {
      from.post(outOf(alice), pairRequest([bob]))
      if (i % 10 === 9) {
        await from.until(() => pubacks(from) === i + 1, 'PUBACKs')
        most = Math.max(most, storeFact(world, 'tailRows'))
      }
    }
    assert.deepEqual(errorsOf(from), [])
    assert.ok(most <= rowsMax + 10, `${most} rows in the tail`)
    for (const crashes of [true, false]) {
      const at = crashes ? await startScene({ folder: copyFolder(world) }) : world
      const to = await at.connect(bob)
      const seqs = (await receiveMessages(to, 300)).map(({ seq }) => seq)
      assert.deepEqual(seqs, rising(seqs))
      if (crashes) {
        await at.stop()
      }
    }
  })

  it('at the bound, with a mover that cannot move, sends wait, then are to be sent later; with room all goes on', async () => {
    await begin({ tailRowsMax: 3 })
    const { inbox, intake } = world.server.opened.ports
    // A mark that nobody appends yet keeps the front of the tail where it is.
    const mark = { by: 'somebody', peer: 'else', upTo: 1 }
    inbox.acknowledge('nobody', [], [], [mark])
    const others: Client[] = []
    for (let i = 0; i < 3; i++) await send(from, alice, [bob])
    const before = pubacks(from)
    from.post(outOf(alice), pairRequest([bob]))
    await from.ping()
    assert.equal(pubacks(from), before)
    assert.equal(intake.refusal(), undefined)
    // Each turn of the loop is a batch that waits, up to so many.
    for (let i = 0; intake.refusal() === undefined; i++) {
      assert.ok(i < 100, 'it never refuses')
      from.post(outOf(alice), pairRequest([bob]))
      await from.ping()
    }
    assert.equal(intake.refusal(), 'overloaded')
    const carol = await world.person('carol')
    const late = await attend(world, carol)
    others.push(late)
    late.post(outOf(carol), pairRequest([bob]))
    await late.ping()
    assert.equal(pubacks(late), 0)
    const waiting = from.packets.filter(({ cmd }) => cmd === 'pingresp').length
    await intake.append(0, [ownMark(mark)])
    await from.until(() => pubacks(from) === before + waiting, 'PUBACKs')
    await late.until(() => pubacks(late) === 1, 'PUBACK')
    assert.deepEqual(errorsOf(from), [])
    assert.deepEqual(
      errorsOf(late).map(({ retry }) => retry),
      [RETRY_LATER],
    )
    const to = await world.connect(bob)
    const seqs = (await receiveMessages(to, 3 + waiting)).map(({ seq }) => seq)
    assert.deepEqual(seqs, rising(seqs))
    await send(late, carol, [bob]).catch(() => undefined)
  })
})

/** The entry of a mark for nobody's devices. */
const ownMark = (mark: { by: string; peer: string; upTo: number }) =>
  receiptEnvelope(1, mark, [], { delivered: 1 }, mark)
