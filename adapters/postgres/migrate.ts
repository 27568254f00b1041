/** What is done once, at start: is the server one that keeps what it was told, and is its schema ours? */
import { Client } from 'pg'
import { ConfigFault } from '../../core/config.ts'
import { MIGRATIONS } from './schema.ts'

/** Held by the process that migrates. One that starts meanwhile waits, and finds the work done. */
const MIGRATION_LOCK = 4_812_090_133
/** How long that other one may take. */
const MIGRATE_MS_MAX = 60_000

/** Settings with which the server answers COMMIT before it is on the disk. */
async function refuseVolatile(client: Client): Promise<void> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT name FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit') AND setting = 'off' ORDER BY name`,
  )
  if (rows.length === 0) return
  const names = rows.map(({ name }) => name).join(' and ')
  throw new ConfigFault(
    `PostgreSQL runs with ${names} off: it forgets what it confirmed when its machine stops. Switch that on.`,
  )
}

async function migrate(client: Client): Promise<void> {
  await client.query('BEGIN')
  await client.query(`SELECT pg_advisory_xact_lock(${MIGRATION_LOCK})`)
  await client.query('CREATE TABLE IF NOT EXISTS schema_version (version integer NOT NULL)')
  const { rows } = await client.query<{ version: number }>('SELECT version FROM schema_version')
  const version = rows[0]?.version ?? 0
  if (version > MIGRATIONS.length) {
    throw new ConfigFault(
      `The PostgreSQL database was written by a newer version (schema ${version}, this one knows ` +
        `${MIGRATIONS.length}); start that version, or name another database.`,
    )
  }
  for (const migration of MIGRATIONS.slice(version)) await client.query(migration)
  const note = rows.length === 0 ? 'INSERT INTO schema_version VALUES ($1)' : 'UPDATE schema_version SET version = $1'
  await client.query(note, [MIGRATIONS.length])
  await client.query('COMMIT')
}

/**
 * Checks the server and brings the schema up to date, all of it or nothing. Resolves with the name of the schema.
 * Rejects with a ConfigFault that says what to do. `mayForget`: also on a server that does not keep what it confirms.
 */
export async function prepareDatabase(url: string, connectMs: number, mayForget: boolean): Promise<string> {
  const client = new Client({
    connectionString: url,
    application_name: 'heliograph start',
    connectionTimeoutMillis: connectMs,
    lock_timeout: MIGRATE_MS_MAX,
    query_timeout: MIGRATE_MS_MAX,
  })
  // What ends the connection also rejects what was asked over it.
  client.on('error', () => undefined)
  try {
    await client.connect()
  } catch (error) {
    void client.end().catch(() => undefined)
    throw new ConfigFault(`PostgreSQL cannot be reached (${(error as Error).message}); start it, or mend DATABASE_URL.`)
  }
  try {
    if (!mayForget) await refuseVolatile(client)
    await migrate(client)
    const { rows } = await client.query<{ schema: string }>('SELECT current_schema() AS schema')
    return rows[0]?.schema ?? ''
  } finally {
    await client.end().catch(() => undefined)
  }
}
