/**
 * The settings of a world: none for the embedded profile; with HELIOGRAPH_PROFILE=cluster those of the real services
 * that `npm run test:cluster` has up, under names that no other world has.
 */
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

/** Names of its own on the services that are up. */
export async function makeDeployment(): Promise<Record<string, string>> {
  const name = `w${process.pid}_${Date.now().toString(36)}_${++worlds}`
  const database = new URL(required('DATABASE_URL'))
  const client = new pg.Client({ connectionString: database.href })
  await client.connect()
  await client.query(`CREATE DATABASE ${name}`)
  await client.end()
  database.pathname = `/${name}`
  return {
    REDIS_URL: required('REDIS_URL'),
    REDIS_PREFIX: `${name}:`,
    DATABASE_URL: database.href,
    CASSANDRA_CONTACT_POINTS: required('CASSANDRA_CONTACT_POINTS'),
    CASSANDRA_LOCAL_DATA_CENTER: process.env['CASSANDRA_LOCAL_DATA_CENTER'] ?? 'datacenter1',
    CASSANDRA_KEYSPACE: name,
    CASSANDRA_REPLICAS: '1',
  }
}
