/**
 * The session with Cassandra: what is tried again, for how long, and what happens while it is away. Every statement is
 * idempotent and carries its own timestamp, so each of them may be sent twice.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, errors, type types } from 'cassandra-driver'
import { type Log, StoreDownFault } from '../../core/ports.ts'
import { type Breaker, createBreaker } from '../breaker.ts'
import type { BreakerState } from '../opened.ts'
import { type CassandraLimits, type CassandraSettings, connectOnce, isBroken, isOfStore, isPassing } from './driver.ts'
import { createGate } from './gate.ts'

export interface Statement {
  readonly query: string
  readonly params: readonly unknown[]
}
export interface Session {
  readonly keyspace: string
  readonly limits: CassandraLimits
  /** Runs one prepared statement. Rejects with a StoreDownFault, or with what is wrong with the statement itself. */
  run(statement: Statement): Promise<types.Row[]>
  /** The same with a bounded number of them at one time, for everything that many connections may ask at once. */
  read(statement: Statement): Promise<types.Row[]>
  /** In one request. Those of one partition are applied together. */
  batch(statements: readonly Statement[]): Promise<void>
  /** Every node has every row. */
  isEverywhere(): boolean
  /** Why it does not answer, or undefined. */
  down(): string | undefined
  breaker(): BreakerState
  /** Called when a node went or came: what was written just before may be gone with it. */
  onNodes(listener: () => void): void
  close(): Promise<void>
}

/** Resolves like `work`, or rejects at `endMs` of the monotonic clock. */
async function before<T>(endMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const over = () => reject(new errors.OperationTimedOutError('no answer in time'))
    timer = setTimeout(over, Math.max(0, endMs - performance.now()))
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

/** The driver puts stacks into its messages. */
function sentenceOf(error: unknown): string {
  return (error as Error).message.split('\n', 1)[0] ?? ''
}

/** A few tries with random waits between them, all within callTimeoutMs. */
async function persist<T>(limits: CassandraLimits, endMs: number, work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await before(endMs, work())
    } catch (error) {
      if (!isOfStore(error)) throw error
      const delayMs = Math.random() * limits.retryDelayMsMax * tries
      if (tries >= limits.triesMax || performance.now() + delayMs >= endMs) {
        const fault = new StoreDownFault('cassandra', `Cassandra does not answer: ${sentenceOf(error)}`)
        fault.cause = error
        throw fault
      }
      await sleep(delayMs)
    }
  }
}

/** Keeps one Client that serves, from the first that could connect. */
interface Link {
  /** Why nobody serves, or undefined. */
  down(): string | undefined
  serving(): Client
  onNodes(listener: () => void): void
  close(): Promise<void>
}

function isAway(error: unknown): boolean {
  return isPassing(error) || error instanceof StoreDownFault
}

async function openLink(
  limits: CassandraLimits,
  connect: () => Promise<Client>,
  onFatal: (error: Error) => void,
): Promise<Link> {
  const stopped = new AbortController()
  const { signal } = stopped
  const listeners: (() => void)[] = []
  let client: Client | undefined
  let lastFault = ''

  async function attempt(): Promise<void> {
    const fresh = await connect()
    if (signal.aborted) return fresh.shutdown()
    const tellAll = () => {
      for (const listener of listeners) listener()
    }
    fresh.on('hostUp', tellAll).on('hostDown', tellAll)
    client = fresh
  }
  async function attemptUntilItServes(): Promise<void> {
    for (let waitMs = limits.reconnectMsMin; !signal.aborted; waitMs = Math.min(waitMs * 2, limits.reconnectMsMax)) {
      await sleep(waitMs * (0.5 + Math.random() / 2), undefined, { signal })
      try {
        return await attempt()
      } catch (error) {
        if (!isAway(error)) return onFatal(error as Error)
        lastFault = sentenceOf(error)
      }
    }
  }
  function down(): string | undefined {
    if (client === undefined) return `Cassandra was not reached yet: ${lastFault}`
    return client.hosts.values().some((host) => host.isUp()) ? undefined : 'no node of Cassandra can be reached'
  }

  try {
    await attempt()
  } catch (error) {
    if (!isAway(error)) throw error
    lastFault = sentenceOf(error)
    attemptUntilItServes().catch(() => undefined)
  }
  return {
    down,
    // The driver asks nobody while all nodes are down, and finds out by itself when one is back: no try is worth it.
    serving() {
      const why = down()
      if (client === undefined || why !== undefined) throw new StoreDownFault('cassandra', why ?? '')
      return client
    },
    onNodes: (listener) => void listeners.push(listener),
    async close() {
      stopped.abort()
      await client?.shutdown()
    },
  }
}

