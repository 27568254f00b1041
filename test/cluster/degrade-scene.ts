/**
 * A node of the cluster whose engines a test may kill, stop, slow down or make answer with errors, with two things that
 * talk to each other over it: what needs no lost part goes on, on the same connections (D5).
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type MadeDevice, startTestNode, type TestNode } from '../api/node.ts'
import type { Client } from '../world/client.ts'
import { makeDeployment } from '../world/profile.ts'

export interface Missing {
  readonly what: string
  readonly why: string
  readonly breaker?: string
}

export interface Scene {
  readonly node: TestNode
  readonly sender: Client
  readonly receiver: Client
  /** Connected once, so that the node knows it, and away. */
  readonly seen: MadeDevice
  /** Never connected. */
  readonly unseen: MadeDevice
  /** Numbers that got a PUBACK. */
  readonly stored: number[]
  /** Sends the next `count` numbers and waits for their PUBACKs. */
  send(count: number): Promise<void>
  /** The thing `seen` sends a text to the receiver, without waiting for its PUBACK. */
  postFrom(client: Client, text: string): void
  /** Sends a text to another device and waits for its PUBACK. */
  sendTo(device: MadeDevice, text: string): Promise<void>
  /** Sends one number without waiting for its PUBACK. */
  post(): void
  /** Everything that got a PUBACK arrives over the first connection: all of it, in order. */
  allArrived(): Promise<void>
  /** PINGREQ and /livez are answered, and no connection was lost. */
  isAlive(): Promise<void>
  missing(): Promise<readonly Missing[]>
  /** Waits until /readyz is 503 and names this part. */
  untilMissing(what: string): Promise<Missing>
  untilReady(): Promise<void>
  /** A number of /metrics. */
  metric(line: string): Promise<number>
  stop(): Promise<void>
}

const WAIT_MS_MAX = 30_000
const ALL_MS_MAX = 25_000

export async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const endMs = performance.now() + WAIT_MS_MAX
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`it did not come to pass: ${what}`)
    await sleep(20)
  }
}

/** First arrivals: a row that was written again before a kill may come twice (at least once), never before another. */
function arrivals(client: Client): number[] {
  const texts = client.received.filter(({ qos }) => qos === 1).map(({ payload }) => Number(payload))
  return texts.filter((text, i) => texts.indexOf(text) === i)
}

export async function openScene(env: Record<string, string>): Promise<Scene> {
  const node = await startTestNode({ ...(await makeDeployment()), ...env })
  const [a, b, seen, unseen] = (await node.make({ kind: 'thing', prefix: 'dg', count: 4 })) as [
    MadeDevice,
    MadeDevice,
    MadeDevice,
    MadeDevice,
  ]
  const receiver = await node.connect(b)
  await receiver.subscribe(`d/${b.device}/from/#`)
  const sender = await node.connect(a)
  await (await node.connect(seen)).disconnect()
  const stored: number[] = []
  let last = 0
  const topic = `d/${a.device}/raw/d-${b.device}`
  const ready = async () => {
    const response = await fetch(`${node.url}/readyz`)
    const { missing } = (await response.json()) as { missing: Missing[] }
    assert.equal(response.status, missing.length === 0 ? 200 : 503)
    return missing
  }
  const scene: Scene = {
    node,
    sender,
    receiver,
    seen,
    unseen,
    stored,
    async send(count) {
      const sends = Array.from({ length: count }, async () => {
        const number = ++last
        await sender.publish(topic, String(number))
        stored.push(number)
      })
      await Promise.all(sends)
    },
    postFrom: (client, text) => void client.post(`d/${seen.device}/raw/d-${b.device}`, text),
    sendTo: (device, text) => sender.publish(`d/${a.device}/raw/d-${device.device}`, text),
    post: () => void sender.post(topic, String(++last)),
    async allArrived() {
      const wanted = [...stored].sort((x, y) => x - y)
      const all = () => arrivals(receiver).length >= wanted.length
      await receiver.until(all, `${wanted.length} messages`, ALL_MS_MAX)
      assert.deepEqual(arrivals(receiver), wanted)
    },
    async isAlive() {
      await Promise.all([sender.ping(), receiver.ping()])
      assert.equal((await fetch(`${node.url}/livez`)).status, 200)
      assert.deepEqual([sender.isClosed, receiver.isClosed], [false, false])
    },
    missing: ready,
    async untilMissing(what) {
      let found: Missing | undefined
      await until(async () => {
        found = (await ready()).find((each) => each.what === what)
        return found !== undefined
      }, `${what} is missing`)
      return found as Missing
    },
    untilReady: () => until(async () => (await ready()).length === 0, 'it is ready'),
    async metric(line) {
      const text = await (await fetch(`${node.url}/metrics`)).text()
      const found = text.split('\n').find((each) => each.startsWith(`${line} `))
      return Number(found?.slice(line.length + 1))
    },
    stop: () => node.stop(),
  }
  await scene.send(1)
  await scene.allArrived()
  await scene.untilReady()
  return scene
}

export interface SlowPath {
  readonly port: number
  delayMs: number
  close(): Promise<void>
}

/** Forwards to a port of this machine, each read so much later. */
export async function startSlowPath(port: number): Promise<SlowPath> {
  const sockets = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1')
    for (const [from, into] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from)
      from.setNoDelay(true)
      from.on('error', () => undefined)
      from.on('data', (bytes) => void setTimeout(() => into.write(bytes), path.delayMs))
      from.on('close', () => {
        sockets.delete(from)
        into.destroy()
      })
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const path: SlowPath = {
    port: (server.address() as AddressInfo).port,
    delayMs: 0,
    async close() {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    },
  }
  return path
}
