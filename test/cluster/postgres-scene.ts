/**
 * What the tests against PostgreSQL share: schemas of their own in the database that DATABASE_URL names, and a cable in
 * front of the server that can go silent, or be cut as if the server had stopped.
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
  /** Forwards nothing more, also of new connections; or of those alone whose first bytes have this text. */
  stall(onlyWith?: string): void
  /** Ends all connections and refuses new ones; or those alone. */
  cut(onlyWith?: string): void
  heal(): void
  close(): Promise<void>
}

interface Pair {
  readonly ends: readonly [Socket, Socket]
  readonly first: Buffer
}
const silence = ({ ends }: Pair) => {
  for (const socket of ends) socket.unpipe().pause()
}

/** Forwards to `host` and `port` until it is told otherwise. */
export async function startCable(host: string, port: number): Promise<Cable> {
  const pairs = new Set<Pair>()
  let silenced: string | undefined
  let refused: string | undefined
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    if (refused === '') return void socket.destroy()
    socket.once('data', (first: Buffer) => {
      if (refused !== undefined && first.includes(refused)) return void socket.destroy()
      const upstream = dial(port, host)
      const pair: Pair = { ends: [socket, upstream], first }
      pairs.add(pair)
      const end = () => {
        pairs.delete(pair)
        for (const each of pair.ends) each.destroy()
      }
      for (const each of pair.ends) each.on('error', end).on('close', end)
      if (silenced !== undefined && first.includes(silenced)) return silence(pair)
      upstream.write(first)
      socket.pipe(upstream)
      upstream.pipe(socket)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const those = (onlyWith: string) => [...pairs].filter(({ first }) => first.includes(onlyWith))
  function cut(onlyWith = ''): void {
    refused = onlyWith
    for (const { ends } of those(onlyWith)) for (const socket of ends) socket.destroy()
  }
  return {
    port: (server.address() as { port: number }).port,
    stall(onlyWith = '') {
      silenced = onlyWith
      those(onlyWith).forEach(silence)
    },
    cut,
    heal() {
      // What was swallowed is lost, and its connection with it.
      if (silenced !== undefined) cut(silenced)
      silenced = undefined
      refused = undefined
    },
    async close() {
      cut()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export interface Schema {
  /** The server, and the same through a cable. */
  readonly url: string
  through(cable: Cable): string
  /** Over a connection of its own. */
  query(text: string, values?: unknown[]): Promise<Record<string, unknown>[]>
  cable(): Promise<Cable>
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
  const cables: Cable[] = []
  const own = new URL(base)
  own.searchParams.set('options', `-c search_path=${name}`)
  return {
    url: own.href,
    through(cable) {
      const url = new URL(own)
      url.host = `127.0.0.1:${cable.port}`
      return url.href
    },
    query: async (text, values = []) => (await admin.query<Record<string, unknown>>(text, values)).rows,
    async cable() {
      const cable = await startCable(base.hostname, Number(base.port === '' ? 5432 : base.port))
      cables.push(cable)
      return cable
    },
    async open(options = {}, url = own.href) {
      const store = await openPostgres(url, { now: Date.now, onNotice: () => undefined, mayForget: true, ...options })
      stores.push(store)
      return store
    },
    async drop() {
      for (const cable of cables) await cable.close()
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