const REFUSED = 'Cassandra does not answer, or answers with errors; it is asked again by itself'
/** No device has such an id. */
const PROBED = '.probe'
const PROBE_TTL_S = 60

/** What a row needs of both tables: a write, and a read of what was written. */
async function probe(client: Client, { keyspace }: CassandraSettings, limits: CassandraLimits): Promise<void> {
  const endMs = performance.now() + limits.requestTimeoutMs
  const ask = (query: string, ...params: unknown[]) => before(endMs, client.execute(query, params))
  const atUs = Date.now() * 1_000
  const lives = `USING TIMESTAMP ? AND TTL ${PROBE_TTL_S}`
  await ask(`UPDATE ${keyspace}.inboxes ${lives} SET cursor = ? WHERE device = ?`, atUs, Buffer.alloc(0), PROBED)
  await ask(`SELECT cursor FROM ${keyspace}.inboxes WHERE device = ? LIMIT 1`, PROBED)
  const row = `INSERT INTO ${keyspace}.inbox_rows (device, day, seq, sub, kind) VALUES (?, 0, 0, 0, 0)`
  await ask(`${row} ${lives}`, PROBED, atUs)
  await ask(`SELECT kind FROM ${keyspace}.inbox_rows WHERE device = ? AND day = 0 LIMIT 1`, PROBED)
}

function openBreaker(link: Link, settings: CassandraSettings, limits: CassandraLimits, log: Log): Breaker {
  const store = 'cassandra'
  return createBreaker({
    failuresMax: limits.failuresMax,
    probeEveryMs: limits.probeEveryMs,
    weigh(error) {
      if (!(error instanceof StoreDownFault)) return 0
      // What is wrong with a table passes by nobody's second try, and statements of the other one succeed meanwhile.
      return isBroken(error.cause) ? limits.failuresMax : 1
    },
    probe: async () => probe(link.serving(), settings, limits),
    refusal: () => new StoreDownFault(store, REFUSED),
    onOpen: (error) =>
      log.warn({ store, error: sentenceOf(error) }, 'Cassandra does not do what it is asked: rows wait'),
    onClosed: () => log.info({ store }, 'Cassandra does what it is asked again'),
  })
}

/**
 * Opens a session. Resolves after the first attempt: when Cassandra does not answer, it goes on trying by itself, and
 * calls are refused meanwhile. `prepare` is run on every new Client before that serves. Rejects, or later calls
 * `onFatal`, when connecting or `prepare` fails for another reason than silence.
 */
export async function openSession(
  settings: CassandraSettings,
  limits: CassandraLimits,
  prepare: (client: Client) => Promise<void>,
  onFatal: (error: Error) => void,
  log: Log,
): Promise<Session> {
  const gate = createGate(limits.readsMax)
  async function connect(): Promise<Client> {
    const fresh = await connectOnce(settings, limits)
    try {
      await prepare(fresh)
      return fresh
    } catch (error) {
      await fresh.shutdown().catch(() => undefined)
      throw error
    }
  }
  const link = await openLink(limits, connect, onFatal)
  const breaker = openBreaker(link, settings, limits, log)
  const endOfCall = () => performance.now() + limits.callTimeoutMs
  /** While no node can be reached the driver finds out itself when one is back: that is no failure of a call. */
  function tried<T>(endMs: number, work: (client: Client) => Promise<T>): Promise<T> {
    const client = link.serving()
    return breaker.run(() => persist(limits, endMs, () => work(client)))
  }
  async function run({ query, params }: Statement, endMs: number): Promise<types.Row[]> {
    return (await tried(endMs, (client) => client.execute(query, [...params]))).rows
  }

  return {
    keyspace: settings.keyspace,
    limits,
    run: (statement) => run(statement, endOfCall()),
    async read(statement) {
      const endMs = endOfCall()
      breaker.admit()
      const isIn = await gate.enter(endMs)
      if (!isIn) throw new StoreDownFault('cassandra', 'Cassandra is slower than what is asked of it')
      try {
        return await run(statement, endMs)
      } finally {
        gate.leave()
      }
    },
    async batch(statements) {
      const queries = statements.map(({ query, params }) => ({ query, params: [...params] }))
      const options = { prepare: true, logged: false, isIdempotent: true }
      await tried(endOfCall(), (client) => client.batch(queries, options))
    },
    isEverywhere: () => link.down() === undefined && link.serving().hosts.length <= settings.replication,
    down: () => link.down() ?? (breaker.state() === 'closed' ? undefined : REFUSED),
    breaker: breaker.state,
    onNodes: link.onNodes,
    close() {
      breaker.stop()
      return link.close()
    },
  }
}
