import assert from 'node:assert/strict'
import { createLoadAverage } from '../../broker/load-average.ts'
import { createSysTree } from '../../broker/sys-tree.ts'
import { createMetrics } from '../../core/metrics.ts'
import { type MadeDevice, startTestNode } from '../api/node.ts'

const MINUTE_MS = 60_000

describe('a load average', () => {
  const valuesOf = (average: ReturnType<typeof createLoadAverage>): number[] =>
    average.read().map(({ perMinute }) => perMinute)

  it('comes to the rate that lasts, the shorter one sooner', () => {
    const average = createLoadAverage(0)
    for (let s = 5; s <= 3_600; s += 5) average.update(s * 2, s * 1_000)
    for (const perMinute of valuesOf(average)) assert.ok(Math.abs(perMinute - 120) < 3, String(perMinute))
    const young = createLoadAverage(0)
    for (let s = 5; s <= 60; s += 5) young.update(s * 2, s * 1_000)
    const [one = 0, five = 0, fifteen = 0] = valuesOf(young)
    assert.ok(one > five && five > fifteen && fifteen > 0)
    assert.ok(Math.abs(one - 120 * (1 - 1 / Math.E)) < 1, String(one))
  })

  it('does not depend on how often it is asked', () => {
    const often = createLoadAverage(0)
    const seldom = createLoadAverage(0)
    for (let s = 1; s <= 120; s++) often.update(s * 7, s * 1_000)
    for (let s = 10; s <= 120; s += 10) seldom.update(s * 7, s * 1_000)
    valuesOf(often).forEach((value, i) => void assert.ok(Math.abs(value - (valuesOf(seldom)[i] as number)) < 0.001))
  })

  it('falls back to nothing, and bears a clock that stands still', () => {
    const average = createLoadAverage(0)
    average.update(1_000, MINUTE_MS)
    average.update(1_000, MINUTE_MS)
    for (let i = 2; i < 200; i++) average.update(1_000, i * MINUTE_MS)
    for (const perMinute of valuesOf(average)) assert.ok(perMinute >= 0 && perMinute < 0.01)
  })
})

describe('the $SYS tree', () => {
  it('counts the packets of both directions as they crossed the socket', async () => {
    const test = await startTestNode()
    const [a, b] = (await test.make({ kind: 'thing', prefix: 'sys', count: 2 })) as [MadeDevice, MadeDevice]
    const receiver = await test.connect(b)
    await receiver.subscribe('d/sys2/from/#')
    const sender = await test.connect(a)
    await sender.subscribe('d/sys1/from/#')
    for (let i = 0; i < 5; i++) await sender.publish('d/sys1/raw/d-sys2', `${i}`)
    await sender.publish('d/sys1/raw/d-nobody', 'refused')
    await receiver.receive(5)
    await receiver.ping()
    await sender.ping()
    const values = createSysTree(test.node.server.metrics).read(
      { version: 'x', registered: 2, rowsWaiting: 0 },
      Date.now(),
    )
    // 2 CONNECT, 2 SUBSCRIBE, 6 PUBLISH, 5 PUBACK, 2 PINGREQ.
    assert.equal(values['messages/received'], '17')
    const refusals = sender.received.length
    assert.equal(refusals, 1)
    const got = [...sender.packets, ...receiver.packets].length
    assert.equal(Number(values['messages/sent']), got - refusals)
    assert.equal(values['publish/messages/received'], '6')
    assert.equal(values['publish/messages/sent'], '5')
    await test.stop()
  })

  it('calls dropped what was refused because something was full, and nothing else', () => {
    const metrics = createMetrics(0)
    Object.assign(metrics.refused, { overloaded: 1, disk_full: 2, undeliverable: 4, not_allowed: 8, malformed: 16 })
    const values = createSysTree(metrics).read({ version: 'x', registered: 0, rowsWaiting: 0 }, 1)
    assert.equal(values['publish/messages/dropped'], '7')
  })
})
