import assert from 'node:assert/strict'
import { startWorld, type World } from '../world/world.ts'

describe('things', () => {
  let world: World
  before(async () => {
    world = await startWorld()
  })
  after(() => world.stop())

  it('send raw bytes to each other, and get what waited in order, once they are back', async () => {
    const a = await world.thing('a')
    const b = await world.thing('b')
    const sender = await world.connect(a)
    const first = await world.connect(b)
    assert.deepEqual(await first.subscribe('d/b/from/#'), [1])
    await sender.publish('d/a/raw/d-b', 'live')
    const [live] = await first.receive(1)
    assert.equal(live?.topic, 'd/b/from/d-a/direct')
    assert.equal(String(live?.payload), 'live')
    assert.notEqual(live?.messageId, 0)
    await first.ping()
    await first.disconnect()
    for (let i = 0; i < 300; i++) await sender.publish('d/a/raw/d-b', `waiting ${i}`)
    const back = await world.connect(b)
    assert.equal(back.connack?.sessionPresent, true)
    const waited = await back.receive(300)
    assert.deepEqual(
      waited.map(({ payload }) => String(payload)),
      Array.from({ length: 300 }, (_, i) => `waiting ${i}`),
    )
    assert.equal(
      waited.some(({ dup }) => dup),
      false,
    )
  })
})
