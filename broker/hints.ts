/** What a start says: where it listens, what its promise rests on, and what to type next. Pure. */
import { join } from 'node:path'
import type { Config } from '../core/config.ts'
import { patternOf } from '../topics/table.ts'
import { inboxFilterOf, topicOf } from '../topics/topic.ts'
import type { Node } from './lifecycle.ts'
import { ADMIN_TOKEN_FILE, OBSERVER_PASSWORD_FILE } from './secrets.ts'

const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host)

/** Where the secrets are, never what they are. */
function secretPlaces(config: Config): { admin: string; observer: string } {
  const file = (name: string) => join(config.dataDir, name)
  return {
    admin: config.adminToken === undefined ? `in ${file(ADMIN_TOKEN_FILE)}` : 'as ADMIN_TOKEN says',
    observer:
      config.observerPassword === undefined ? `in ${file(OBSERVER_PASSWORD_FILE)}` : 'as OBSERVER_PASSWORD says',
  }
}

/** The lines of the greeting; some are empty. */
export function hints(node: Node): string[] {
  const { server, httpPort, version } = node
  const { config, opened } = server
  const mqtt = `${bracketed(config.mqttHost)}:${server.mqttPort}`
  const http = `${bracketed(config.httpHost)}:${httpPort}`
  const tls =
    server.mqttsPort === undefined
      ? 'off; set TLS_CERT and TLS_KEY'
      : `${bracketed(config.mqttsHost)}:${server.mqttsPort}`
  const places = secretPlaces(config)
  const port = server.mqttPort === 1883 ? '' : `-p ${server.mqttPort} `
  const login = (device: string) => `${port}-i ${device} -u ${device} -P TOKEN_OF_${device.toUpperCase()}`
  // What the programs have to be told when it is not the default.
  const folder = config.dataDir === 'data' ? '' : `DATA_DIR=${config.dataDir} `
  const told = httpPort === 8080 ? folder : `HTTP_PORT=${httpPort} ${folder}`
  const filter = inboxFilterOf('s1', 'thing')
  const up = topicOf('raw', { device: 's2', to: 'd-s1' })
  const sys = patternOf('sys').replace('<name...>', '#')
  return [
    `Heliograph ${version} is ready.`,
    `  MQTT        ${mqtt}`,
    `  MQTT + TLS  ${tls}`,
    `  HTTP        http://${http}: /livez /readyz /metrics /docs, WebSocket at /v1/ws`,
    `  PUBACK      ${opened.promise()}`,
    `  data        ${config.dataDir}; admin token ${places.admin}`,
    '',
    'What to type next, in another terminal:',
    `  ${server.mqttPort === 1883 ? '' : `MQTT_PORT=${server.mqttPort} `}${told}npm run demo`,
    `  ${folder}npm run chat -- --as alice${httpPort === 8080 ? '' : ` --url http://${http}`}`,
    `  ${told}npm run provision -- --count 2 --prefix s --kind thing --out devices.jsonl`,
    `  mosquitto_sub ${login('s1')} -c -q 1 -t '${filter}' -v`,
    `  mosquitto_pub ${login('s2')} -q 1 -t ${up} -m hello`,
    `  MQTT Explorer: ${mqtt}, user observer, password ${places.observer}, topics # and ${sys}`,
  ]
}
