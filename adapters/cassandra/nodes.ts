/** What each node of Cassandra is, asked at start: its version, its clock, and how it keeps what it confirms. */
import { type Client, types } from 'cassandra-driver'
import type { Clock } from '../../core/ports.ts'
import { isPassing } from './driver.ts'
import { SchemaFault } from './schema.ts'

export interface NodeFacts {
  readonly address: string
  readonly version: string
  /** `periodic`, `batch` or `group`; undefined when it does not say. */
  readonly commitLogSync: string | undefined
}

export interface NodeDemands {
  /** The first that tells its settings in a table, which is how its durability is known. */
  readonly versionMin: number
  readonly clockSkewMsMax: number
}

export const nodeDemands: NodeDemands = { versionMin: 4, clockSkewMsMax: 60_000 }

type Host = ReturnType<Client['hosts']['values']>[number]

async function askNode(client: Client, host: Host, query: string): Promise<unknown> {
  const { rows } = await client.execute(query, [], { prepare: false, host, consistency: types.consistencies.one })
  return rows[0]?.['value']
}

/** Rows carry the times of their entries: a node far behind keeps, and one far ahead drops, what expires. */
async function checkClock(client: Client, host: Host, now: Clock, { clockSkewMsMax }: NodeDemands): Promise<void> {
  const before = now()
  const asked = await askNode(client, host, 'SELECT toUnixTimestamp(now()) AS value FROM system.local')
  const nodeMs = (asked as types.Long).toNumber()
  const aheadMs = nodeMs > before ? Math.max(0, nodeMs - now()) : nodeMs - before
  if (Math.abs(aheadMs) <= clockSkewMsMax) return
  const way = aheadMs > 0 ? 'ahead of' : 'behind'
  throw new SchemaFault(
    `The clock of Cassandra ${host.address} is ${Math.round(Math.abs(aheadMs) / 1_000)} s ${way} this machine's; ` +
      'let both follow NTP, then start again.',
  )
}

async function lookAt(client: Client, host: Host, now: Clock, demands: NodeDemands): Promise<NodeFacts> {
  const { address } = host
  const version = String(await askNode(client, host, 'SELECT release_version AS value FROM system.local'))
  if (Number.parseInt(version, 10) < demands.versionMin) {
    throw new SchemaFault(
      `Cassandra ${address} runs ${version}, which is too old; run ${demands.versionMin}.0 or later.`,
    )
  }
  await checkClock(client, host, now, demands)
  const sync = await askNode(client, host, "SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'")
    // Whoever may not read it is not refused for that.
    .catch(() => undefined)
  return { address, version, commitLogSync: sync as string | undefined }
}

/** Asks all nodes that answer. Rejects with a SchemaFault that says what to do when one cannot be used. */
export async function lookAtNodes(client: Client, now: Clock, demands: NodeDemands): Promise<NodeFacts[]> {
  const facts: NodeFacts[] = []
  for (const host of client.hosts.values()) {
    if (!host.isUp()) continue
    try {
      facts.push(await lookAt(client, host, now, demands))
    } catch (error) {
      // A node that stands still is no reason not to start on the others.
      if (!isPassing(error)) throw error
    }
  }
  return facts
}

/** What an operator should know about the durability of the nodes, a sentence each. */
export function durabilityWarnings(nodes: readonly NodeFacts[]): string[] {
  return nodes.flatMap(({ address, commitLogSync }) => {
    if (commitLogSync === undefined) {
      return [`Cassandra ${address} does not say how it syncs its commit log (system_views.settings).`]
    }
    if (commitLogSync !== 'periodic') return []
    return [
      `Cassandra ${address} syncs its commit log periodically: it answers before the disk has it and can lose ` +
        'the last seconds when it loses power. Entries stay in the intake longer than that; commitlog_sync: group ' +
        'or batch closes it.',
    ]
  })
}

const unique = (values: readonly string[]): string => [...new Set(values)].sort().join(' and ')

/** What a row that was applied rests on, in a sentence. */
export function promiseOf(nodes: readonly NodeFacts[], replication: 1 | 3): string {
  const where =
    replication === 1
      ? 'one copy: a row is safe as long as its node is'
      : 'three copies, LOCAL_QUORUM: a row is on two nodes when it is applied'
  if (nodes.length === 0) return `Cassandra (not reached yet), ${where}`
  const syncs = unique(nodes.map(({ commitLogSync }) => commitLogSync ?? 'unknown'))
  return `Cassandra ${unique(nodes.map(({ version }) => version))}, commitlog_sync ${syncs}, ${where}`
}
