/** Services that stay up until they are taken down, by this program or another one: what is between is a state file. */
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type CassandraSettings, findCassandra, startCassandra } from './cassandra.ts'
import { type PostgresSettings, startPostgres } from './postgres.ts'
import { isAlive } from './process.ts'
import { type RedisSettings, startRedis } from './redis.ts'
import { findPostgres, findRedis, postgresUser } from './runtimes.ts'
import { endService, makeTemporaryFolder, type Service, type ServiceName, type StartOptions } from './service.ts'
import { readState, removeState, type State, type UpService, withService, writeState } from './state.ts'

type Say = (line: string) => void

export interface Settings {
  readonly redis?: RedisSettings
  readonly postgres?: PostgresSettings
  readonly cassandra?: CassandraSettings
}

export interface Request {
  readonly file: string
  readonly names: readonly ServiceName[]
  readonly say: Say
  /** `up` gives up when it aborts. */
  readonly interrupted?: AbortSignal
}

interface Started {
  readonly service: Service
  readonly settings: Record<string, unknown>
  readonly env: Record<string, string>
}

/** Throws the line that says what to install. */
const finders: Record<ServiceName, () => unknown> = {
  redis: findRedis,
  postgres: () => [findPostgres(), postgresUser()],
  cassandra: findCassandra,
}

const starters: Record<ServiceName, (settings: StartOptions & Settings[ServiceName]) => Promise<Started>> = {
  async redis(options) {
    const service = await startRedis(options)
    return { service, settings: { port: service.port }, env: { REDIS_URL: service.url } }
  },
  async postgres(options) {
    const service = await startPostgres(options)
    return { service, settings: { port: service.port }, env: { DATABASE_URL: service.url } }
  },
  async cassandra(options) {
    const service = await startCassandra(options as StartOptions & CassandraSettings)
    const { port, storagePort, contactPoints, localDataCenter } = service
    const env = { CASSANDRA_CONTACT_POINTS: contactPoints.join(','), CASSANDRA_LOCAL_DATA_CENTER: localDataCenter }
    return { service, settings: { port, storagePort }, env }
  },
}

const isUp = ({ processes, env }: UpService): boolean => Object.keys(env).length > 0 && processes.every(isAlive)

function stateFor(file: string, dir: string | undefined): State {
  const state = readState(file)
  const folder = dir === undefined ? undefined : resolve(dir)
  if (state !== undefined && existsSync(state.folder)) {
    if (folder === undefined || folder === state.folder) return state
    throw new Error(`services are up in ${state.folder}: npm run services -- down`)
  }
  if (folder !== undefined) mkdirSync(folder, { recursive: true })
  const isFolderTemporary = folder === undefined
  return { folder: folder ?? makeTemporaryFolder('services'), isFolderTemporary, services: [] }
}

async function upOne(name: ServiceName, { file, say, interrupted }: Request, wanted: Settings): Promise<void> {
  const state = readState(file) as State
  const before = state.services.find((each) => each.name === name)
  if (before !== undefined && isUp(before)) return say(`${name} is up already`)
  const folder = before?.folder ?? join(state.folder, name)
  // One that has ended comes back on its ports and its data, with the settings that it had.
  const settings = before?.settings ?? { ...wanted[name] }
  const note = (processes: UpService['processes'], more: Partial<UpService> = {}): void =>
    writeState(file, withService(state, { name, folder, settings, env: {}, processes, ...more }))
  say(`${name}: ${before === undefined ? 'starting' : 'starting again'}`)
  const started = await starters[name]({
    ...settings,
    // Without ports there is nothing to take over: it did not get as far.
    ...(before !== undefined && Object.keys(before.env).length > 0 ? { known: before.processes } : {}),
    dir: folder,
    outlives: true,
    say,
    ...(interrupted === undefined ? {} : { interrupted }),
    started: (processes) => note(processes),
  })
  const { service, env } = started
  note(service.processes(), { env, settings: { ...settings, ...started.settings } })
}

/**
 * Brings up what is not up. Gives the names that were not. Rejects, with what it has started before taken down again,
 * when one does not come up; before anything is started, when a program is missing.
 */
export async function up(
  request: Request,
  { dir, ...wanted }: Settings & { readonly dir?: string | undefined },
): Promise<readonly ServiceName[]> {
  for (const name of request.names) finders[name]()
  const state = stateFor(request.file, dir)
  writeState(request.file, state)
  const missing = request.names.filter((name) => !state.services.some((each) => each.name === name && isUp(each)))
  try {
    for (const name of request.names) await upOne(name, request, wanted)
  } catch (error) {
    await down({ ...request, names: missing, say: () => undefined })
    throw error
  }
  return missing
}

/** Ends them, and removes what was made for them: the folder too, unless it was named with --dir. */
export async function down({ file, names, say }: Request): Promise<void> {
  const state = readState(file)
  if (state === undefined) return say('nothing is up')
  const going = state.services.filter(({ name }) => names.includes(name))
  await Promise.all(
    going.map(async ({ name, folder, processes }) => {
      await endService({ name, folder, isFolderTemporary: state.isFolderTemporary }, processes)
      say(`${name} is down`)
    }),
  )
  const services = state.services.filter((each) => !going.includes(each))
  if (services.length > 0) return writeState(file, { ...state, services })
  if (state.isFolderTemporary) rmSync(state.folder, { recursive: true, force: true })
  else say(`the data stays in ${state.folder}`)
  removeState(file)
}

/** True: all that were asked for are up. */
export function status({ file, names, say }: Request): boolean {
  const services = readState(file)?.services ?? []
  const rows = names.map((name) => ({ name, service: services.find((each) => each.name === name) }))
  for (const { name, service } of rows) {
    if (service === undefined) say(`${name.padEnd(9)}  not started`)
    else {
      const pids = service.processes.map((each) => `${each.pid}${isAlive(each) ? '' : ' (ended)'}`)
      say(`${name.padEnd(9)}  ${isUp(service) ? 'up  ' : 'down'}  pid ${pids.join(', ')}`)
      for (const [variable, value] of Object.entries(service.env)) say(`  ${variable}=${value}`)
    }
  }
  return rows.every(({ service }) => service !== undefined && isUp(service))
}

/** What programs need in their environment to use all that is up. */
export function environmentOf(file: string): Record<string, string> {
  return Object.assign({}, ...(readState(file)?.services ?? []).map(({ env }) => env))
}
