/** A real Cassandra of one or three small nodes on this machine, from the jars of Maven Central and a JDK 17. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { addressOf, type CassandraNode, type CommitLogSync, javaArgs, logback, yamlOf } from './cassandra-files.ts'
import { fetchJars, findJars } from './cassandra-jars.ts'
import { portOr } from './ports.ts'
import { findJava } from './runtimes.ts'
import { folderFor, type Recipe, type Service, type StartOptions, startPlan } from './service.ts'
import { askCql, type Conversation, converse, isCqlSupported, logInToCassandra } from './wire.ts'

export interface CassandraSettings {
  readonly nodes?: 1 | 3
  /** Of CQL, the same on every address. */
  readonly port?: number
  /** Between the nodes. */
  readonly storagePort?: number
  readonly heapMib?: number
  /** Quick to start; `CASSANDRA_FAST=0` and this as false are for what is measured. */
  readonly isFast?: boolean
  readonly sync?: CommitLogSync
}

export interface CassandraService extends Service {
  /** `127.0.0.1:9042`, one for each node. */
  readonly contactPoints: readonly string[]
  readonly localDataCenter: string
  readonly port: number
  readonly storagePort: number
}

const HEAP_MIB = 384
const LOCAL_DATA_CENTER = 'datacenter1'

/** Throws what is missing, before anything is started. */
export function findCassandra(): string {
  const java = findJava()
  findJars()
  return java
}

async function talkTo<T>(number: number, port: number, about: (talk: Conversation) => Promise<T>): Promise<T> {
  const talk = await converse(addressOf(number), port)
  try {
    return await about(talk)
  } finally {
    talk.end()
  }
}

/** Each node knows all the others, and one schema holds. */
async function agree(numbers: readonly number[], port: number): Promise<boolean> {
  const versions = new Set<string>()
  for (const number of numbers) {
    const seen = await talkTo(number, port, async (talk) => {
      await logInToCassandra(talk)
      const own = await askCql(talk, 'SELECT schema_version FROM system.local')
      return [...own, ...(await askCql(talk, 'SELECT schema_version FROM system.peers_v2'))]
    })
    if (seen.length !== numbers.length) return false
    for (const version of seen) versions.add(version.toString('hex'))
  }
  return versions.size === 1
}

function recipeOf(node: CassandraNode, java: string, lib: string): Recipe {
  return {
    label: node.nodes === 1 ? 'cassandra' : `cassandra ${node.number}`,
    folder: node.folder,
    command: java,
    args: javaArgs(node, lib),
    prepare() {
      for (const name of ['tmp', 'triggers']) mkdirSync(join(node.folder, name), { recursive: true })
      writeFileSync(join(node.folder, 'cassandra.yaml'), yamlOf(node))
      writeFileSync(join(node.folder, 'logback.xml'), logback)
    },
    answers: () => talkTo(node.number, node.cqlPort, isCqlSupported),
  }
}

export async function startCassandra(options: CassandraSettings & StartOptions = {}): Promise<CassandraService> {
  const { nodes = 1, heapMib = HEAP_MIB, sync = 'periodic', isFast = process.env['CASSANDRA_FAST'] !== '0' } = options
  const java = findCassandra()
  const numbers = Array.from({ length: nodes }, (_, index) => index + 1)
  const addresses = numbers.map(addressOf)
  const isTakenOver = (options.known?.length ?? 0) > 0
  const port = isTakenOver ? (options.port as number) : await portOr(options.port, '--cassandra-port', addresses)
  const storagePort = isTakenOver
    ? (options.storagePort as number)
    : await portOr(options.storagePort, '--cassandra-storage-port', addresses)
  const lib = await fetchJars(java, options)
  const place = folderFor('cassandra', options)
  const recipes = numbers.map((number) => {
    const folder = join(place.folder, `node${number}`)
    return recipeOf({ number, nodes, folder, cqlPort: port, storagePort, heapMib, isFast, sync }, java, lib)
  })
  const service = await startPlan({ name: 'cassandra', ...place, recipes, agree: () => agree(numbers, port) }, options)
  const contactPoints = addresses.map((address) => `${address}:${port}`)
  return { ...service, contactPoints, localDataCenter: LOCAL_DATA_CENTER, port, storagePort }
}
