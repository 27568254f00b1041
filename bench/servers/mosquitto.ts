/** Mosquitto as a relay that keeps nothing on disk: its fastest setting, the bar's "non-durable relay". */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { plainBroker } from './plain.ts'
import { debianVersion } from './server.ts'

const COMMAND = '/usr/sbin/mosquitto'

export const mosquitto = plainBroker({
  name: 'mosquitto',
  file: COMMAND,
  remedy: 'install the Debian package mosquitto',
  version: () => `mosquitto ${debianVersion('mosquitto')}, persistence false`,
  command: async (dataDir, mqttPort) => {
    const config = join(dataDir, 'mosquitto.conf')
    // 0 is no limit, for the queue of an absent client as for the window of a present one. TCP_NODELAY stays off as it
    // comes: with it every packet is its own segment and window 10 falls by 40 %.
    const lines = [
      `listener ${mqttPort} 127.0.0.1`,
      'allow_anonymous true',
      'persistence false',
      'max_queued_messages 0',
      'max_inflight_messages 0',
      'log_type error',
    ]
    if (process.getuid?.() === 0) lines.push('user root')
    writeFileSync(config, lines.join('\n'))
    return { command: COMMAND, args: ['-c', config] }
  },
})
