/**
 * What the tests against PostgreSQL share: schemas of their own in the database that DATABASE_URL names, and a proxy in
 * front of the server that can stop forwarding, as a cut cable does, or refuse and cut, as a server that was stopped.
 */
import { createServer, connect as dial, type Socket } from 'node:net'
import { Client } from 'pg'
import { openPostgres, type PostgresOptions, type PostgresStore } from '../../adapters/postgres/index.ts'
import { DEFAULT_LIMITS, type PostgresLimits } from '../../adapters/postgres/limits.ts'

function databaseUrl(): URL {
  const text = process.env['DATABASE_URL'] ?? ''
  if (text === '') throw new Error('set DATABASE_URL to a PostgreSQL whose user may make schemas and end connections')
  return new URL(text)
}

export interface Cable {
  readonly port: number
  /** Takes new connections and forwards nothing, and nothing more over those that are there. */
  stall(): void
  /** Ends all connections and refuses new ones, or those whose first bytes have this text. */
  cut(onlyWith?: string): void
  heal(): void
  close(): Promise<void>
}

/** Forwards to `host` and `port` until it is told otherwise. */
export async function startProxy(host: string, port: number): Promise<Cable> {
  const pairs = new Set<readonly [Socket, Socket, Buffer]>()
  let isStalled = false
  let refused: string | undefined
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    if (refused === '') return void socket.destroy()
    socket.once('data', (first: Buffer) => {
      if (refused !== undefined && first.includes(refused)) return void socket.destroy()
      const upstream = dial(port, host)
      const pair = [socket, upstream, first] as const
      pairs.add(pair)
      const end = () => {
        pairs.delete(pair)
        socket.destroy()
        upstream.destroy()
      }
      upstream.on('error', end).on('close', end)
      socket.on('error', end).on('close', end)
      upstream.write(first)
      socket.pipe(upstream)
      upstream.pipe(socket)
      if (isStalled) for (const each of [socket, upstream]) each.unpipe().pause()
    })
    if (isStalled) socket.pause()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const cut = (onlyWith = '') => {
    refused = onlyWith
    for (const [socket, upstream, first] of pairs) {
      if (!first.includes(onlyWith)) continue
      socket.destroy()
      upstream.destroy()
    }
  }
  return {
    port: (server.address() as { port: number }).port,
    stall() {
      isStalled = true
      for (const [socket, upstream] of pairs) for (const each of [socket, upstream]) each.unpipe().pause()
    },
    cut,
    heal() {
      // What was swallowed is lost, and its connection with it.
      if (isStalled) cut()
      isStalled = false
      refused = undefined
    },
    async close() {
      cut()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export interface Schema {
  /** The server, and the same through a proxy. */
  readonly url: string
  through(proxy: Cable): string
  /** Over a connection of its own. */
  query(text: string, values?: unknown[]): Promise<Record<string, unknown>[]>
  proxy(): Promise<Cable>
  /** One process of the cluster; closed at the end. */
  open(options?: Partial<PostgresOptions>, url?: string): Promise<PostgresStore>
  drop(): Promise<void>
}

let schemas = 0

/** A schema that nobody else has. */
export async function makeSchema(): Promise<Schema> {
  const name = `test_${process.pid}_${++schemas}`
  const base = databaseUrl()
  const admin = new Client({ connectionString: base.href, application_name: 'test' })
  admin.on('error', () => undefined)
  await admin.connect()
  await admin.query(`CREATE SCHEMA ${name}; SET search_path = ${name}`)
  const stores: PostgresStore[] = []
  const proxies: Cable[] = []
  const own = new URL(base)
  own.searchParams.set('options', `-c search_path=${name}`)
  return {
    url: own.href,
    through(proxy) {
      const url = new URL(own)
      url.host = `127.0.0.1:${proxy.port}`
      return url.href
    },
    query: async (text, values = []) => (await admin.query<Record<string, unknown>>(text, values)).rows,
    async proxy() {
      const proxy = await startProxy(base.hostname, Number(base.port === '' ? 5432 : base.port))
      proxies.push(proxy)
      return proxy
    },
    async open(options = {}, url = own.href) {
      const store = await openPostgres(url, { now: Date.now, onNotice: () => undefined, mayForget: true, ...options })
      stores.push(store)
      return store
    },
    async drop() {
      for (const proxy of proxies) await proxy.close()
      await Promise.all(stores.map((store) => store.close()))
      await admin.query(`DROP SCHEMA ${name} CASCADE`)
      await admin.end()
    },
  }
}

/** Limits with which an outage is over soon. */
export const QUICK: PostgresLimits = {
  ...DEFAULT_LIMITS,
  connectMs: 300,
  answerMs: 300,
  statementMs: 250,
  probeEveryMs: 50,
  beatEveryMs: 50,
  beatMs: 200,
  backoffMsMax: 100,
}

/** Asks until the answer is yes; fails after `msMax`. Resolves with how long that took. */
export async function until(what: () => boolean | Promise<boolean>, msMax: number): Promise<number> {
  const startedMs = performance.now()
  for (;;) {
    if (await what()) return performance.now() - startedMs
    if (performance.now() - startedMs > msMax) throw new Error(`not within ${msMax} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
