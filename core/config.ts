/**
 * Settings: one table gives the environment variable, type, default and meaning of each; what starts the process, what
 * `npm run config` prints and what docs/settings.md shows come from it. Pure: it is given the environment.
 */
import { limits } from '../topics/limits.ts'
import { settingRows as rows, type SettingRow, type SettingType } from './settings.ts'

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

type Value<T extends SettingType> = T extends 'port' | 'count' | 'whole'
  ? number
  : T extends 'flag'
    ? boolean
    : T extends 'secret'
      ? Secret | undefined
      : string
export type Config = { readonly [name in keyof typeof rows]: Value<(typeof rows)[name]['type']> }

const familyOf = (env: string): string => env.slice(0, env.indexOf('_') + 1)
/** Beginnings of settings with which variables of other programs begin too. */
const SHARED = new Set(['DATA_', 'LOG_', 'NODE_', 'PROXY_', 'WINDOW_'])
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

function parse(row: SettingRow, text: string): unknown {
  const isNumber = /^[0-9]{1,9}$/.test(text)
  switch (row.type) {
    case 'port':
      if (!isNumber || Number(text) > 65_535)
        throw new ConfigFault(`${row.env} is "${text}"; give a port of 0 to 65535.`)
      return Number(text)
    case 'count':
      if (!isNumber || Number(text) === 0) throw new ConfigFault(`${row.env} is "${text}"; give a number above 0.`)
      return Number(text)
    case 'whole':
      if (!isNumber) throw new ConfigFault(`${row.env} is "${text}"; give a whole number, 0 or more.`)
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

/** `redis://[user:password@]host[:port][/database]`, or `rediss:` for TLS. */
function isRedisUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, pathname, hostname } = new URL(text)
  return /^rediss?:$/.test(protocol) && hostname !== '' && /^(\/\d{0,4})?$/.test(pathname)
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
  if (config.redisUrl !== undefined && !isRedisUrl(config.redisUrl.reveal())) {
    throw new ConfigFault('REDIS_URL is not one of Redis; give redis://host:6379, or rediss:// for TLS.')
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
