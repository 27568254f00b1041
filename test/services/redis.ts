/** Debian's Redis as production must run it: every write on disk before it is answered, and nothing evicted. */
import { portOr } from './ports.ts'
import { findRedis } from './runtimes.ts'
import { folderFor, type Service, type StartOptions, startPlan } from './service.ts'
import { askRedis, converse } from './wire.ts'

export interface RedisSettings {
  readonly port?: number
  /** `everysec` breaks the promise: for tests that show it. */
  readonly fsync?: 'always' | 'everysec'
  /** Above it, writes are refused. */
  readonly memoryBytesMax?: number
}

export interface RedisService extends Service {
  readonly url: string
  readonly port: number
}

/** Not so while it still loads its log. */
async function answers(port: number): Promise<boolean> {
  const talk = await converse('127.0.0.1', port)
  try {
    return (await askRedis(talk, 'PING')).startsWith('+PONG')
  } finally {
    talk.end()
  }
}

export async function startRedis(options: RedisSettings & StartOptions = {}): Promise<RedisService> {
  const command = findRedis()
  const isTakenOver = options.known?.length === 1
  const port = isTakenOver ? (options.port as number) : await portOr(options.port, '--redis-port')
  const place = folderFor('redis', options)
  const settings = {
    bind: '127.0.0.1',
    port: String(port),
    dir: place.folder,
    save: '',
    appendonly: 'yes',
    appendfsync: options.fsync ?? 'always',
    maxmemory: String(options.memoryBytesMax ?? 0),
    'maxmemory-policy': 'noeviction',
  }
  const recipe = {
    label: 'redis',
    folder: place.folder,
    command,
    args: Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
    answers: () => answers(port),
  }
  const service = await startPlan({ name: 'redis', ...place, recipes: [recipe] }, options)
  return { ...service, port, url: `redis://127.0.0.1:${port}` }
}
