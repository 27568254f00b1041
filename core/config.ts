/**
 * Settings: one table gives the environment variable, type, default and meaning of each; what starts the process, what
 * `npm run config` prints and what docs/settings.md shows come from it. Pure: it is given the environment.
 */
import { limits } from '../topics/limits.ts'

/** A text that does not print itself: only `reveal()` gives it. */
export interface Secret {
  reveal(): string
  toString(): string
  toJSON(): string
}
export function secret(text: string): Secret {
  const hidden = () => '(hidden)'
  return { reveal: () => text, toString: hidden, toJSON: hidden }
}

type Type = 'port' | 'text' | 'flag' | 'count' | 'secret'
interface Row {
  readonly env: string
  readonly type: Type
  /** '' means unset. */
  readonly fallback: string
  readonly about: string
}

const rows = {
  dataDir: {
    env: 'DATA_DIR',
    type: 'text',
    fallback: 'data',
    about: 'Folder of the database, the secrets and the reserve file.',
  },
  mqttHost: { env: 'MQTT_HOST', type: 'text', fallback: '127.0.0.1', about: 'Address of the plain MQTT listener.' },
  mqttPort: {
    env: 'MQTT_PORT',
    type: 'port',
    fallback: '1883',
    about: 'Port of the plain MQTT listener; 0 takes a free one.',
  },
  mqttPlaintext: {
    env: 'MQTT_ALLOW_PLAINTEXT_ON_NETWORK',
    type: 'flag',
    fallback: 'no',
    about: 'yes: plain MQTT and HTTP may listen on an address that is not loopback.',
  },
  mqttsHost: { env: 'MQTTS_HOST', type: 'text', fallback: '0.0.0.0', about: 'Address of the MQTT over TLS listener.' },
  mqttsPort: {
    env: 'MQTTS_PORT',
    type: 'port',
    fallback: '8883',
    about: 'Port of MQTT over TLS, when TLS_CERT is set.',
  },
  tlsCert: {
    env: 'TLS_CERT',
    type: 'text',
    fallback: '',
    about: 'Certificate chain (PEM file); read again on SIGHUP.',
  },
  tlsKey: { env: 'TLS_KEY', type: 'text', fallback: '', about: 'Private key (PEM file); read again on SIGHUP.' },
  httpHost: {
    env: 'HTTP_HOST',
    type: 'text',
    fallback: '127.0.0.1',
    about: 'Address of HTTP and of MQTT over WebSocket.',
  },
  httpPort: {
    env: 'HTTP_PORT',
    type: 'port',
    fallback: '8080',
    about: 'Port of HTTP and of MQTT over WebSocket (/v1/ws).',
  },
  httpOrigins: {
    env: 'HTTP_ORIGINS',
    type: 'text',
    fallback: '',
    about: 'Origins of web pages that may open /v1/ws, separated by commas; none by default.',
  },
  adminToken: {
    env: 'ADMIN_TOKEN',
    type: 'secret',
    fallback: '',
    about: 'Token of the admin API; made at first start when unset.',
  },
  observerPassword: {
    env: 'OBSERVER_PASSWORD',
    type: 'secret',
    fallback: '',
    about: 'Password of the login `observer`; made at first start when unset.',
  },
  phoneKey: {
    env: 'PHONE_KEY',
    type: 'secret',
    fallback: '',
    about: 'Key under which phone numbers are hashed; made at first start when unset. Without it no number is known.',
  },
  publicUrl: {
    env: 'PUBLIC_URL',
    type: 'text',
    fallback: '',
    about: 'How clients reach HTTP, like https://chat.example.org; HTTP_HOST and HTTP_PORT when unset.',
  },
  codesPerMinuteMax: {
    env: 'CODES_PER_MINUTE_MAX',
    type: 'count',
    fallback: String(limits.codesPerMinuteMax),
    about: 'Codes sent to phones in a minute.',
  },
  codesPerAddressPerHourMax: {
    env: 'CODES_PER_ADDRESS_PER_HOUR_MAX',
    type: 'count',
    fallback: String(limits.codesPerAddressPerHourMax),
    about: 'Codes asked for by one address in an hour.',
  },
  codeTriesPerAddressPerHourMax: {
    env: 'CODES_TRIED_PER_ADDRESS_PER_HOUR_MAX',
    type: 'count',
    fallback: String(limits.codeTriesPerAddressPerHourMax),
    about: 'Codes and link tokens tried by one address in an hour.',
  },
  linksPerAddressPerHourMax: {
    env: 'LINKS_PER_ADDRESS_PER_HOUR_MAX',
    type: 'count',
    fallback: String(limits.linksPerAddressPerHourMax),
    about: 'Links of new devices opened by one address in an hour.',
  },
  logLevel: { env: 'LOG_LEVEL', type: 'text', fallback: 'info', about: 'fatal, error, warn, info, debug or silent.' },
  windowRows: {
    env: 'WINDOW_ROWS',
    type: 'count',
    fallback: String(limits.windowRows),
    about: 'Rows written to a connection and not acknowledged.',
  },
  inboxRowsMax: {
    env: 'INBOX_ROWS_MAX',
    type: 'count',
    fallback: String(limits.inboxRowsMax),
    about: 'Rows that wait for one device; beyond, it is full and its senders are told.',
  },
  diskFreeMibMin: {
    env: 'DISK_FREE_MIB_MIN',
    type: 'count',
    fallback: String(limits.diskFreeBytesMin / 1024 / 1024),
    about: 'Free space in MiB below which new messages are refused.',
  },
  diskReserveMib: {
    env: 'DISK_RESERVE_MIB',
    type: 'count',
    fallback: String(limits.diskReserveBytes / 1024 / 1024),
    about: 'Size in MiB of the file that is given back when the disk is full.',
  },
  connectionsMax: {
    env: 'CONNECTIONS_MAX',
    type: 'count',
    fallback: String(limits.connectionsMax),
    about: 'Connections of this process.',
  },
  connectionsPerAddressMax: {
    env: 'CONNECTIONS_PER_ADDRESS_MAX',
    type: 'count',
    fallback: String(limits.connectionsPerAddressMax),
    about: 'Connections of one address.',
  },
  redisUrl: {
    env: 'REDIS_URL',
    type: 'secret',
    fallback: '',
    about: 'redis://host:port of the cluster profile, appendonly yes and appendfsync always. Unset: the embedded profile.',
  },
  redisPrefix: {
    env: 'REDIS_PREFIX',
    type: 'text',
    fallback: 'hg:',
    about: 'Keys of Redis begin with it: two deployments may share a server.',
  },
  databaseUrl: {
    env: 'DATABASE_URL',
    type: 'secret',
    fallback: '',
    about: 'postgres://user:password@host:port/name of the cluster profile.',
  },
  cassandraContactPoints: {
    env: 'CASSANDRA_CONTACT_POINTS',
    type: 'text',
    fallback: '',
    about: 'host:port of nodes of Cassandra, separated by commas: the inboxes of the cluster profile.',
  },
  cassandraLocalDataCenter: {
    env: 'CASSANDRA_LOCAL_DATA_CENTER',
    type: 'text',
    fallback: 'datacenter1',
    about: 'Data center of Cassandra that this process talks to.',
  },
  cassandraKeyspace: {
    env: 'CASSANDRA_KEYSPACE',
    type: 'text',
    fallback: 'heliograph',
    about: 'Keyspace of Cassandra; it is made when it is not there.',
  },
  cassandraReplicas: {
    env: 'CASSANDRA_REPLICAS',
    type: 'count',
    fallback: '3',
    about: 'Copies of a row in Cassandra: 3, or 1 where one node is all there is.',
  },
  shards: {
    env: 'INTAKE_SHARDS',
    type: 'count',
    fallback: '8',
    about: 'Shards of the intake of the cluster profile; fixed at the first start.',
  },
  workersInline: {
    env: 'WORKERS_INLINE',
    type: 'flag',
    fallback: 'yes',
    about: 'no: this broker takes no turns of the cluster profile; `npm run worker` does.',
  },
  nodeName: { env: 'NODE_NAME', type: 'text', fallback: 'one', about: 'Name of this process under ops/node/.' },
} as const satisfies Record<string, Row>

