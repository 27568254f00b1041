/**
 * Debian's redis-server for a test: on a socket in a folder of its own, every write fsynced, ended with this process.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { Redis } from 'ioredis'

export interface RedisServer {
  /** Path of its socket. */
  readonly path: string
  /** SIGSTOP: what it is sent waits in the kernel. */
  pause(): void
  resume(): void
  stop(): Promise<void>
}

/** One line that says what to install, or undefined when it is there. */
export function missingRedis(): string | undefined {
  const { error } = spawnSync('redis-server', ['--version'])
  return error === undefined ? undefined : 'redis-server is missing: apt-get install redis-server'
}

/** Starts it with its data in `folder`; resolves when it answers. */
export async function startRedis(folder: string): Promise<RedisServer> {
  const path = join(folder, 'redis.sock')
  const settings = {
    port: '0',
    unixsocket: path,
    dir: folder,
    save: '',
    appendonly: 'yes',
    appendfsync: 'always',
  }
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
  const child = spawn('redis-server', args, { stdio: 'ignore' })
  const endWithUs = (): void => void child.kill('SIGKILL')
  process.once('exit', endWithUs)
  const ended = once(child, 'exit')
  // Asked until it answers: the client connects again by itself.
  const client = new Redis({ path, maxRetriesPerRequest: null, retryStrategy: () => 10 })
  client.on('error', () => undefined)
  const isUp = await Promise.race([client.ping().then(() => true), ended.then(() => false)])
  client.disconnect()
  if (!isUp) throw new Error('redis-server ended before it answered')
  return {
    path,
    pause: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
    async stop() {
      child.kill('SIGKILL')
      await ended
      process.removeListener('exit', endWithUs)
    },
  }
}
