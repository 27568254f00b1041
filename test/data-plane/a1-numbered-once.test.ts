import assert from 'node:assert/strict'
import { errorOf } from '../../topics/errors.ts'
import { SEQ_PER_MS, seqToUnixMs } from '../../topics/ids.ts'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import type { World } from '../world/world.ts'
import {
  accepted,
  attend,
  errorsOf,
  messages,
  putAway,
  receiveMessages,
  send,
  startScene,
  stopScenes,
} from './scene.ts'

const HOUR_MS = 3_600_000

describe('A1: a message is numbered once', () => {
  let world: World
  let alice: TestDevice
  let bob: TestDevice
  let from: Client
  let to: Client
  beforeEach(async () => {
    world = await startScene({ settles: true })
    alice = await world.person('alice')
    bob = await world.person('bob')
    from = await attend(world, alice)
    to = await attend(world, bob)
  })
  afterEach(stopScenes)

  it('by its server time, which people see', async () => {
    const before = Date.now()
    await send(from, alice, [bob])
    const [message] = await receiveMessages(to, 1)
    const at = seqToUnixMs(message?.seq ?? 0)
    assert.ok(at >= before && at <= Date.now(), `${at}`)
  })

  it('with the same number for every device, the sender included', async () => {
    const tablet = await world.sibling(bob, 'tablet')
    const desk = await world.sibling(alice, 'desk')
    const there = await attend(world, tablet)
    const own = await attend(world, desk)
    const stamp = await send(from, alice, [bob, tablet], { own: [desk] })
    const seqs = new Set<number>()
    for (const client of [to, there, own]) seqs.add((await receiveMessages(client, 1))[0]?.seq ?? 0)
    await from.until(() => accepted(from).has(stamp), 'accepted')
    seqs.add(accepted(from).get(stamp) ?? 0)
    assert.equal(seqs.size, 1)
    assert.equal(messages(own)[0]?.own, true)
  })

  it('higher than the one before, though the clock steps back an hour between them and again across a restart', async () => {
    await send(from, alice, [bob])
    world.clock.offsetMs -= HOUR_MS
    await send(from, alice, [bob])
    await receiveMessages(to, 2)
    world.clock.offsetMs -= HOUR_MS
    await world.restart()
    const again = await attend(world, alice)
    const there = await attend(world, bob)
    await send(again, alice, [bob])
    // What bob had acknowledged too late for the first server comes again, under its number.
    const seqs = () => [...new Set([...messages(to), ...messages(there)].map(({ seq }) => seq))]
    await there.until(() => seqs().length === 3, 'third message')
    assert.deepEqual(
      seqs(),
      seqs().sort((a, b) => a - b),
    )
  })

  it('with a number that is not given again, not even when nothing is left of who had it', async () => {
    await send(from, alice, [bob])
    const [first] = await receiveMessages(to, 1)
    await from.until(() => accepted(from).size === 1, 'accepted')
    await putAway(world, 'tailEntries')
    world.clock.offsetMs -= HOUR_MS
    await world.restart()
    const again = await attend(world, alice)
    const there = await attend(world, bob)
    await send(again, alice, [bob])
    const [second] = await receiveMessages(there, 1)
    assert.ok((second?.seq ?? 0) > (first?.seq ?? 0))
  })

  it('above what its sender answers, even when that is ahead of the clock', async () => {
    await send(from, alice, [bob])
    const [question] = await receiveMessages(to, 1)
    const held = (question?.seq ?? 0) + 50_000 * SEQ_PER_MS
    await send(to, bob, [alice], { afterSeq: held })
    const [answer] = await receiveMessages(from, 1)
    assert.equal(answer?.seq, held + 1)
  })

  it('and refused when its sender claims to hold what is more than 60 s ahead; the stamp is free then', async () => {
    await send(from, alice, [bob])
    const [question] = await receiveMessages(to, 1)
    const stamp = await send(to, bob, [alice], { afterSeq: (question?.seq ?? 0) + 70_000 * SEQ_PER_MS })
    assert.deepEqual(
      errorsOf(to).map((error) => [error.stamp, error.code, error.retry]),
      [[stamp, errorOf('seq_ahead').number, 0]],
    )
    assert.deepEqual(messages(from), [])
    await send(to, bob, [alice], { stamp })
    await receiveMessages(from, 1)
    assert.equal(errorsOf(to).length, 1)
  })
})
