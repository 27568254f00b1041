import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { ADMIN_TOKEN, startTestNode, type TestNode } from '../api/node.ts'
import { startFile, temporaryFolder } from './main-process.ts'

const ESCAPE = String.fromCharCode(27)

describe('npm run demo', () => {
  const { folder, clean } = temporaryFolder()
  let test: TestNode
  before(async () => {
    test = await startTestNode()
  })
  after(async () => {
    await test.stop()
    clean()
  })

  // Ports at which nobody listens: it may not find a server of the person who runs the tests.
  const alone = { TMPDIR: folder, DATA_DIR: folder, MQTT_PORT: '1', HTTP_PORT: '1' }
  const devices = () => Number(test.node.server.opened.storeFacts()['registered'])

  it('keeps every promise on a server of its own, says so in 80 columns, and leaves nothing behind', async () => {
    const { code, output } = await startFile('demo.ts', [], alone).ended
    assert.equal(code, 0, output)
    assert.match(output, /\nEvery promise was kept\. That took \d+\.\d\d s\.\n$/)
    assert.equal(output.match(/^ {2}ok {2}/gm)?.length, 5)
    assert.match(output, /kill -9 \d+/)
    assert.match(output, /1000 of 1000, each stored once, in order/)
    assert.match(output, /anna +\| ✓✓ to ben: .* \(read\)\n/)
    assert.match(output, /on the line: both hold handles, and nothing of what was said/)
    for (const line of output.split('\n')) assert.ok(line.length <= 80, line)
    assert.ok(!output.includes(ESCAPE))
    assert.deepEqual(readdirSync(folder), [])
  })

  it('uses the server at HELIOGRAPH_URL, takes its devices away again, and kills its own', async function () {
    // Some ten programs, one after the other: in the cluster half a minute on a machine with other work.
    this.timeout(60_000)
    const env = { ...alone, HELIOGRAPH_URL: test.url, ADMIN_TOKEN }
    const { code, output } = await startFile('demo.ts', [], env).ended
    assert.equal(code, 0, output)
    assert.match(output, new RegExp(`ws://127\\.0\\.0\\.1:${test.node.httpPort}/v1/ws`))
    assert.match(output, /Every promise was kept/)
    assert.equal(devices(), 0)
    assert.equal((await test.ask('/livez')).status, 200)
  })

  it('finds the server by its settings, and ends with exit code 1 when a message arrives changed', async () => {
    const { inbox } = test.node.server.opened.ports
    const { page } = inbox
    inbox.page = async (...args) => {
      const rows = await page(...args)
      const last = rows.at(-1)
      if (last?.source !== undefined) {
        last.source = Uint8Array.from(last.source)
        last.source[last.end - 1] = 0x21
      }
      return rows
    }
    const { mqttPort } = test.node.server
    const ports = { MQTT_PORT: String(mqttPort), HTTP_PORT: String(test.node.httpPort) }
    const env = { ...alone, ...ports, ADMIN_TOKEN }
    const { code, output } = await startFile('demo.ts', [], env).ended
    inbox.page = page
    assert.equal(code, 1, output)
    assert.match(output, new RegExp(`the one that runs\nat mqtt://127\\.0\\.0\\.1:${mqttPort}`))
    assert.match(output, /^A promise was broken: /m)
    assert.doesNotMatch(output, /Every promise was kept/)
    assert.equal(devices(), 0)
  })

  it('says what is wrong with HELIOGRAPH_URL', async () => {
    const nobody = await startFile('demo.ts', [], { ...alone, HELIOGRAPH_URL: 'http://127.0.0.1:1' }).ended
    assert.deepEqual([nobody.code, nobody.output], [1, 'No server is ready at HELIOGRAPH_URL, http://127.0.0.1:1.\n'])
    const env = { ...alone, HELIOGRAPH_URL: test.url, ADMIN_TOKEN: 'another-token' }
    const stranger = await startFile('demo.ts', [], env).ended
    assert.equal(stranger.code, 1)
    assert.match(stranger.output, /has another admin token; set ADMIN_TOKEN\.\n$/)
  })
})
