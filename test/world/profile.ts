/**
 * The settings of a world: none for the embedded profile; with HELIOGRAPH_PROFILE=cluster those of the real services
 * that `npm run test:cluster` has up, under names that no other world has.
 */
import { existsSync } from 'node:fs'
import { Client } from 'cassandra-driver'
import pg from 'pg'

export const isCluster = process.env['HELIOGRAPH_PROFILE'] === 'cluster'

let worlds = 0

/** The same folder is the same deployment: a world that is started again finds what it had. */
const deployments = new Map<string, Promise<Record<string, string>>>()

export function profileEnv(folder: string): Promise<Record<string, string>> {
  if (!isCluster) return Promise.resolve({})
  const known = deployments.get(folder) ?? makeDeployment(folder)
  deployments.set(folder, known)
  return known
}

/** What runs on `other` from now on is one more node of what runs on `folder`. */
export function shareDeployment(folder: string, other: string): void {
  const known = deployments.get(folder)
  if (known !== undefined) deployments.set(other, known)
}

function required(name: string): string {
  const value = process.env[name]
  if (value === undefined) throw new Error(`${name} is not set: npm run test:cluster does`)
  return value
}

/** By keyspace: the folder of the world that has it. */
const keyspaces = new Map<string, string>()

/**
 * A keyspace for each world would be too many for a small Cassandra: a world that has ended, with its folder, leaves
 * its own to the next.
 */
function keyspaceFor(folder: string): string {
  const free = [...keyspaces].find(([, of]) => !existsSync(of))?.[0]
  const keyspace = free ?? `w${process.pid}_${keyspaces.size}`
  keyspaces.set(keyspace, folder)
  return keyspace
}

async function emptyKeyspace(keyspace: string): Promise<void> {
  const contactPoints = required('CASSANDRA_CONTACT_POINTS').split(',')
  const localDataCenter = process.env['CASSANDRA_LOCAL_DATA_CENTER'] ?? 'datacenter1'
  const client = new Client({ contactPoints, localDataCenter })
  try {
    await client.connect()
    const query = 'SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?'
    const { rows } = await client.execute(query, [keyspace], { prepare: true })
    for (const row of rows) {
      const table = row['table_name'] as string
      if (table !== 'migrations') await client.execute(`TRUNCATE ${keyspace}.${table}`)
    }
  } finally {
    await client.shutdown()
  }
}

/** Names of its own on the services that are up, for as long as `folder` is there. */
export async function makeDeployment(folder = process.cwd()): Promise<Record<string, string>> {
  const name = `w${process.pid}_${Date.now().toString(36)}_${++worlds}`
  const keyspace = keyspaceFor(folder)
  const database = new URL(required('DATABASE_URL'))
  const client = new pg.Client({ connectionString: database.href })
  await client.connect()
  await client.query(`CREATE DATABASE ${name}`)
  await client.end()
  await emptyKeyspace(keyspace)
  database.pathname = `/${name}`
  return {
    REDIS_URL: required('REDIS_URL'),
    REDIS_PREFIX: `${name}:`,
    DATABASE_URL: database.href,
    CASSANDRA_CONTACT_POINTS: required('CASSANDRA_CONTACT_POINTS'),
    CASSANDRA_LOCAL_DATA_CENTER: process.env['CASSANDRA_LOCAL_DATA_CENTER'] ?? 'datacenter1',
    CASSANDRA_KEYSPACE: keyspace,
    CASSANDRA_REPLICAS: '1',
  }
}
