/** The state of devices on Redis (B1-B3, A3): flags, slots, records, and what a node that died leaves behind. */
import assert from 'node:assert/strict'
import type { OpenedRedis } from '../../adapters/redis/index.ts'
import { DEDUPE_RECORD, type Envelope } from '../../core/envelope.ts'
import { limits } from '../../topics/limits.ts'
import { envelope } from '../ports/envelopes.ts'
import { openScene, type Scene } from './redis-scene.ts'

const PEER = '\u00ff\u0000peer\u0080'
const request = (stamp: number): Envelope =>
  envelope('b', 'x', { device: 'a', dedupe: DEDUPE_RECORD, stamp, hash: 2 ** 32 - stamp, peer: PEER })

describe('the state of devices on Redis', () => {
  let scene: Scene
  let node: OpenedRedis
  beforeEach(async () => {
    scene = await openScene()
    node = await scene.node()
  })
  afterEach(() => scene.close())
  /** Without the number that was given last, which is the clock's. */
  const open = async () => {
    const { appendedSeq: _, ...state } = await (await scene.node()).devices.open('a')
    return state
  }

  it('knows nothing of a device that never was there', async () => {
    assert.deepEqual(await open(), { subscribed: false, sentSeq: 0, lastStamp: 0, records: [] })
  })

  it('keeps "has subscribed"', async () => {
    await node.devices.setSubscribed('a', true)
    assert.equal((await open()).subscribed, true)
    await node.devices.setSubscribed('a', false)
    await node.devices.setSubscribed('a', false)
    assert.equal((await open()).subscribed, false)
  })

  it('has the waiting records of all shards by stamp, until they are settled, and the last stamp after', async () => {
    const sent = [request(5), request(7), request(9)]
    for (const [i, shard] of [3, 0, 7].entries()) await node.intake.append(shard, [sent[i] as Envelope])
    const records = sent.map(({ stamp, hash, seq, peer }) => ({ stamp, hash, seq, peer }))
    assert.deepEqual(await open(), { subscribed: false, sentSeq: 0, lastStamp: 9, records })
    await node.devices.settle('a', [9, 5, 1_000])
    await node.devices.settle('a', [])
    assert.deepEqual(await open(), { subscribed: false, sentSeq: 0, lastStamp: 9, records: records.slice(1, 2) })
  })

  it(`advances the slot from 0 to ${limits.packetIdSlots - 1} and begins again`, async () => {
    const slots: number[] = []
    for (let i = 0; i <= limits.packetIdSlots; i++) slots.push(await node.devices.advanceSlot('a'))
    assert.deepEqual(slots, [...Array.from({ length: limits.packetIdSlots }, (_, i) => i), 0])
    assert.equal(await (await scene.node()).devices.advanceSlot('a'), 1)
  })

  it('knows what a connection that was closed had sent, and it only grows', async () => {
    await node.devices.close('a', await node.devices.advanceSlot('a'), 2 ** 52 + 1)
    assert.equal((await open()).sentSeq, 2 ** 52 + 1)
    await node.devices.close('a', await node.devices.advanceSlot('a'), 7)
    assert.equal((await open()).sentSeq, 2 ** 52 + 1)
  })

  it('takes everything for sent when the node of an open device died, and nothing that comes later', async () => {
    await node.devices.advanceSlot('a')
    const [before, after] = [envelope('a', 'before'), envelope('a', 'after')]
    await node.intake.append(6, [before])
    assert.equal((await open()).sentSeq, before.seq)
    await node.intake.append(6, [after])
    assert.equal((await open()).sentSeq, before.seq)
  })

  it('stays open when the connection before it is closed late', async () => {
    const old = await node.devices.advanceSlot('a')
    const slot = await node.devices.advanceSlot('a')
    await node.devices.close('a', old, 5)
    const sent = envelope('a', 'x')
    await node.intake.append(0, [sent])
    assert.equal((await open()).sentSeq, sent.seq)
    await node.devices.close('a', slot, sent.seq + 5)
    assert.equal((await open()).sentSeq, sent.seq + 5)
  })

  it('forgets a device that is dropped, and none but it', async () => {
    await node.intake.append(2, [request(5), envelope('b', 'x', { device: 'other', dedupe: DEDUPE_RECORD, stamp: 4 })])
    await node.devices.setSubscribed('a', true)
    await node.devices.drop('a')
    await node.devices.drop('a')
    assert.deepEqual(await open(), { subscribed: false, sentSeq: 0, lastStamp: 0, records: [] })
    assert.equal((await node.devices.open('other')).lastStamp, 4)
  })
})
