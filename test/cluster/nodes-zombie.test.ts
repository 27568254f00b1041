/** A node that stands still, or is cut off from Redis, while its devices go elsewhere, and then goes on (ADR 0019). */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import type { MadeDevice } from '../api/node.ts'
import { type SlowPath, startSlowPath } from './degrade-scene.ts'
import { connectAgain, type Deployment, openDeployment } from './nodes-scene.ts'

/** Longer than a worker's lock and than the comparison of claims; `npm run chaos` pauses for 45 s. */
const PAUSE_MS = 7_000
/** Longer than anything waits: what is sent does not arrive. */
const NEVER_MS = 600_000

describe('a node that stood still', function () {
  this.timeout(90_000)
  let deployment: Deployment
  before(async () => {
    deployment = await openDeployment()
  })
  after(() => deployment?.stop())

  it('harms nothing when it goes on: its devices are elsewhere, and it lets go of them', async () => {
    const one = await deployment.start('one')
    const two = await deployment.start('two')
    const [moved, from] = (await two.make({ kind: 'thing', prefix: 'z', count: 2 })) as [MadeDevice, MadeDevice]
    const topic = `d/${from.device}/raw/d-${moved.device}`
    const sender = await connectAgain(from, two.mqttPort)
    const old = await connectAgain(moved, one.mqttPort, { autoAck: false })
    await old.subscribe(`d/${moved.device}/from/#`)
    await deployment.claims([moved, from])
    await sender.publish(topic, 'before')
    const [before] = await old.receive(1, 10_000)

    one.signal('SIGSTOP')
    const now = await connectAgain(moved, two.mqttPort)
    // Acknowledged where nobody reads it yet.
    old.puback(before?.messageId as number)
    for (let i = 0; i < 20; i++) await sender.publish(topic, `row ${i}`)
    const expected = ['before', ...Array.from({ length: 20 }, (_, i) => `row ${i}`)]
    const texts = () => now.received.map(({ payload }) => String(payload))
    await now.receive(expected.length, 20_000)
    assert.deepEqual(texts(), expected)
    await delay(PAUSE_MS)

    one.signal('SIGCONT')
    await old.closed(15_000)
    // What the old connection got besides was there before the pause, or is a repeat that says so.
    const late = old.received.slice(1).filter(({ dup }) => !dup)
    assert.deepEqual(late, [])
    assert.equal((await deployment.claims([moved])).get(moved.device), 'two')
    await sender.publish(topic, 'after')
    await now.until(() => texts().includes('after'), 'what was sent after', 15_000)
    assert.deepEqual(texts(), [...expected, 'after'])
    assert.equal(now.isClosed, false)
    for (const client of [sender, now]) client.destroy()
  })
})

describe('a node that is cut off from Redis', function () {
  this.timeout(90_000)
  let deployment: Deployment
  let path: SlowPath
  before(async () => {
    deployment = await openDeployment()
    path = await startSlowPath(Number(new URL(deployment.env['REDIS_URL'] as string).port))
  })
  after(async () => {
    await deployment?.stop()
    await path?.close()
  })

  it('sends nothing more to a device that went elsewhere, and lets go of it when it hears again', async () => {
    const cut = await deployment.start('cut', { REDIS_URL: `redis://127.0.0.1:${path.port}`, WORKERS_INLINE: 'no' })
    const two = await deployment.start('two')
    const [moved, from] = (await two.make({ kind: 'thing', prefix: 'c', count: 2 })) as [MadeDevice, MadeDevice]
    const topic = `d/${from.device}/raw/d-${moved.device}`
    const sender = await connectAgain(from, two.mqttPort)
    const old = await connectAgain(moved, cut.mqttPort)
    await old.subscribe(`d/${moved.device}/from/#`)
    await deployment.claims([moved, from])
    await sender.publish(topic, 'before')
    await old.receive(1, 10_000)

    path.delayMs = NEVER_MS
    const now = await connectAgain(moved, two.mqttPort)
    const expected = Array.from({ length: 20 }, (_, i) => `row ${i}`)
    for (const text of expected) await sender.publish(topic, text)
    // `before` comes again where its acknowledgement was not saved yet.
    const texts = () => now.received.map(({ payload }) => String(payload)).filter((text) => text !== 'before')
    await now.until(() => texts().length === expected.length, 'all rows', 20_000)
    assert.deepEqual(texts(), expected)
    await delay(PAUSE_MS)
    await old.ping()
    assert.deepEqual(
      old.received.map(({ payload }) => String(payload)),
      ['before'],
    )

    path.delayMs = 0
    await old.closed(20_000)
    assert.equal(old.received.length, 1)
    await sender.publish(topic, 'after')
    await now.until(() => texts().includes('after'), 'what was sent after', 15_000)
    assert.deepEqual(texts(), [...expected, 'after'])
    for (const client of [sender, now]) client.destroy()
  })
})
