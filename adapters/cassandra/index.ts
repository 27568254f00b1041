/** The store of inbox rows in the cluster: what `openCassandra` opens, and what it says of itself. */
import type { Client } from 'cassandra-driver'
import type { Backlog, Clock, InboxRows, Log } from '../../core/ports.ts'
import type { BreakerState } from '../opened.ts'
import { createBacklog } from './backlog.ts'
import { type CassandraLimits, type CassandraSettings, cassandraLimits } from './driver.ts'
import { createInboxRows } from './inbox-rows.ts'
import { durabilityWarnings, lookAtNodes, type NodeDemands, type NodeFacts, nodeDemands, promiseOf } from './nodes.ts'
import { prepareKeyspace } from './schema.ts'
import { openSession } from './session.ts'

export interface Cassandra {
  readonly rows: InboxRows
  readonly backlog: Backlog
  /** Why it does not answer, for readiness; undefined when it does. */
  down(): string | undefined
  breaker(): BreakerState
  /** What an operator should know of it, a sentence each; empty until it was reached. */
  warnings(): readonly string[]
  /** What a row that was applied rests on, in a sentence. */
  promise(): string
  close(): Promise<void>
}

/**
 * Resolves also when Cassandra does not answer: then its calls reject with StoreDownFaults until it does, which needs
 * no restart (D5). Rejects with a SchemaFault when the keyspace is not what is needed, or calls `onFatal` with it when
 * that shows later.
 */
export async function openCassandra(
  settings: CassandraSettings,
  log: Log,
  onFatal: (error: Error) => void,
  limits: CassandraLimits = cassandraLimits,
  now: Clock = Date.now,
  demands: NodeDemands = nodeDemands,
): Promise<Cassandra> {
  let nodes: readonly NodeFacts[] = []
  let warnings: readonly string[] = []
  async function prepare(client: Client): Promise<void> {
    nodes = await lookAtNodes(client, now, demands)
    await prepareKeyspace(client, settings)
    warnings = durabilityWarnings(nodes)
    for (const warning of warnings) log.warn({ store: 'cassandra' }, warning)
  }
  const session = await openSession(settings, limits, prepare, onFatal, log)
  const why = session.down()
  if (why !== undefined) log.warn({ store: 'cassandra' }, `${why}; it is tried again and again`)
  return {
    rows: createInboxRows(session),
    backlog: createBacklog(session),
    down: session.down,
    breaker: session.breaker,
    warnings: () => warnings,
    promise: () => promiseOf(nodes, settings.replication),
    close: session.close,
  }
}
