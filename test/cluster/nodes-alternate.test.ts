/** A device that goes back and forth between two nodes all the time, while both are sent to (B4, P2). */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { type MadeDevice, startTestNode, type TestNode } from '../api/node.ts'
import type { Client } from '../world/client.ts'
import { makeDeployment } from '../world/profile.ts'

const TALK_MS = 6_000
const STAY_MS_MAX = 250

describe('a device that changes its node again and again', function () {
  this.timeout(60_000)
  let nodes: readonly [TestNode, TestNode]
  let device: MadeDevice
  let senders: readonly { readonly client: Client; readonly topic: string; sent: number }[]
  const connections: Client[] = []
  before(async () => {
    const env = await makeDeployment()
    nodes = [await startTestNode({ ...env, NODE_NAME: 'one' }), await startTestNode({ ...env, NODE_NAME: 'two' })]
    const made = await nodes[0].make({ kind: 'thing', prefix: 'm', count: 3 })
    device = made[0] as MadeDevice
    senders = await Promise.all(
      nodes.map(async (node, i) => {
        const from = made[i + 1] as MadeDevice
        return { client: await node.connect(from), topic: `d/${from.device}/raw/d-${device.device}`, sent: 0 }
      }),
    )
  })
  after(async () => {
    for (const client of connections) client.destroy()
    await Promise.all(nodes.map((node) => node.stop()))
  })

  /** Connects where it was not before, and goes in one of three ways, or stays until the next one takes it over. */
  async function wander(untilMs: number): Promise<void> {
    for (let i = 0; performance.now() < untilMs; i++) {
      const client = await (nodes[i % 2] as TestNode).connect(device, { autoAck: i % 3 !== 1 })
      if (i === 0) await client.subscribe(`d/${device.device}/from/#`)
      connections.push(client)
      await delay(Math.random() * STAY_MS_MAX)
      if (i % 5 === 0) client.destroy()
      if (i % 5 === 1) await client.disconnect().catch(() => undefined)
    }
  }
  async function talk(sender: (typeof senders)[number], isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      const some = Array.from({ length: 5 }, () => sender.client.publish(sender.topic, `${sender.sent++}`))
      await Promise.all(some)
      await delay(3)
    }
  }

  it('gets everything, in the order of each sender, and what comes again says so', async () => {
    let isOver = false
    const talks = senders.map((sender) => talk(sender, () => isOver))
    await wander(performance.now() + TALK_MS)
    isOver = true
    await Promise.all(talks)
    const last = await nodes[0].connect(device)
    connections.push(last)
    const nameOf = ({ topic, payload }: Client['received'][number]) => `${topic} ${payload}`
    const seen = () => new Set(connections.flatMap(({ received }) => received.map(nameOf)))
    const sent = senders.reduce((sum, each) => sum + each.sent, 0)
    const deadline = performance.now() + 20_000
    while (seen().size < sent && performance.now() < deadline) await delay(200)
    assert.equal(seen().size, sent)
    const known = new Set<string>()
    for (const { received } of connections) {
      const highest = new Map<string, number>()
      for (const each of received) {
        const number = Number(each.payload)
        assert.ok(number > (highest.get(each.topic) ?? -1), `${nameOf(each)} after ${highest.get(each.topic)}`)
        highest.set(each.topic, number)
        assert.ok(each.dup || !known.has(nameOf(each)), `${nameOf(each)} comes again and does not say so`)
        known.add(nameOf(each))
      }
    }
    assert.ok(connections.length > 10, `${connections.length} connections`)
  })
})
