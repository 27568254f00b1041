/** `npm run worker` as it is typed where it has nothing to do, or wrongly. With services: test/cluster/workers-process. */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { startFile, temporaryFolder } from '../listeners/main-process.ts'

describe('the worker as a process', () => {
  const { folder, clean } = temporaryFolder()
  after(clean)
  const run = (args: string[], env: Record<string, string> = {}) =>
    startFile('worker.ts', args, { DATA_DIR: folder, ...env }).ended

  it('says what it is for', async () => {
    const { code, output } = await run(['--help'])
    assert.equal(code, 0)
    assert.match(output, /^Usage: npm run worker/)
  })

  it('has nothing to do beside the embedded profile, and leaves its folder alone', async () => {
    const { code, output } = await run([])
    assert.equal(code, 2)
    assert.match(output, /^The embedded profile has its workers inside; set REDIS_URL and the others/)
    assert.deepEqual(readdirSync(folder), [])
  })

  it('refuses an option or a setting that it does not have', async () => {
    const option = await run(['--shards'])
    assert.deepEqual([option.code, option.output], [2, "Unknown option '--shards'; --help says what there is.\n"])
    const setting = await run([], { REDIS_ULR: 'x' })
    assert.equal(setting.code, 2)
    assert.match(setting.output, /^REDIS_ULR is not a setting/)
  })

  it('says which engine is missing when it cannot start', async () => {
    const { code, output } = await run([], {
      REDIS_URL: 'redis://127.0.0.1:1',
      DATABASE_URL: 'postgres://x@127.0.0.1:1/x',
      CASSANDRA_CONTACT_POINTS: '127.0.0.1:1',
    })
    assert.equal(code, 1)
    assert.match(output, /Redis at 127\.0\.0\.1:1 is not to be reached/)
  })
})
