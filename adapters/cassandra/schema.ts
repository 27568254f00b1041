/**
 * The keyspace: its tables by version, and the look at start whether it is what this program expects.
 *
 * `inbox_rows` holds rows in partitions of one device and one day of their seq (D4). `inboxes` has one partition for
 * each device: the cursor, and the days that have rows, so that a device which was away for a month does not have to
 * try thirty partitions. Everything in it is found and removed by device alone.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, errors, types } from 'cassandra-driver'
import { ConfigFault } from '../../core/config.ts'
import { StoreDownFault } from '../../core/ports.ts'
import type { CassandraSettings } from './driver.ts'

/** Longer than a row waits (limits.inboxTtlMs), so that who reads is told of what has expired. */
export const ROW_TTL_S = 33 * 86_400
/** A day is written with its first row and has to outlive its last one. */
export const DAY_TTL_S = 35 * 86_400

/**
 * Each entry brings a keyspace from the version before it to its own; every statement may run again. Never edit one
 * that was released: add another.
 *
 * Rows come with TTL and leave with whole files (TWCS). A delete of them is a matter of privacy and not of truth, since
 * nobody reads below a cursor: so a tombstone needs to live longer than hints (3 h), not longer than a repair takes.
 * A replica that does not answer a read within 50 ms has another one asked: a dead node is believed in for ten seconds.
 * The cursor has no TTL: of two values with one timestamp the greater one stays, but only if neither expires.
 */
export const MIGRATIONS: readonly (readonly string[])[] = [
  [
    `CREATE TABLE IF NOT EXISTS inbox_rows (
       device text, day int, seq bigint, sub int, kind tinyint, peer blob, expires_ms bigint, body blob,
       PRIMARY KEY ((device, day), seq, sub))
     WITH CLUSTERING ORDER BY (seq ASC, sub ASC) AND default_time_to_live = ${ROW_TTL_S} AND gc_grace_seconds = 86400
     AND speculative_retry = 'MIN(99p,50ms)'
     AND compaction = {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS',
       'compaction_window_size': '1'}`,
    `CREATE TABLE IF NOT EXISTS inboxes (device text, day int, cursor blob static, PRIMARY KEY (device, day))
     WITH CLUSTERING ORDER BY (day DESC) AND speculative_retry = 'MIN(99p,50ms)'
     AND compaction = {'class': 'LeveledCompactionStrategy'}`,
  ],
]

const AGREEMENT_TRIES_MAX = 30
const AGREEMENT_WAIT_MS = 500

/** Cassandra or its keyspace is not what this program needs; says what to do. */
export class SchemaFault extends ConfigFault {}

/** `CREATE TABLE IF NOT EXISTS name` → `… keyspace.name`: statements name their keyspace, connections have none. */
function qualified(statement: string, keyspace: string): string {
  return statement.replace(/^((?:CREATE|ALTER|DROP) TABLE (?:IF (?:NOT )?EXISTS )?)/, `$1${keyspace}.`)
}

async function untilAgreed(client: Client): Promise<void> {
  // The driver documents it and its declarations leave it out.
  const metadata = client.metadata as unknown as { checkSchemaAgreement(): Promise<boolean> }
  for (let tries = 0; tries < AGREEMENT_TRIES_MAX; tries++) {
    if (await metadata.checkSchemaAgreement()) return
    await sleep(AGREEMENT_WAIT_MS)
  }
  throw new StoreDownFault('cassandra', 'the nodes of Cassandra do not agree about the schema')
}

/**
 * Two processes that start at once change the schema through the same node, one after the other there: made on two
 * nodes at once, a table can come into being twice, with two ids.
 */
function schemaHost(client: Client) {
  const up = client.hosts.values().filter((host) => host.isUp())
  return up.sort((a, b) => (a.address < b.address ? -1 : 1))[0]
}

async function change(client: Client, statement: string): Promise<void> {
  const host = schemaHost(client)
  await client.execute(statement, [], { prepare: false, readTimeout: 30_000, ...(host === undefined ? {} : { host }) })
  await untilAgreed(client)
}

async function versionOf(client: Client, keyspace: string): Promise<number> {
  const tables = await client.execute(
    "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = 'migrations'",
    [keyspace],
  )
  if (tables.rows.length === 0) return 0
  const { rows } = await client.execute(`SELECT version FROM ${keyspace}.migrations`, [], { prepare: false })
  return Math.max(0, ...rows.map((row) => row['version'] as number))
}

/** ONE reads what was just written only if there is one copy: a setting that differs from the keyspace loses rows. */
async function checkReplication(client: Client, settings: CassandraSettings): Promise<void> {
  const { rows } = await client.execute('SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?', [
    settings.keyspace,
  ])
  const replication = rows[0]?.['replication'] as Record<string, string> | undefined
  const found = Number(replication?.[settings.localDataCenter] ?? replication?.['replication_factor'] ?? 0)
  if (found === settings.replication) return
  throw new SchemaFault(
    `Keyspace ${settings.keyspace} keeps ${found} copies in ${settings.localDataCenter} and the setting says ` +
      `${settings.replication}; change one of them, and repair after a change of the keyspace.`,
  )
}

/** From the version `found` to ours. What was begun and not finished is begun again by whoever comes next. */
async function migrate(client: Client, settings: CassandraSettings, found: number): Promise<void> {
  const { keyspace, localDataCenter, replication } = settings
  try {
    await change(
      client,
      `CREATE KEYSPACE IF NOT EXISTS ${keyspace} WITH replication =
         {'class': 'NetworkTopologyStrategy', '${localDataCenter}': ${replication}}`,
    )
    await change(client, `CREATE TABLE IF NOT EXISTS ${keyspace}.migrations (version int PRIMARY KEY)`)
    for (const [index, statements] of MIGRATIONS.entries()) {
      if (index < found) continue
      for (const statement of statements) await change(client, qualified(statement, keyspace))
      await client.execute(`INSERT INTO ${keyspace}.migrations (version) VALUES (${index + 1})`, [], {
        prepare: false,
        consistency: types.consistencies.quorum,
      })
    }
  } catch (error) {
    const isForbidden = error instanceof errors.ResponseError && error.code === types.responseErrorCodes.unauthorized
    if (!isForbidden) throw error
    throw new SchemaFault(
      `This user may not make the tables of keyspace ${keyspace} (${error.message}); grant it CREATE and ALTER, or ` +
        'start one process as a user that has them, and the others with CASSANDRA_MIGRATE=no.',
    )
  }
}

/** Makes the keyspace what this program needs, or says why it is not. */
export async function prepareKeyspace(client: Client, settings: CassandraSettings): Promise<void> {
  const { keyspace } = settings
  if (!/^[a-z][a-z0-9_]{0,47}$/.test(keyspace)) {
    throw new SchemaFault(`"${keyspace}" is no name of a keyspace; use a-z, 0-9 and _, at most 48, a letter first.`)
  }
  const found = await versionOf(client, keyspace)
  if (found > MIGRATIONS.length) {
    throw new SchemaFault(`Keyspace ${keyspace} was made by a newer version (${found}); run that one.`)
  }
  if (found < MIGRATIONS.length) {
    if (!settings.migrate) {
      throw new SchemaFault(
        `Keyspace ${keyspace} has schema ${found} and this program needs ${MIGRATIONS.length}; start one process ` +
          'with CASSANDRA_MIGRATE=yes, as a user that may make tables there.',
      )
    }
    await migrate(client, settings, found)
  }
  await untilAgreed(client)
  await checkReplication(client, settings)
}
