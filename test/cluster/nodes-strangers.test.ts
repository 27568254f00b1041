/** What a node hears on its channels and cannot read is as if it had not heard it: it reads inboxes, and goes on. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import { startTestNode, type TestNode } from '../api/node.ts'
import { attendAt, messages, send, TEXT_BYTES } from '../data-plane/scene.ts'
import type { Client } from '../world/client.ts'
import { asDevice, register } from '../world/person.ts'
import { makeDeployment } from '../world/profile.ts'
import { connectPlain, until } from './redis-scene.ts'

const WAIT_MS_MAX = 10_000

describe('a node that hears what it cannot read', function () {
  this.timeout(60_000)
  let env: Record<string, string>
  let test: TestNode
  let redis: Redis
  let clients: Client[]
  before(async () => {
    env = await makeDeployment()
    test = await startTestNode(env)
    redis = await connectPlain(env['REDIS_URL'] as string)
    clients = []
  })
  after(async () => {
    for (const client of clients) client.destroy()
    redis.disconnect()
    await test.stop()
  })

  /** Publishes on each of the deployment's channels with such a name; to how many. */
  async function publish(name: RegExp, message: Buffer | string): Promise<number> {
    const channels = (await redis.pubsub('CHANNELS', `${env['REDIS_PREFIX']}*`)) as string[]
    const all = channels.filter((channel) => name.test(channel))
    const heard = await Promise.all(all.map((channel) => redis.publish(channel, message)))
    return heard.reduce((sum, each) => sum + each, 0)
  }

  it('delivers what comes before, between and behind it, in order, and says so once', async () => {
    const [ann, bob] = [await register(test, '+15550001111'), await register(test, '+15550002222')].map(asDevice)
    assert.ok(ann !== undefined && bob !== undefined)
    const attend = async (device: typeof ann): Promise<Client> => {
      const client = await attendAt(test.node.server.mqttPort, device)
      clients.push(client)
      return client
    }
    const [from, to] = [await attend(ann), await attend(bob)]
    const said: string[] = []
    const say = async (): Promise<void> => {
      const body = randomBytes(TEXT_BYTES)
      said.push(body.toString('hex'))
      await send(from, ann, [bob], { body })
    }
    await say()
    const rows = [
      Buffer.alloc(0),
      Buffer.from([1]),
      Buffer.from([1, 3, 1, 2]),
      Buffer.from([2, 0, 0]),
      Buffer.alloc(64, 255),
    ]
    for (const each of rows) {
      assert.ok((await publish(/:rows$/, each)) > 0)
      await say()
    }
    for (const each of ['', 'x', '-', '1e400', '0.5', '{"seq":1}']) {
      assert.ok((await publish(/watermark$/, each)) > 0)
      await say()
    }
    for (const each of ['', ' ', 'nothing', `${bob.id} lost`, '\n\n', 'a b c d e f']) {
      assert.ok((await publish(/node:[^:]+$/, each)) > 0)
      await say()
    }
    await to.until(() => messages(to).length >= said.length, 'all of them', WAIT_MS_MAX)
    assert.deepEqual(
      messages(to).map(({ whisper }) => Buffer.from(whisper ?? []).toString('hex')),
      said,
    )
    const told = test.logged.filter(({ text }) => text.startsWith('a wake could not be read'))
    assert.equal(told.length, 1)
    // Rows are sent without being read again, by and by.
    await until(async () => (await fetch(`${test.url}/readyz`)).status === 200, 'readiness')
  })
})
