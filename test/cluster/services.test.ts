import assert from 'node:assert/strict'
import { askCql, askPostgres, askRedis, converse, logInToCassandra, logInToPostgres } from '../services/wire.ts'

/** What `npm run test:cluster` exports. Without it there is nothing to test against, and that is a failure. */
function setting(name: string): string {
  const value = process.env[name]
  assert.ok(value, `${name} is not set: npm run test:cluster`)
  return value
}

describe('the services of the cluster profile', () => {
  it('have a Redis that evicts nothing and answers after fsync', async () => {
    const { hostname, port } = new URL(setting('REDIS_URL'))
    const talk = await converse(hostname, Number(port))
    assert.match(await askRedis(talk, 'CONFIG', 'GET', 'appendonly'), /\r\nyes\r\n$/)
    assert.match(await askRedis(talk, 'CONFIG', 'GET', 'appendfsync'), /\r\nalways\r\n$/)
    assert.match(await askRedis(talk, 'CONFIG', 'GET', 'maxmemory-policy'), /\r\nnoeviction\r\n$/)
    assert.equal(await askRedis(talk, 'SET', 'services-test', 'kept'), '+OK\r\n')
    assert.equal(await askRedis(talk, 'GET', 'services-test'), '$4\r\nkept\r\n')
    assert.equal(await askRedis(talk, 'DEL', 'services-test'), ':1\r\n')
    talk.end()
  })

  it('have a PostgreSQL that commits to disk', async () => {
    const { hostname, port } = new URL(setting('DATABASE_URL'))
    const talk = await converse(hostname, Number(port))
    await logInToPostgres(talk)
    assert.deepEqual(await askPostgres(talk, 'SHOW fsync'), ['on'])
    assert.deepEqual(await askPostgres(talk, 'SHOW synchronous_commit'), ['on'])
    assert.deepEqual(await askPostgres(talk, 'SHOW server_encoding'), ['UTF8'])
    assert.deepEqual(await askPostgres(talk, 'SELECT x FROM generate_series(1, 3) x ORDER BY x DESC'), ['3', '2', '1'])
    await assert.rejects(askPostgres(talk, 'SELECT nothing'), /column "nothing" does not exist/)
    talk.end()
  })

  it('have a Cassandra 5.0.8 at each contact point, which stores and reads', async () => {
    for (const [index, point] of setting('CASSANDRA_CONTACT_POINTS').split(',').entries()) {
      const [host, port] = point.split(':')
      const talk = await converse(host as string, Number(port))
      await logInToCassandra(talk)
      const keyspace = `services_test_${index}`
      const replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
      assert.deepEqual((await askCql(talk, 'SELECT release_version FROM system.local')).map(String), ['5.0.8'])
      await askCql(talk, `CREATE KEYSPACE ${keyspace} WITH replication = ${replication}`)
      await askCql(talk, `CREATE TABLE ${keyspace}.kept (a text, b text, PRIMARY KEY (a, b))`)
      for (const b of ['x', 'y']) await askCql(talk, `INSERT INTO ${keyspace}.kept (a, b) VALUES ('1', '${b}')`)
      assert.deepEqual((await askCql(talk, `SELECT b FROM ${keyspace}.kept WHERE a = '1'`)).map(String), ['x', 'y'])
      await askCql(talk, `DROP KEYSPACE ${keyspace}`)
      talk.end()
    }
  }).timeout(60_000)
})
