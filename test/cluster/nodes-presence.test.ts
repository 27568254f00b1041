/** A node that dies takes its devices along: nobody of it notes that they are gone, and their accounts see it. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startTestNode, type TestNode } from '../api/node.ts'
import { inOf, send, until } from '../data-plane/scene.ts'
import { connect } from '../suites/broker.ts'
import { asDevice, call, link, register } from '../world/person.ts'
import { type ServerProcess, spawnServer } from '../world/process.ts'
import { makeDeployment } from '../world/profile.ts'

/** Two looks for nodes that died, and the job, on a machine that does other things too. */
const GONE_MS_MAX = 40_000
const PUSHED = 'a push was not sent but written here'

describe('devices of a node that is killed', function () {
  this.timeout(60_000)
  let test: TestNode
  let folder: string
  let other: ServerProcess
  before(async () => {
    const env = await makeDeployment()
    test = await startTestNode(env)
    folder = mkdtempSync(join(tmpdir(), 'heliograph-presence-'))
    other = await spawnServer(folder, { ...env, WORKERS_INLINE: 'no' })
  })
  after(async () => {
    await other.kill()
    await test.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  it('are served by nobody from then on, the time is kept with each, and what was sent to them is pushed', async () => {
    const ann = await register(test, '+15550001111')
    const tablet = await link(test, ann, 'dGFibGV0')
    const carol = asDevice(await register(test, '+15550002222'))
    const from = await connect({ port: test.node.server.mqttPort }, carol)
    const device = { id: tablet.device, token: tablet.token } as Parameters<typeof inOf>[0]
    const { claims, directory, accounts } = test.node.server.opened.ports
    const client = await connect({ port: other.port }, device)
    await client.subscribe(inOf(device))
    await until(async () => (await claims.locate([device.id])).has(device.id), 'the claim')
    await other.kill()
    // Its claim is there still, and says that it is connected.
    await send(from, carol, [asDevice(ann), asDevice(tablet)])
    await until(async () => !(await claims.locate([device.id])).has(device.id), 'that nobody serves it')
    await until(
      async () => {
        const account = await directory.accountOfDevice(device.id)
        const person = account && (await accounts.person(account.user))
        return person?.devices.some(({ id, seenMs }) => id === device.id && seenMs > 0) === true
      },
      'the time',
      GONE_MS_MAX,
    )
    const isPushed = () =>
      test.logged.some(({ text, facts }) => text === PUSHED && 'device' in facts && facts.device === device.id)
    await until(isPushed, 'a push', GONE_MS_MAX)
    from.destroy()
    const { body } = await call(test.url, 'GET', '/v1/devices', { token: ann.token })
    const shown = (body['devices'] as Record<string, unknown>[]).map(({ lastActive }) => typeof lastActive)
    assert.deepEqual(shown, ['undefined', 'string'])
  })
})
