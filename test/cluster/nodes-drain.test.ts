/** A node of several that is told to stop, with hundreds of devices on it. */
import assert from 'node:assert/strict'
import type { MadeDevice } from '../api/node.ts'
import { connectAgain, type Deployment, openDeployment } from './nodes-scene.ts'

const DEVICES = 500
const TIMEOUT_MS = 12_000

describe('a node that is told to stop', function () {
  this.timeout(90_000)
  let deployment: Deployment
  before(async () => {
    deployment = await openDeployment({ HANDSHAKES_PER_ADDRESS_MAX: '1000' })
  })
  after(() => deployment?.stop())

  it(`lets go of ${DEVICES} devices without a will, and what waits for them is on the other node`, async () => {
    const one = await deployment.start('one', { DRAIN_TIMEOUT_MS: String(TIMEOUT_MS) })
    const two = await deployment.start('two')
    const devices = await one.make({ kind: 'thing', prefix: 'dr', count: DEVICES + 1 })
    const from = devices.pop() as MadeDevice
    const sender = await connectAgain(from, two.mqttPort)
    const clients = await Promise.all(
      devices.map(async (device) => {
        const topic = `d/${device.device}/gone`
        const will = { topic, payload: Buffer.from('died'), qos: 1 as const, retain: false }
        return connectAgain(device, one.mqttPort, { will, autoAck: false })
      }),
    )
    const some = clients.slice(0, 20)
    for (const [i, client] of some.entries()) await client.subscribe(`d/${devices[i]?.device}/from/#`)
    await deployment.claims(devices)
    const to = (i: number) => `d/${from.device}/raw/d-${devices[i]?.device}`
    for (let i = 0; i < some.length; i++) await sender.publish(to(i), `shown to ${i}`)
    await Promise.all(some.map((client) => client.receive(1, 15_000)))

    const sinceMs = performance.now()
    one.signal('SIGTERM')
    await Promise.all(clients.map((client) => client.closed(TIMEOUT_MS)))
    const { code } = await one.exited
    assert.equal(code, 0)
    assert.ok(performance.now() - sinceMs < TIMEOUT_MS)
    const claims = await deployment.claims([from])
    assert.deepEqual([...claims.values()], ['two'], 'only the sender is claimed')
    for (const client of clients) {
      assert.ok(client.received.every(({ topic }) => !topic.endsWith('/gone')))
    }

    for (let i = 0; i < some.length; i++) await sender.publish(to(i), `sent later to ${i}`)
    for (const [i, device] of devices.slice(0, some.length).entries()) {
      const back = await connectAgain(device, two.mqttPort)
      const got = await back.receive(2, 15_000)
      assert.deepEqual(
        got.map(({ payload, dup }) => [String(payload), dup]),
        [
          [`shown to ${i}`, true],
          [`sent later to ${i}`, false],
        ],
      )
      back.destroy()
    }
    sender.destroy()
  })
})
