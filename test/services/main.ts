/** `npm run services -- up|down|status`: real Redis, PostgreSQL and Cassandra on this machine, without Docker. */
import { parseArgs } from 'node:util'
import { down, environmentOf, type Request, type Settings, status, up } from './commands.ts'
import { type ServiceName, serviceNames } from './service.ts'
import { usualStateFile } from './state.ts'

const help = `npm run services -- up|down|status [redis postgres cassandra] [options]

  up      starts them, waits until each answers, and prints what a program needs to use them
  status  says which are up; ends with 1 when one is not
  down    ends them and removes their data

Without names: all three. Redis and PostgreSQL are Debian's (redis-server, postgresql). Cassandra is fetched from
Maven Central once, into CASSANDRA_CACHE or the user's cache; it needs openjdk-17-jdk-headless and maven.

  --dir FOLDER             keeps the data here, also after down
  --state FILE             where it is noted what is up; .services.json beside package.json
  --redis-port N           --postgres-port N, --cassandra-port N, --cassandra-storage-port N; free ones are chosen
  --redis-fsync everysec   loses what was accepted in the last second, for tests that show it
  --redis-memory BYTES     writes above it are refused
  --postgres-fast          without fsync, for suites of a port only
  --cassandra-nodes 1|3    on 127.0.0.1, or on 127.0.0.1 to 127.0.0.3
  --cassandra-sync batch   acknowledges after fsync; periodic, which is the default there too, does before
  --help

CASSANDRA_FAST=0 starts Cassandra as it must be for what is measured.`

class WrongUse extends Error {}

const text = { type: 'string' } as const

function parse() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        dir: text,
        state: { type: 'string', default: usualStateFile },
        'redis-port': text,
        'postgres-port': text,
        'cassandra-port': text,
        'cassandra-storage-port': text,
        'redis-fsync': { type: 'string', default: 'always' },
        'redis-memory': text,
        'postgres-fast': { type: 'boolean', default: false },
        'cassandra-nodes': { type: 'string', default: '1' },
        'cassandra-sync': { type: 'string', default: 'periodic' },
        help: { type: 'boolean', default: false },
      },
    })
  } catch (error) {
    throw new WrongUse((error as Error).message)
  }
}

type Values = ReturnType<typeof parse>['values']
type NumberOption = Extract<keyof Values, `${string}-port` | 'redis-memory'>

const PORT_MAX = 65_535

function numberOf(values: Values, option: NumberOption, max: number): number | undefined {
  const value = values[option]
  if (value === undefined) return undefined
  const number = Number(value)
  if (!/^\d+$/.test(value) || number < 1 || number > max) throw new WrongUse(`--${option} is a number from 1 to ${max}`)
  return number
}

function oneOf<T extends string>(value: string, option: string, allowed: readonly T[]): T {
  const found = allowed.find((each) => each === value)
  if (found === undefined) throw new WrongUse(`--${option} is ${allowed.join(' or ')}`)
  return found
}

const given = <K extends string>(name: K, value: number | undefined): { [key in K]?: number } =>
  value === undefined ? {} : ({ [name]: value } as { [key in K]: number })

function settingsOf(values: Values): Settings {
  const port = (option: NumberOption) => numberOf(values, option, PORT_MAX)
  return {
    redis: {
      ...given('port', port('redis-port')),
      fsync: oneOf(values['redis-fsync'], 'redis-fsync', ['always', 'everysec']),
      ...given('memoryBytesMax', numberOf(values, 'redis-memory', Number.MAX_SAFE_INTEGER)),
    },
    postgres: { ...given('port', port('postgres-port')), isFast: values['postgres-fast'] },
    cassandra: {
      ...given('port', port('cassandra-port')),
      ...given('storagePort', port('cassandra-storage-port')),
      nodes: oneOf(values['cassandra-nodes'], 'cassandra-nodes', ['1', '3']) === '3' ? 3 : 1,
      sync: oneOf(values['cassandra-sync'], 'cassandra-sync', ['periodic', 'batch']),
    },
  }
}

function namesOf(words: readonly string[]): readonly ServiceName[] {
  const unknown = words.find((word) => !serviceNames.some((name) => name === word))
  if (unknown !== undefined) throw new WrongUse(`no service is called ${unknown}; there are ${serviceNames.join(', ')}`)
  return words.length === 0 ? serviceNames : serviceNames.filter((name) => words.includes(name))
}

/** Cut off, `up` takes down what it has begun. */
function interruption(): AbortSignal {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => controller.abort(new Error(`ended by ${name}`)))
  }
  return controller.signal
}

async function main(): Promise<number> {
  const { values, positionals } = parse()
  const [command, ...words] = positionals
  if (values.help) {
    console.log(help)
    return 0
  }
  const request: Request = { file: values.state, names: namesOf(words), say: (line) => console.log(line) }
  if (command === 'down') await down(request)
  else if (command === 'status') return status(request) ? 0 : 1
  else if (command === 'up') {
    await up({ ...request, interrupted: interruption() }, { dir: values.dir, ...settingsOf(values) })
    for (const [name, value] of Object.entries(environmentOf(values.state))) console.log(`${name}=${value}`)
  } else throw new WrongUse(command === undefined ? 'up, down or status?' : `${command} is not up, down or status`)
  return 0
}

try {
  process.exitCode = await main()
} catch (error) {
  console.error((error as Error).message)
  if (error instanceof WrongUse) console.error('npm run services -- --help')
  process.exitCode = error instanceof WrongUse ? 2 : 1
}
