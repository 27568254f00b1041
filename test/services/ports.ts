/** Ports for servers that do not tell which one the system gave them. */
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/** Below the range out of which Linux serves outgoing connections: a port that is free stays so over a restart. */
const FIRST = 20_000
const LAST = 29_999
const TRIES_MAX = 100

export async function isFree(host: string, port: number): Promise<boolean> {
  const server = createServer().listen(port, host)
  try {
    await once(server, 'listening')
    return true
  } catch {
    return false
  } finally {
    server.close()
  }
}

/** A port that is free on all of these addresses. */
export async function freePort(hosts: readonly string[] = ['127.0.0.1']): Promise<number> {
  for (let i = 0; i < TRIES_MAX; i++) {
    const port = randomInt(FIRST, LAST + 1)
    const free = await Promise.all(hosts.map((host) => isFree(host, port)))
    if (free.every(Boolean)) return port
  }
  throw new Error(`no free port between ${FIRST} and ${LAST}`)
}

/** A port that was asked for, or a free one. Rejects with what to do when it is taken. */
export async function portOr(
  wanted: number | undefined,
  option: string,
  hosts: readonly string[] = ['127.0.0.1'],
): Promise<number> {
  if (wanted === undefined) return freePort(hosts)
  for (const host of hosts) {
    if (!(await isFree(host, wanted))) throw new Error(`${host}:${wanted} is taken: choose another with ${option}`)
  }
  return wanted
}
