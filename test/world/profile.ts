/**
 * The settings of a world: none for the embedded profile; with HELIOGRAPH_PROFILE=cluster those of the real services
 * that `npm run test:cluster` has up, under names that no other world has.
 */
import { Client } from 'cassandra-driver'
import pg from 'pg'

let worlds = 0

/** The same folder is the same deployment: a world that is started again finds what it had. */
const deployments = new Map<string, Promise<Record<string, string>>>()

export function profileEnv(folder: string): Promise<Record<string, string>> {
  if (process.env['HELIOGRAPH_PROFILE'] !== 'cluster') return Promise.resolve({})
  const known = deployments.get(folder) ?? makeDeployment()
  deployments.set(folder, known)
  return known
}

function required(name: string): string {
  const value = process.env[name]
  if (value === undefined) throw new Error(`${name} is not set: npm run test:cluster does`)
  return value
}

const KEYSPACE = `w${process.pid}`

/** A keyspace for each world would be too many for a small Cassandra: worlds of a process have one, one after the other. */
async function emptyKeyspace(): Promise<void> {
  const contactPoints = required('CASSANDRA_CONTACT_POINTS').split(',')
  const localDataCenter = process.env['CASSANDRA_LOCAL_DATA_CENTER'] ?? 'datacenter1'
  const client = new Client({ contactPoints, localDataCenter })
  try {
    await client.connect()
    const query = 'SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?'
    const { rows } = await client.execute(query, [KEYSPACE], { prepare: true })
    for (const row of rows) {
      const table = row['table_name'] as string
      if (table !== 'migrations') await client.execute(`TRUNCATE ${KEYSPACE}.${table}`)
    }
  } finally {
    await client.shutdown()
  }
}

/** Names of its own on the services that are up; the world before has ended. */
export async function makeDeployment(): Promise<Record<string, string>> {
  const name = `w${process.pid}_${Date.now().toString(36)}_${++worlds}`
  const database = new URL(required('DATABASE_URL'))
  const client = new pg.Client({ connectionString: database.href })
  await client.connect()
  await client.query(`CREATE DATABASE ${name}`)
  await client.end()
  await emptyKeyspace()
  database.pathname = `/${name}`
  return {
    REDIS_URL: required('REDIS_URL'),
    REDIS_PREFIX: `${name}:`,
    DATABASE_URL: database.href,
    CASSANDRA_CONTACT_POINTS: required('CASSANDRA_CONTACT_POINTS'),
    CASSANDRA_LOCAL_DATA_CENTER: process.env['CASSANDRA_LOCAL_DATA_CENTER'] ?? 'datacenter1',
    CASSANDRA_KEYSPACE: KEYSPACE,
    CASSANDRA_REPLICAS: '1',
  }
}
