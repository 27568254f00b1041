/**
 * NATS with JetStream and its MQTT gateway, in two variants: as it comes (PUBACK means in the page cache, fsync every
 * two minutes) and with an fsync before the answer.
 */
import { writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { plainBroker } from './plain.ts'
import { firstLine, freePort } from './server.ts'

const FOLDER = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'heliograph-bench')
const COMMAND = join(FOLDER, 'nats-server')

function nats(name: string, note: string, sync: string) {
  return plainBroker({
    name,
    file: COMMAND,
    remedy: `build it with Go: GOBIN=${FOLDER} go install github.com/nats-io/nats-server/v2@latest`,
    version: () => `${firstLine(COMMAND, ['--version'])}, JetStream, ${note}`,
    command: async (dataDir, mqttPort) => {
      const config = join(dataDir, 'nats.conf')
      writeFileSync(
        config,
        [
          'server_name: bench',
          `listen: "127.0.0.1:${await freePort()}"`,
          // One consumer per session: without the limit lifted, the thousandth subscription is refused.
          `jetstream { store_dir: "${join(dataDir, 'jetstream')}", max_file_store: 20GB${sync}`,
          '  limits { default_max_consumers: -1 } }',
          `mqtt { listen: "127.0.0.1:${mqttPort}", max_ack_pending: 65535 }`,
        ].join('\n'),
      )
      return { command: COMMAND, args: ['-c', config] }
    },
  })
}

export const natsDefault = nats('nats', 'fsync every 2 minutes', '')
export const natsAlways = nats('nats-always', 'sync_interval always', ', sync_interval: always')
