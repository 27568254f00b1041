/**
 * The session with Cassandra: what is tried again, for how long, and what happens while it is away. Every statement is
 * idempotent and carries its own timestamp, so each of them may be sent twice.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, errors, type types } from 'cassandra-driver'
import { StoreDownFault } from '../../core/ports.ts'
import { type CassandraLimits, type CassandraSettings, connectOnce, isPassing } from './driver.ts'
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
  /** Statements of ONE partition, which are applied together. */
  batch(statements: readonly Statement[]): Promise<void>
  /** Why it does not answer, or undefined. */
  down(): string | undefined
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
      if (!isPassing(error)) throw error
      const delayMs = Math.random() * limits.retryDelayMsMax * tries
      if (tries >= limits.triesMax || performance.now() + delayMs >= endMs) {
        throw new StoreDownFault('cassandra', `Cassandra does not answer: ${sentenceOf(error)}`)
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
  const endOfCall = () => performance.now() + limits.callTimeoutMs
  async function run({ query, params }: Statement, endMs: number): Promise<types.Row[]> {
    const client = link.serving()
    return (await persist(limits, endMs, () => client.execute(query, [...params]))).rows
  }

  return {
    keyspace: settings.keyspace,
    limits,
    run: (statement) => run(statement, endOfCall()),
    async read(statement) {
      const endMs = endOfCall()
      const isIn = await gate.enter(endMs)
      if (!isIn) throw new StoreDownFault('cassandra', 'Cassandra is slower than what is asked of it')
      try {
        return await run(statement, endMs)
      } finally {
        gate.leave()
      }
    },
    async batch(statements) {
      const client = link.serving()
      const queries = statements.map(({ query, params }) => ({ query, params: [...params] }))
      const options = { prepare: true, logged: false, isIdempotent: true }
      await persist(limits, endOfCall(), () => client.batch(queries, options))
    },
    down: link.down,
    onNodes: link.onNodes,
    close: link.close,
  }
}
