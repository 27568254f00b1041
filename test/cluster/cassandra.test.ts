import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { type CassandraService, startCassandra } from '../services/cassandra.ts'
import { askCql, type Conversation, converse, logInToCassandra } from '../services/wire.ts'

const START_MS_MAX = 180_000

describe('a Cassandra of one node, for a test', () => {
  let server: CassandraService
  before(async function () {
    this.timeout(START_MS_MAX)
    server = await startCassandra({ sync: 'batch' })
  })
  after(async function () {
    this.timeout(START_MS_MAX)
    await server.stop()
    assert.equal(existsSync(server.folder), false)
  })

  async function logIn(): Promise<Conversation> {
    const talk = await converse('127.0.0.1', server.port)
    await logInToCassandra(talk)
    return talk
  }

  it('has after SIGKILL what it has acknowledged, when it syncs first', async () => {
    const talk = await logIn()
    await askCql(talk, "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
    await askCql(talk, 'CREATE TABLE k.kept (a text PRIMARY KEY)')
    await askCql(talk, "INSERT INTO k.kept (a) VALUES ('last')")
    await server.kill()
    assert.equal(server.pid(), undefined)
    await assert.rejects(logIn())
    await server.revive()
    const again = await logIn()
    assert.deepEqual((await askCql(again, 'SELECT a FROM k.kept')).map(String), ['last'])
    talk.end()
    again.end()
  }).timeout(START_MS_MAX)

  it('is silent while it is paused', async () => {
    const talk = await logIn()
    server.pause()
    const answer = askCql(talk, 'SELECT release_version FROM system.local').then((rows) => ({
      rows,
      atMs: performance.now(),
    }))
    await new Promise((resolve) => setTimeout(resolve, 200))
    const resumedMs = performance.now()
    server.resume()
    const { rows, atMs } = await answer
    assert.deepEqual(rows.map(String), ['5.0.8'])
    assert.ok(atMs >= resumedMs)
    talk.end()
  })
})
