/**
 * This repository's cluster profile: brokers and workers as processes of their own, on the Redis, PostgreSQL and
 * Cassandra that `services` has brought up, with a database, a keyspace and a prefix of their own.
 */
import { join } from 'node:path'
import { readState, usualStateFile } from '../../test/services/state.ts'
import { makeDeployment } from '../../test/world/profile.ts'
import { heliograph, isReady, MAIN, provisioner, ROOT } from './heliograph.ts'
import { freePort, type Launched, launch, type ServerKind, type StartOptions } from './server.ts'

/** How many of each, and the longest linger of a worker's start. */
export interface Shape {
  readonly nodes: number
  readonly workers: number
}

async function startNode(name: string, { dataDir, env }: StartOptions) {
  const [mqttPort, httpPort] = [await freePort(), await freePort()]
  const settings = { ...env, NODE_NAME: name, DATA_DIR: dataDir, MQTT_PORT: `${mqttPort}`, HTTP_PORT: `${httpPort}` }
  const launched = await launch({
    command: process.execPath,
    args: ['--max-semi-space-size=8', MAIN],
    env: { ...settings, WORKERS_INLINE: 'no' },
    cwd: ROOT,
    logPath: join(dataDir, `bench-${name}.log`),
    ready: () => isReady(httpPort),
  })
  return { launched, mqttPort, httpPort, settings }
}

async function startWorker(name: string, { dataDir, env }: StartOptions): Promise<Launched> {
  const logPath = join(dataDir, `bench-${name}.log`)
  return launch({
    command: process.execPath,
    args: ['--max-semi-space-size=8', join('broker', 'worker.ts')],
    env: { ...env, NODE_NAME: name, DATA_DIR: dataDir },
    cwd: ROOT,
    logPath,
    ready: async () => true,
  })
}

function enginePids(): Record<string, number[]> {
  const services = readState(usualStateFile)?.services ?? []
  return Object.fromEntries(services.map(({ name, processes }) => [name, processes.map(({ pid }) => pid)]))
}

/** So many nodes and workers; `parts` of what is running are its processes and the engines'. */
export function cluster({ nodes, workers }: Shape): ServerKind {
  return {
    name: heliograph.name,
    missing: heliograph.missing,
    version: heliograph.version,
    paths: heliograph.paths,
    async start({ dataDir, env }) {
      const own = { ...env, ...(await makeDeployment()) }
      const started: Awaited<ReturnType<typeof startNode>>[] = []
      for (let i = 0; i < nodes; i++) started.push(await startNode(`node${i + 1}`, { dataDir, env: own }))
      const working: Launched[] = []
      for (let i = 0; i < workers; i++) working.push(await startWorker(`worker${i + 1}`, { dataDir, env: own }))
      const [first] = started as [(typeof started)[0]]
      const all = [...started.map(({ launched }) => launched), ...working]
      const endAll = async (how: 'stop' | 'kill'): Promise<void> =>
        void (await Promise.all(all.map((each) => each[how]())))
      return {
        env: own,
        startS: first.launched.startS,
        mqttPort: first.mqttPort,
        mqttPorts: started.map(({ mqttPort }) => mqttPort),
        httpPort: first.httpPort,
        pids: all.map(({ pid }) => pid),
        parts: {
          nodes: started.map(({ launched }) => launched.pid),
          workers: working.map(({ pid }) => pid),
          ...enginePids(),
        },
        fleet: provisioner(dataDir, first.settings),
        stop: () => endAll('stop'),
        kill: () => endAll('kill'),
      }
    },
  }
}
