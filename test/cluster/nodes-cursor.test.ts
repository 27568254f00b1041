/** A device that goes from node to node and back: its cursor follows what it has acknowledged, wherever that was. */
import assert from 'node:assert/strict'
import { type MadeDevice, startTestNode, type TestNode } from '../api/node.ts'
import type { Client } from '../world/client.ts'
import { makeDeployment } from '../world/profile.ts'
import { until } from './redis-scene.ts'

describe('the cursor of a device that goes back to a node', function () {
  this.timeout(60_000)
  let one: TestNode
  let two: TestNode
  let device: MadeDevice
  let sender: Client
  let topic: string
  let sent = 0
  before(async () => {
    const env = await makeDeployment()
    one = await startTestNode({ ...env, NODE_NAME: 'one' })
    two = await startTestNode({ ...env, NODE_NAME: 'two' })
    const [to, from] = (await one.make({ kind: 'thing', prefix: 'm', count: 2 })) as [MadeDevice, MadeDevice]
    device = to
    sender = await two.connect(from)
    topic = `d/${from.device}/raw/d-${to.device}`
  })
  after(async () => {
    await Promise.all([one.stop(), two.stop()])
  })

  const send = (count: number) =>
    Promise.all(Array.from({ length: count }, () => sender.publish(topic, `row ${sent++}`)))
  async function visit(node: TestNode, autoAck: boolean): Promise<Client> {
    const client = await node.connect(device, { autoAck })
    await client.subscribe(`d/${device.device}/from/#`)
    return client
  }
  const cursor = () => {
    const { storage } = one.node.server.opened
    return storage?.rows.cursor(device.device)
  }
  async function leave(client: Client): Promise<void> {
    await client.ping()
    await client.disconnect()
  }

  it('does not stay where it was when it was there first', async () => {
    const first = await visit(one, false)
    await send(3)
    await first.receive(3, 10_000)
    await leave(first)
    const elsewhere = await visit(two, true)
    await elsewhere.receive(3, 10_000)
    await leave(elsewhere)
    await until(async () => ((await cursor())?.seq ?? 0) > 0, 'the cursor of the other node')
    const atTwo = (await cursor())?.seq as number
    const again = await visit(one, true)
    await send(5)
    await again.receive(5, 10_000)
    await leave(again)
    await until(async () => {
      const { seq = 0, above = [] } = (await cursor()) ?? {}
      return seq > atTwo && above.length === 0
    }, 'that it goes on from there')
    const last = await visit(two, true)
    await send(1)
    await last.receive(1, 10_000)
    assert.deepEqual(
      last.received.map(({ payload }) => String(payload)),
      ['row 8'],
    )
    await leave(last)
  })
})
