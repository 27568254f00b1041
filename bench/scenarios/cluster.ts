/** What is measured of the cluster profile: throughput, how its cost grows with nodes, and jobs per message. */
import { Redis } from 'ioredis'
import { cluster } from '../servers/cluster.ts'
import type { RunningServer } from '../servers/server.ts'
import type { Run, Scenario } from './scenario.ts'
import { withServer } from './scenario.ts'
import { closedLoop, openLoop, runClosedLoop, runOpenLoop } from './throughput.ts'

const GROWTH_PER_NODE = 750
const JOBS_PER_S = 5_000

/** The same load on each node: what one more costs is what the others have to do for it. */
function growth(nodes: number): Scenario {
  const title = `raw, ${GROWTH_PER_NODE}/s on each of ${nodes} node${nodes > 1 ? 's' : ''}`
  return {
    name: `nodes-${nodes}`,
    title,
    figure: 'cpuSPer100k',
    unit: "CPU s per 100,000, brokers' and worker's",
    heliographOnly: true,
    run: (_, settings) =>
      withServer(cluster({ nodes, workers: 1 }), (server) =>
        runOpenLoop(server, 'raw', GROWTH_PER_NODE * nodes, settings),
      ),
  }
}

/** Turns that BullMQ gave, counted by its own worker metrics. */
async function jobsDone({ env = {} }: RunningServer): Promise<number> {
  const redis = new Redis(env.REDIS_URL as string)
  try {
    return Number((await redis.hget(`${env.REDIS_PREFIX}bull:storage:metrics:completed`, 'count')) ?? 0)
  } finally {
    redis.disconnect()
  }
}

const jobs: Scenario = {
  name: 'jobs',
  title: `raw, ${JOBS_PER_S.toLocaleString('en')}/s`,
  figure: 'jobsPer1000',
  unit: 'BullMQ jobs per 1,000 messages',
  heliographOnly: true,
  run: (_, settings) =>
    withServer(cluster({ nodes: 1, workers: 1 }), (server) =>
      runOpenLoop(server, 'raw', JOBS_PER_S, settings, async () => {
        const [before, beforeMs] = [await jobsDone(server), performance.now()]
        return async (): Promise<Run> => {
          const seconds = (performance.now() - beforeMs) / 1_000
          return { jobsPer1000: ((await jobsDone(server)) - before) / ((seconds * JOBS_PER_S) / 1_000) }
        }
      }),
    ),
}

const WARMING_S = 30

/** Load that nobody counts: a JVM compiles what it runs often. */
export async function warmEngines(note: (line: string) => void): Promise<void> {
  note(`${WARMING_S} s of load that is not counted, for the JVM of Cassandra`)
  const settings = { seconds: WARMING_S, warmupS: 0 }
  await withServer(cluster({ nodes: 1, workers: 1 }), (server) => runClosedLoop(server, 'raw', 10, settings))
}

export const clusterScenarios: readonly Scenario[] = [
  closedLoop('raw', 10),
  closedLoop('send-request', 10),
  openLoop('raw', 1000),
  openLoop('send-request', 1000),
  jobs,
  growth(1),
  growth(2),
  growth(4),
]
