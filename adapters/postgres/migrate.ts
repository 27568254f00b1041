/** What is done once, at start: is the server one that keeps what it was told, and is its schema ours? */
import { Client } from 'pg'
import { ConfigFault } from '../../core/config.ts'
import type { Clock } from '../../core/ports.ts'
import { MIGRATIONS } from './schema.ts'

/** Held by the process that migrates. One that starts meanwhile waits, and finds the work done. */
const MIGRATION_LOCK = 4_812_090_133
/** How long that other one may take. */
const MIGRATE_MS_MAX = 60_000

export interface ServerDemands {
  readonly now: Clock
  /** Also a server that answers COMMIT before it is on the disk. */
  readonly mayForget: boolean
  /** As PostgreSQL writes it: 130000 for 13. */
  readonly versionMin: number
}
/** What the statements of schema.ts are tried with. */
export const VERSION_MIN = 130_000
/** How far the clocks of this process and of the server may be apart: revocations are times of either. */
const CLOCK_SKEW_MS_MAX = 60_000
/** Switches with which the server answers COMMIT before it is on the disk, or cannot read its disk after a crash. */
const SWITCHES = ['fsync', 'full_page_writes', 'synchronous_commit']

type Facts = Readonly<Record<string, string>>

async function factsOf(client: Client): Promise<Facts> {
  const switches = SWITCHES.map((name) => `'${name}'`).join(', ')
  const { rows } = await client.query<{ name: string; setting: string }>(
    `SELECT name, setting FROM pg_settings
      WHERE name IN ('server_version', 'server_version_num', 'synchronous_standby_names', ${switches})`,
  )
  return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]))
}

function refuseVolatile(facts: Facts): void {
  const off = SWITCHES.filter((name) => facts[name] === 'off')
  if (off.length === 0) return
  throw new ConfigFault(
    `PostgreSQL runs with ${off.join(' and ')} off: it forgets what it confirmed when its machine stops. Switch that ` +
      'on, or set DATABASE_MAY_FORGET=yes where accounts may be lost.',
  )
}

async function refuseReplica(client: Client): Promise<void> {
  const { rows } = await client.query<{ isReplica: boolean }>('SELECT pg_is_in_recovery() AS "isReplica"')
  if (rows[0]?.isReplica !== true) return
  throw new ConfigFault('PostgreSQL is a standby and takes no writes; let DATABASE_URL name the primary.')
}

async function refuseClock(client: Client, now: Clock): Promise<void> {
  const before = now()
  const { rows } = await client.query<{ ms: string }>('SELECT extract(epoch FROM clock_timestamp()) * 1000 AS ms')
  const serverMs = Number(rows[0]?.ms)
  const aheadMs = serverMs > before ? Math.max(0, serverMs - now()) : serverMs - before
  if (Math.abs(aheadMs) <= CLOCK_SKEW_MS_MAX) return
  const way = aheadMs > 0 ? 'ahead of' : 'behind'
  throw new ConfigFault(
    `The clock of PostgreSQL is ${Math.round(Math.abs(aheadMs) / 1_000)} s ${way} this machine's; ` +
      'let both follow NTP, then start again.',
  )
}

/** Resolves with what an account that was stored rests on, in a sentence. */
async function checkServer(client: Client, { now, mayForget, versionMin }: ServerDemands): Promise<string> {
  const facts = await factsOf(client)
  const version = facts['server_version'] ?? ''
  if (Number(facts['server_version_num']) < versionMin) {
    throw new ConfigFault(`PostgreSQL ${version} is too old; run ${Math.floor(versionMin / 10_000)} or later.`)
  }
  if (!mayForget) refuseVolatile(facts)
  await refuseReplica(client)
  await refuseClock(client, now)
  const standbys = facts['synchronous_standby_names'] ?? ''
  const where = standbys === '' ? 'its disk alone' : `its disk and on ${standbys}`
  const [fsync, commit] = [facts['fsync'], facts['synchronous_commit']]
  const set = `PostgreSQL ${version}, fsync ${fsync}, synchronous_commit ${commit}`
  return `${set}: an account is on ${where} when it is answered`
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

export interface Prepared {
  /** Name of the schema. */
  readonly schema: string
  readonly promise: string
}

/**
 * Checks the server and brings the schema up to date, all of it or nothing. Rejects with a ConfigFault that says what
 * to do.
 */
export async function prepareDatabase(url: string, connectMs: number, demands: ServerDemands): Promise<Prepared> {
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
    const promise = await checkServer(client, demands)
    await migrate(client)
    const { rows } = await client.query<{ schema: string }>('SELECT current_schema() AS schema')
    return { schema: rows[0]?.schema ?? '', promise }
  } finally {
    await client.end().catch(() => undefined)
  }
}
