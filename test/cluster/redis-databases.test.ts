/** Two deployments in two databases of one Redis, under one prefix: its channels are heard in all databases. */
import assert from 'node:assert/strict'
import { startTestNode, type TestNode } from '../api/node.ts'
import { attendAt, messages, send } from '../data-plane/scene.ts'
import type { Client } from '../world/client.ts'
import { asDevice, register } from '../world/person.ts'
import { makeDeployment } from '../world/profile.ts'
import { connectPlain } from './redis-scene.ts'

describe('deployments in two databases of one Redis', function () {
  this.timeout(60_000)
  const nodes: TestNode[] = []
  const clients: Client[] = []
  const REDIS_PREFIX = `db${process.pid}:`
  after(async () => {
    for (const client of clients) client.destroy()
    await Promise.all(nodes.map((node) => node.stop()))
  })

  async function start(database: number, shards: number): Promise<{ test: TestNode; url: string }> {
    const env = await makeDeployment()
    const url = `${env['REDIS_URL']}/${database}`
    const test = await startTestNode({ ...env, REDIS_URL: url, REDIS_PREFIX, INTAKE_SHARDS: `${shards}` })
    nodes.push(test)
    return { test, url }
  }
  async function talk(test: TestNode): Promise<void> {
    const [ann, bob] = [await register(test, '+15550001111'), await register(test, '+15550002222')].map(asDevice)
    assert.ok(ann !== undefined && bob !== undefined)
    const attend = async (device: typeof ann): Promise<Client> => {
      const client = await attendAt(test.node.server.mqttPort, device)
      clients.push(client)
      return client
    }
    const [from, to] = [await attend(ann), await attend(bob)]
    for (let i = 0; i < 20; i++) await send(from, ann, [bob])
    await to.until(() => messages(to).length === 20, 'all of them')
  }

  it('both deliver, share no channel, and keep their jobs where the rest is', async () => {
    const [one, two] = [await start(1, 8), await start(2, 3)]
    await Promise.all([talk(one.test), talk(two.test)])
    for (const [url, database] of [
      [one.url, 1],
      [two.url, 2],
    ] as const) {
      const redis = await connectPlain(url)
      const keys = (await redis.keys(`${REDIS_PREFIX}*`)) as string[]
      assert.ok(keys.length > 0 && keys.every((key) => key.startsWith(`${REDIS_PREFIX}db${database}:`)))
      assert.ok(keys.some((key) => key.includes(':bull:')))
      redis.disconnect()
    }
    const redis = await connectPlain(one.url.replace(/\/1$/, ''))
    const watermarks = (await redis.pubsub('CHANNELS', `${REDIS_PREFIX}*watermark`)) as string[]
    assert.deepEqual(watermarks.sort(), [`${REDIS_PREFIX}db1:watermark`, `${REDIS_PREFIX}db2:watermark`])
    assert.equal((await redis.keys(`${REDIS_PREFIX}*`)).length, 0)
    redis.disconnect()
  })
})