type Value<T extends Type> = T extends 'port' | 'count'
  ? number
  : T extends 'flag'
    ? boolean
    : T extends 'secret'
      ? Secret | undefined
      : string
export type Config = { readonly [name in keyof typeof rows]: Value<(typeof rows)[name]['type']> }

const familyOf = (env: string): string => env.slice(0, env.indexOf('_') + 1)
/** Beginnings of settings with which variables of other programs begin too. */
const SHARED = new Set(['DATA_', 'LOG_', 'NODE_', 'WINDOW_'])
/** No setting begins with it yet, and who sets one believes that text messages go out. */
const LOOKED_FOR = ['SMS_']
/** Families of variables that are ours: an unknown one in them is a typing mistake, and refused. */
const FAMILIES = new Set(
  [...Object.values(rows).map(({ env }) => familyOf(env)), ...LOOKED_FOR].filter((family) => !SHARED.has(family)),
)
/** Known to others under our families. */
const FOREIGN = new Set(['HTTP_PROXY'])

/** Says what to do: it is printed as it stands. */
export class ConfigFault extends Error {}

function parse(row: Row, text: string): unknown {
  const isNumber = /^[0-9]{1,9}$/.test(text)
  switch (row.type) {
    case 'port':
      if (!isNumber || Number(text) > 65_535)
        throw new ConfigFault(`${row.env} is "${text}"; give a port of 0 to 65535.`)
      return Number(text)
    case 'count':
      if (!isNumber || Number(text) === 0) throw new ConfigFault(`${row.env} is "${text}"; give a number above 0.`)
      return Number(text)
    case 'flag':
      if (text !== 'yes' && text !== 'no') throw new ConfigFault(`${row.env} is "${text}"; say yes or no.`)
      return text === 'yes'
    case 'secret':
      return text === '' ? undefined : secret(text)
    case 'text':
      return text
  }
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\./.test(host)
}

