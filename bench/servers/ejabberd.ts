/** ejabberd with mod_mqtt, sessions in memory as they come. No Erlang distribution: no name daemon is left behind. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { plainBroker } from './plain.ts'
import { debianVersion } from './server.ts'

const LIBRARIES = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`

export const ejabberd = plainBroker({
  name: 'ejabberd',
  file: '/usr/sbin/ejabberdctl',
  remedy: 'install the Debian package ejabberd',
  version: () => `ejabberd ${debianVersion('ejabberd')}, mod_mqtt`,
  // Its anonymous login wants a user name; any will do.
  login: (clientId) => ({ clientId, user: clientId, password: 'any' }),
  command: async (dataDir, mqttPort) => {
    const config = join(dataDir, 'ejabberd.yml')
    const spool = join(dataDir, 'spool')
    mkdirSync(spool, { recursive: true })
    writeFileSync(
      config,
      [
        'hosts: [localhost]',
        'loglevel: error',
        'auth_method: [anonymous]',
        'anonymous_protocol: login_anon',
        'allow_multiple_connections: true',
        'listen:',
        `  - {port: ${mqttPort}, ip: "127.0.0.1", module: mod_mqtt, backlog: 1000}`,
        'modules:',
        '  mod_mqtt: {max_queue: infinity, session_expiry: 1 hour}',
      ].join('\n'),
    )
    const paths = readdirSync(LIBRARIES).filter((name) => name.startsWith('ejabberd'))
    return {
      command: 'erl',
      args: [
        ...paths.flatMap((name) => ['-pa', join(LIBRARIES, name, 'ebin')]),
        '-noinput',
        ...['+K', 'true', '+P', '250000', '+Q', '32000'],
        ...['-mnesia', 'dir', `"${spool}"`],
        ...['-s', 'ejabberd'],
      ],
      env: { EJABBERD_CONFIG_PATH: config, EJABBERD_LOG_PATH: join(dataDir, 'ejabberd.log'), HOME: dataDir },
    }
  },
})
