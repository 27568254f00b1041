/**
 * A deployment of its own: Redis, PostgreSQL, three nodes of Cassandra, two brokers that take no turns and two workers, all
 * of them processes that may be killed or stopped.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openPostgres } from '../../adapters/postgres/index.ts'
import { type CassandraService, startCassandra } from '../services/cassandra.ts'
import { freePort } from '../services/ports.ts'
import { type PostgresService, startPostgres } from '../services/postgres.ts'
import { type RedisService, startRedis } from '../services/redis.ts'
import { type DeviceMaker, makeDevices } from '../world/devices.ts'
import { type NodeProcess, nodeProcess } from './node-process.ts'

export interface BrokerProcess extends NodeProcess {
  readonly port: number
}

export interface Deployment {
  readonly folder: string
  readonly redis: RedisService
  readonly postgres: PostgresService
  readonly cassandra: CassandraService
  readonly senders: BrokerProcess
  readonly recipients: BrokerProcess
  readonly workers: readonly [NodeProcess, NodeProcess]
  /** Devices are made where the directory is, as a program of the operator would. */
  withDevices<T>(make: (devices: DeviceMaker) => Promise<T>): Promise<T>
  /** Everything runs afterwards, whatever happened to it. */
  mend(): Promise<void>
  /** `isKept`: the logs of our processes stay. */
  stop(isKept: boolean): Promise<void>
}

export const CASSANDRA_NODES = 3

async function broker(name: string, folder: string, env: Record<string, string>): Promise<BrokerProcess> {
  const port = await freePort()
  const httpPort = await freePort()
  const program = nodeProcess({
    name,
    args: ['--max-semi-space-size=8', 'broker/main.ts'],
    folder: join(folder, name),
    env: { ...env, NODE_NAME: name, WORKERS_INLINE: 'no', MQTT_PORT: `${port}`, HTTP_PORT: `${httpPort}` },
    isReady: async () => (await fetch(`http://127.0.0.1:${httpPort}/livez`)).ok,
  })
  return { ...program, port }
}

function worker(name: string, folder: string, env: Record<string, string>): NodeProcess {
  return nodeProcess({
    name,
    args: ['broker/worker.ts'],
    folder: join(folder, name),
    env: { ...env, NODE_NAME: name },
    isReady: async (log) => log.includes('the worker takes turns'),
  })
}

type Stop = () => Promise<void>

async function startServices(say: (line: string) => void, stops: Stop[]) {
  const redis = await startRedis({ say })
  stops.push(() => redis.stop())
  const postgres = await startPostgres({ say })
  stops.push(() => postgres.stop())
  const cassandra = await startCassandra({ nodes: CASSANDRA_NODES, say })
  stops.push(() => cassandra.stop())
  return { redis, postgres, cassandra }
}

export async function startDeployment(say: (line: string) => void): Promise<Deployment> {
  const folder = mkdtempSync(join(tmpdir(), 'heliograph-chaos-'))
  const stops: Stop[] = []
  const stop = async (isKept: boolean): Promise<void> => {
    for (const each of stops.splice(0).reverse()) await each()
    if (!isKept) rmSync(folder, { recursive: true, force: true })
  }
  try {
    const services = await startServices(say, stops)
    const { redis, postgres, cassandra } = services
    const env = {
      REDIS_URL: redis.url,
      DATABASE_URL: postgres.url,
      CASSANDRA_CONTACT_POINTS: cassandra.contactPoints.join(','),
      CASSANDRA_LOCAL_DATA_CENTER: cassandra.localDataCenter,
      CASSANDRA_REPLICAS: `${CASSANDRA_NODES}`,
    }
    const senders = await broker('senders', folder, env)
    const recipients = await broker('recipients', folder, env)
    const workers = [worker('worker-1', folder, env), worker('worker-2', folder, env)] as const
    const ours = [senders, recipients, ...workers]
    for (const each of ours) stops.push(() => each.stop())
    // The first one makes the schema.
    for (const each of ours) await each.start()
    return {
      ...services,
      folder,
      senders,
      recipients,
      workers,
      async withDevices(make) {
        const store = await openPostgres(postgres.url, { now: Date.now, onNotice: () => undefined })
        try {
          return await make(makeDevices(store.directory))
        } finally {
          await store.close()
        }
      },
      async mend() {
        redis.resume()
        postgres.resume()
        await Promise.all([redis.revive(), postgres.revive()])
        for (let node = 1; node <= CASSANDRA_NODES; node++) {
          cassandra.resume(node)
          await cassandra.revive(node)
        }
        for (const each of ours) {
          each.resume()
          await each.start()
        }
      },
      stop,
    }
  } catch (error) {
    await stop(true)
    throw error
  }
}
