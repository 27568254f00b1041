/** Debian's PostgreSQL with a cluster of its own, reached over TCP alone. It runs as user postgres where this runs as root. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { portOr } from './ports.ts'
import { findPostgres, postgresUser } from './runtimes.ts'
import { folderFor, type Recipe, type Service, type StartOptions, startPlan } from './service.ts'
import { askPostgres, converse, logInToPostgres } from './wire.ts'

export interface PostgresSettings {
  readonly port?: number
  /** Without fsync: for suites that lose nothing when it is killed, never where a promise is tested. */
  readonly isFast?: boolean
}

export interface PostgresService extends Service {
  readonly url: string
  readonly port: number
}

const CONNECTIONS_MAX = 100

async function answers(port: number): Promise<boolean> {
  const talk = await converse('127.0.0.1', port)
  try {
    await logInToPostgres(talk)
    return (await askPostgres(talk, 'SELECT 1'))[0] === '1'
  } finally {
    talk.end()
  }
}

/** Makes the cluster in one step: a half-made one, after a kill, never stands where a whole one is looked for. */
async function makeCluster(bin: string, folder: string, isFast: boolean, as: Recipe['as']): Promise<void> {
  const data = join(folder, 'data')
  if (existsSync(data)) return
  if (as !== undefined) chownSync(folder, as.uid, as.gid)
  const unfinished = join(folder, 'data.unfinished')
  rmSync(unfinished, { recursive: true, force: true })
  const login = ['-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8']
  const child = spawn(
    join(bin, 'initdb'),
    ['-D', unfinished, ...login, '--no-instructions', ...(isFast ? ['--no-sync'] : [])],
    {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
      ...as,
    },
  )
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new Error(`initdb ended with ${code}: ${said.trim()}`)
  renameSync(unfinished, data)
}

function settingsOf(port: number, isFast: boolean): string[] {
  const durable = isFast ? 'off' : 'on'
  const settings = {
    port: String(port),
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    fsync: durable,
    synchronous_commit: durable,
    full_page_writes: durable,
    // In its folder, so that it goes with it.
    dynamic_shared_memory_type: 'mmap',
    shared_buffers: '64MB',
    max_connections: String(CONNECTIONS_MAX),
    logging_collector: 'off',
  }
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

export async function startPostgres(options: PostgresSettings & StartOptions = {}): Promise<PostgresService> {
  const bin = findPostgres()
  const as = postgresUser()
  const isFast = options.isFast === true
  const isTakenOver = options.known?.length === 1
  const port = isTakenOver ? (options.port as number) : await portOr(options.port, '--postgres-port')
  const place = folderFor('postgres', options)
  const recipe: Recipe = {
    label: 'postgres',
    folder: place.folder,
    command: join(bin, 'postgres'),
    args: ['-D', join(place.folder, 'data'), ...settingsOf(port, isFast)],
    as,
    async prepare() {
      mkdirSync(place.folder, { recursive: true })
      await makeCluster(bin, place.folder, isFast, as)
    },
    answers: () => answers(port),
  }
  const service = await startPlan({ name: 'postgres', ...place, recipes: [recipe] }, options)
  return { ...service, port, url: `postgres://postgres@127.0.0.1:${port}/postgres` }
}
