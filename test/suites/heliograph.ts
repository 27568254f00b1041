/** Our server as a Broker: things on the raw topics, in a process of its own. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inboxFilterOf, rawLevel, topicOf } from '../../topics/topic.ts'
import { spawnServer } from '../world/process.ts'
import type { Broker, Login } from './broker.ts'

/** Starts one on a fresh folder. All things have one owner, `@crowd`, whose devices are the crowd. */
export async function openHeliograph(): Promise<Broker> {
  const folder = mkdtempSync(join(tmpdir(), 'heliograph-suite-'))
  let server = await spawnServer(folder)
  const owner = await server.devices.service('crowd0', 'crowd')
  const members = new Set([owner.id])
  return {
    get port() {
      return server.port
    },
    device: (id) => server.devices.thing(id, owner),
    async crowd(size) {
      const all: Login[] = [owner]
      while (all.length < size) all.push(await server.devices.sibling(owner, `crowd${all.length}`))
      for (const { id } of all) members.add(id)
      return { members: all, topic: ({ id }) => topicOf('raw', { device: id, to: 'home' }) }
    },
    topic: (from, to) => topicOf('raw', { device: from.id, to: rawLevel({ kind: 'device', device: to.id }) }),
    filters: ({ id }) => [inboxFilterOf(id, members.has(id) ? 'service' : 'thing')],
    slow: ({ id }, ms) => server.slowLookup(id, ms),
    stopStore: () => server.stopStore(),
    async resumeStore() {
      await server.resumeStore()
    },
    kill: () => server.kill(),
    async restart() {
      server = await spawnServer(folder)
    },
    async stop() {
      await server.kill()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
