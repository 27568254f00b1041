/** Stock aedes with aedes-persistence-redis as a Broker. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Broker } from '../suites/broker.ts'
import { CROWD_TOPIC, inboxPrefix, type Order, type Setup } from './orders.ts'
import { startRedis } from './redis.ts'

const ENTRY = fileURLToPath(new URL('./aedes.ts', import.meta.url))

async function launch(setup: Setup): Promise<{ child: ChildProcess; port: number }> {
  const child = fork(ENTRY, [JSON.stringify(setup)], { execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  const ended = once(child, 'exit').then(([code]) => Promise.reject(new Error(`aedes ended at its start: ${code}`)))
  const [{ port }] = (await Promise.race([once(child, 'message'), ended])) as [{ port: number }]
  ended.catch(() => undefined)
  return { child, port }
}

/** Starts one with a Redis of its own. */
export async function openStock(setup: Omit<Setup, 'redis'> = {}): Promise<Broker> {
  const folder = mkdtempSync(join(tmpdir(), 'heliograph-stock-'))
  const redis = await startRedis(folder)
  const start = () => launch({ ...setup, redis: redis.path })
  let running = await start()
  const inbox = (id: string) => `${inboxPrefix(id)}message`

  async function kill(): Promise<void> {
    const { child } = running
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }

  return {
    get port() {
      return running.port
    },
    device: async (id) => ({ id, token: 'any' }),
    async crowd(size) {
      const members = Array.from({ length: size }, (_, i) => ({ id: `crowd${i}`, token: 'any' }))
      return { members, topic: () => CROWD_TOPIC }
    },
    topic: (_from, to) => inbox(to.id),
    filters: ({ id }) => [`${inboxPrefix(id)}#`, ...(id.startsWith('crowd') ? [CROWD_TOPIC] : [])],
    async slow({ id }, ms) {
      const done = once(running.child, 'message')
      running.child.send({ topic: inbox(id), ms } satisfies Order)
      await done
    },
    async stopStore() {
      redis.pause()
    },
    async resumeStore() {
      redis.resume()
    },
    kill,
    async restart() {
      running = await start()
    },
    async stop() {
      await kill()
      await redis.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
