/** Secrets that nobody set are the same at all brokers of a deployment. */
import assert from 'node:assert/strict'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ADMIN_TOKEN_FILE, OBSERVER_PASSWORD_FILE, PHONE_KEY_FILE } from '../../broker/secrets.ts'
import { startTestNode, type TestNode } from '../api/node.ts'
import { connectClient } from '../world/client.ts'
import { makeKeys, register } from '../world/person.ts'
import { makeDeployment } from '../world/profile.ts'

const HOUR_MS = 3_600_000
const MADE = { ADMIN_TOKEN: '', OBSERVER_PASSWORD: '', PHONE_KEY: '' }

describe('secrets of a cluster that nobody set', function () {
  this.timeout(60_000)
  let deployment: Record<string, string>
  const nodes: TestNode[] = []

  beforeEach(async () => {
    deployment = await makeDeployment()
  })
  afterEach(async () => {
    await Promise.all(nodes.splice(0).map((each) => each.stop()))
  })

  async function start(env: Record<string, string> = {}): Promise<TestNode> {
    const node = await startTestNode({ ...deployment, ...MADE, ...env })
    nodes.push(node)
    return node
  }
  const secretIn = (node: TestNode, file: string): string => readFileSync(join(node.folder, file), 'utf8').trim()

  it('are made once, though two brokers start at one time, and lie in the folder of each', async () => {
    const [a, b] = await Promise.all([start(), start()])
    for (const file of [ADMIN_TOKEN_FILE, OBSERVER_PASSWORD_FILE, PHONE_KEY_FILE]) {
      assert.match(secretIn(a, file), /^[A-Za-z0-9_-]{32}$/)
      assert.equal(secretIn(a, file), secretIn(b, file))
      assert.equal(statSync(join(b.folder, file)).mode & 0o777, 0o600)
    }
    const headers = { authorization: `Bearer ${secretIn(a, ADMIN_TOKEN_FILE)}` }
    const answer = await fetch(`${b.url}/v1/admin/dead-letters`, { headers })
    assert.equal(answer.status, 200)
    const observer = await connectClient({
      port: b.node.server.mqttPort,
      clientId: 'explorer',
      username: 'observer',
      password: secretIn(a, OBSERVER_PASSWORD_FILE),
      clean: true,
      keepalive: 60,
    })
    assert.equal(observer.connack?.returnCode, 0)
    observer.destroy()
  })

  it('find an account by its number at every broker', async () => {
    const [a, b] = [await start(), await start()]
    const keys = makeKeys()
    const { user } = await register(a, '+15550001111', { keys })
    // When the number was last sent a code is remembered.
    b.clock.offsetMs += HOUR_MS
    assert.equal((await register(b, '+15550001111', { keys })).user, user)
  })

  it('are those of the first broker: a folder with another phone key is refused, and keeps it', async () => {
    await start()
    const other = await startTestNode({ ...(await makeDeployment()), ...MADE })
    nodes.push(other)
    const key = secretIn(other, PHONE_KEY_FILE)
    await assert.rejects(start({ DATA_DIR: other.folder }), /phone-key is not this deployment's: move it away/)
    assert.equal(secretIn(other, PHONE_KEY_FILE), key)
  })

  it('take the place of an older admin token in the folder', async () => {
    const a = await start()
    const b = await start()
    writeFileSync(join(b.folder, ADMIN_TOKEN_FILE), 'the one of another time\n')
    const again = await start({ DATA_DIR: b.folder })
    assert.equal(secretIn(b, ADMIN_TOKEN_FILE), secretIn(a, ADMIN_TOKEN_FILE))
    assert.equal(again.node.server.secrets.adminToken.reveal(), secretIn(a, ADMIN_TOKEN_FILE))
  })

  it('do not go with a broker that is told another phone key', async () => {
    await start()
    const wrong = start({ PHONE_KEY: 'a key of another place' })
    await assert.rejects(wrong, /PHONE_KEY is not the one that this deployment began with/)
  })

  it('are refused where the deployment began with a phone key that was set', async () => {
    await start({ PHONE_KEY: 'a key that was set at first' })
    await assert.rejects(start(), /PHONE_KEY is not the one that this deployment began with/)
    await start({ PHONE_KEY: 'a key that was set at first' })
  })
})
