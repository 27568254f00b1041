/**
 * A store over a keyspace of its own in the Cassandra that CASSANDRA_CONTACT_POINTS names. Run with
 * `CASSANDRA_CONTACT_POINTS=127.0.0.1:9042 mocha "test/cluster/cassandra-*.test.ts"`; CASSANDRA_DC is `datacenter1` when unset.
 */
import { Client } from 'cassandra-driver'
import { type CassandraLimits, type CassandraSettings, cassandraLimits } from '../../adapters/cassandra/driver.ts'
import { type Cassandra, openCassandra } from '../../adapters/cassandra/index.ts'
import type { Log, Row } from '../../core/ports.ts'
import { ROW_FRAME } from '../../core/row.ts'
import { seqFromMs } from '../../topics/ids.ts'

export const DAY_MS = 86_400_000

export function settingsFor(keyspace: string, more: Partial<CassandraSettings> = {}): CassandraSettings {
  const points = process.env['CASSANDRA_CONTACT_POINTS']
  if (!points) throw new Error('CASSANDRA_CONTACT_POINTS is not set; these tests need a Cassandra')
  const localDataCenter = process.env['CASSANDRA_DC'] || 'datacenter1'
  return { contactPoints: points.split(','), localDataCenter, keyspace, replication: 1, migrate: true, ...more }
}

/** A name that no other run has. */
export function freshKeyspace(what: string): string {
  return `test_${what}_${process.pid}_${Date.now().toString(36)}`
}

/** A log that keeps what it was told. */
export function keepingLog(): Log & { readonly texts: string[] } {
  const texts: string[] = []
  const keep = (_facts: object, text: string) => void texts.push(text)
  return { texts, info: keep, warn: keep, error: keep } as Log & { readonly texts: string[] }
}

export interface Scene {
  readonly keyspace: string
  readonly store: Cassandra
  /** Speaks to the same Cassandra past the store. */
  readonly client: Client
  /** Closes both; the keyspace stays. */
  leave(): Promise<void>
  /** Closes both and removes the keyspace. */
  close(): Promise<void>
}

export function rawClient({ contactPoints, localDataCenter }: CassandraSettings): Client {
  const port = Number(contactPoints[0]?.split(':')[1] ?? 9042)
  return new Client({
    contactPoints: [...contactPoints],
    localDataCenter,
    protocolOptions: { port },
    queryOptions: { prepare: true },
  })
}

export async function openScene(
  what: string,
  more: Partial<CassandraSettings> = {},
  limits: Partial<CassandraLimits> = {},
): Promise<Scene> {
  const settings = settingsFor(freshKeyspace(what), more)
  const onFatal = (error: Error) => {
    throw error
  }
  const store = await openCassandra(settings, keepingLog(), onFatal, { ...cassandraLimits, ...limits })
  const client = rawClient(settings)
  await client.connect()
  return {
    keyspace: settings.keyspace,
    store,
    client,
    async leave() {
      await store.close()
      await client.shutdown()
    },
    async close() {
      await store.close()
      await client.execute(`DROP KEYSPACE ${settings.keyspace}`, [], { prepare: false, readTimeout: 60_000 })
      await client.shutdown()
    },
  }
}

/** A row whose bytes lie inside of larger ones, as those of an entry do. */
export function row(device: string, seq: number, text = `${seq}`, more: Partial<Row> = {}): Row {
  const source = Buffer.from(`<<${text}>>`)
  return {
    device,
    seq,
    sub: 0,
    kind: ROW_FRAME,
    peer: '',
    expiresMs: 0,
    source,
    start: 2,
    end: source.length - 2,
    ...more,
  }
}

export function textOfRow(row: Row): string {
  return Buffer.from((row.source as Uint8Array).subarray(row.start, row.end)).toString()
}

/** The first seq of a day, counted from today. */
export function seqOnDay(daysAgo: number): number {
  return seqFromMs((Math.floor(Date.now() / DAY_MS) - daysAgo) * DAY_MS)
}

/** Records the statements that this process sends while `work` runs. */
export async function statementsOf(work: () => Promise<unknown>): Promise<string[]> {
  const statements: string[] = []
  const { execute } = Client.prototype
  Client.prototype.execute = function counted(this: Client, ...given: unknown[]) {
    statements.push(given[0] as string)
    return (execute as (...all: unknown[]) => Promise<never>).apply(this, given)
  } as typeof execute
  try {
    await work()
  } finally {
    Client.prototype.execute = execute
  }
  return statements
}