function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)
}

function check(config: Config): void {
  if ((config.tlsCert === '') !== (config.tlsKey === '')) {
    throw new ConfigFault('TLS_CERT and TLS_KEY go together; set both or none.')
  }
  for (const [name, host] of [
    ['MQTT_HOST', config.mqttHost],
    ['HTTP_HOST', config.httpHost],
  ] as const) {
    if (!isLoopback(host) && !config.mqttPlaintext) {
      throw new ConfigFault(
        `${name} is ${host}, where anybody can listen in; use TLS, or say MQTT_ALLOW_PLAINTEXT_ON_NETWORK=yes.`,
      )
    }
  }
  const engines = [config.redisUrl, config.databaseUrl, config.cassandraContactPoints || undefined]
  const set = engines.filter((engine) => engine !== undefined).length
  if (set !== 0 && set !== engines.length) {
    throw new ConfigFault('REDIS_URL, DATABASE_URL and CASSANDRA_CONTACT_POINTS go together; set all of them or none.')
  }
  if (config.cassandraReplicas !== 1 && config.cassandraReplicas !== 3) {
    throw new ConfigFault(`CASSANDRA_REPLICAS is ${config.cassandraReplicas}; give 1 or 3.`)
  }
  if (config.windowRows > limits.windowRowsMax) {
    throw new ConfigFault(`WINDOW_ROWS is ${config.windowRows}; at most ${limits.windowRowsMax} fit.`)
  }
  if (config.diskReserveMib >= config.diskFreeMibMin) {
    throw new ConfigFault('DISK_RESERVE_MIB has to be smaller than DISK_FREE_MIB_MIN.')
  }
  if (config.publicUrl !== '' && !isHttpUrl(config.publicUrl)) {
    throw new ConfigFault(`PUBLIC_URL is "${config.publicUrl}"; give one like https://chat.example.org.`)
  }
  if (!/^[a-z0-9-]{1,32}$/.test(config.nodeName)) throw new ConfigFault('NODE_NAME takes a-z, 0-9 and -, at most 32.')
  for (const [name, value] of [
    ['ADMIN_TOKEN', config.adminToken],
    ['OBSERVER_PASSWORD', config.observerPassword],
    ['PHONE_KEY', config.phoneKey],
  ] as const) {
    if (value !== undefined && value.reveal().length < 12)
      throw new ConfigFault(`${name} is too short; use 12 characters or more.`)
  }
}

/** Reads the environment; throws ConfigFault with a sentence for people. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const known = new Set<string>(Object.values(rows).map((row) => row.env))
  for (const name of Object.keys(env)) {
    if (!known.has(name) && !FOREIGN.has(name) && FAMILIES.has(familyOf(name))) {
      throw new ConfigFault(`${name} is not a setting; \`npm run config\` lists them.`)
    }
  }
  const entries = Object.entries(rows).map(([name, row]) => [name, parse(row, env[row.env] || row.fallback)])
  const config = Object.freeze(Object.fromEntries(entries)) as Config
  check(config)
  return config
}

/** A Markdown table of all settings. */
export function configTable(): string {
  const lines = Object.values(rows).map(
    (row) => `| \`${row.env}\` | ${row.fallback === '' ? '' : `\`${row.fallback}\``} | ${row.about} |`,
  )
  return ['| variable | default | meaning |', '|---|---|---|', ...lines, ''].join('\n')
}

/** What is in force, secrets hidden: one `NAME=value` a line. */
export function configLines(config: Config): string[] {
  return Object.entries(rows).map(([name, row]) => `${row.env}=${String(config[name as keyof Config] ?? '')}`)
}
