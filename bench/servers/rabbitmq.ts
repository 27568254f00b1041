/** RabbitMQ with rabbitmq_mqtt, durable queues. It needs the Erlang name daemon and gets its own, on a free port. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { plainBroker } from './plain.ts'
import { debianVersion, freePort, type ServerKind } from './server.ts'

const EPMD_POLL_MS = 5
const COMMAND = '/usr/lib/rabbitmq/bin/rabbitmq-server'

const broker = plainBroker({
  name: 'rabbitmq',
  file: COMMAND,
  remedy: 'install the Debian package rabbitmq-server',
  version: () => `rabbitmq ${debianVersion('rabbitmq-server')}, rabbitmq_mqtt, durable queues`,
  command: async (dataDir, mqttPort) => {
    for (const folder of ['mnesia', 'log']) mkdirSync(join(dataDir, folder), { recursive: true })
    const config = join(dataDir, 'rabbitmq.conf')
    const plugins = join(dataDir, 'enabled_plugins')
    writeFileSync(plugins, '[rabbitmq_mqtt].\n')
    writeFileSync(
      config,
      [
        'listeners.tcp = none',
        `mqtt.listeners.tcp.1 = 127.0.0.1:${mqttPort}`,
        'mqtt.allow_anonymous = true',
        'mqtt.prefetch = 1000',
        'mqtt.tcp_listen_options.backlog = 4096',
        'mqtt.tcp_listen_options.nodelay = true',
        'log.console = false',
        'log.file.level = error',
        'disk_free_limit.absolute = 256MB',
        '',
      ].join('\n'),
    )
    return {
      command: COMMAND,
      args: [],
      env: {
        HOME: dataDir,
        RABBITMQ_NODENAME: 'bench@localhost',
        RABBITMQ_CONFIG_FILE: config,
        RABBITMQ_ENABLED_PLUGINS_FILE: plugins,
        RABBITMQ_MNESIA_BASE: join(dataDir, 'mnesia'),
        RABBITMQ_LOG_BASE: join(dataDir, 'log'),
        RABBITMQ_CONF_ENV_FILE: '/dev/null',
        RABBITMQ_DIST_PORT: String(await freePort()),
        ERL_EPMD_ADDRESS: '127.0.0.1',
      },
    }
  },
})

export const rabbitmq: ServerKind = {
  ...broker,
  async start(options) {
    const epmdPort = String(await freePort())
    const epmd = spawn('epmd', ['-address', '127.0.0.1', '-port', epmdPort], { stdio: 'ignore' })
    const endEpmd = (): void => void epmd.kill('SIGKILL')
    process.once('exit', endEpmd)
    try {
      // A node that finds no name daemon would start one that outlives it.
      while (!(await accepts(Number(epmdPort)))) await delay(EPMD_POLL_MS)
      const server = await broker.start({ ...options, env: { ...options.env, ERL_EPMD_PORT: epmdPort } })
      return { ...server, stop: () => endBoth(server.stop, epmd), kill: () => endBoth(server.kill, epmd) }
    } catch (error) {
      endEpmd()
      throw error
    }
  },
}

async function endBoth(end: () => Promise<void>, epmd: ChildProcess): Promise<void> {
  await end()
  epmd.kill('SIGKILL')
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const answer = (listening: boolean): void => {
      socket.destroy()
      resolve(listening)
    }
    socket.once('connect', () => answer(true))
    socket.once('error', () => answer(false))
  })
}
