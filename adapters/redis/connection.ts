/**
 * One connection to Redis. It fails fast: nothing queues in the driver while it is away, nothing is sent twice by it,
 * and every command has an end. It is usable when the server has passed the check, at start and after each reconnect:
 * a failover may lead to a server that does not keep the promise.
 */
import { type ChainableCommander, Redis } from 'ioredis'

export interface ConnectionLimits {
  readonly connectTimeoutMs: number
  /** A server that does not answer for so long is taken for gone: the connection is made anew. */
  readonly commandTimeoutMs: number
  readonly retryMsMin: number
  readonly retryMsMax: number
  /** A server that failed the check is asked again after this. */
  readonly recheckMs: number
}

export const connectionLimits: ConnectionLimits = {
  connectTimeoutMs: 5_000,
  commandTimeoutMs: 3_000,
  retryMsMin: 50,
  retryMsMax: 2_000,
  recheckMs: 2_000,
}

export interface Link {
  readonly redis: Redis
  /** Connected, and the server has passed the check. */
  isUsable(): boolean
  /** `run` is called whenever the link becomes usable. */
  onUsable(run: () => void): void
  /** Makes the connection anew: a command was not answered in time, and later ones would wait behind it. */
  reconnect(): void
  close(): void
}

/** Grows with the attempts; half of it is random, so that nodes do not come back all at once. */
export function retryMs(attempt: number, of: ConnectionLimits): number {
  const ceiling = Math.min(of.retryMsMax, of.retryMsMin * 2 ** Math.min(attempt - 1, 16))
  return Math.ceil(ceiling / 2 + (Math.random() * ceiling) / 2)
}

/** Where a server is, without its password. */
export function placeOf(url: string): string {
  const { hostname, port } = new URL(url)
  return `${hostname}:${port === '' ? 6379 : port}`
}

function createRedis(url: string, of: ConnectionLimits): Redis {
  return new Redis(url, {
    lazyConnect: true,
    connectTimeout: of.connectTimeoutMs,
    commandTimeout: of.commandTimeoutMs,
    retryStrategy: (attempt) => retryMs(attempt, of),
    // A promoted replica that is still read-only is not the one to talk to.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    // Who listens has to know that something was missed.
    autoResubscribe: false,
    // What one turn of the event loop asks travels as one write. It knows commands by their own names, not `call`.
    enableAutoPipelining: true,
    noDelay: true,
  })
}

/**
 * Connects and checks; rejects with a sentence when one of both fails. Later failures of the check are told to `warn`,
 * once for each sentence.
 */
export async function openLink(
  url: string,
  of: ConnectionLimits,
  check: (redis: Redis) => Promise<void>,
  warn: (text: string) => void,
): Promise<Link> {
  const redis = createRedis(url, of)
  const listeners: (() => void)[] = []
  let isChecked = false
  let warned = ''
  let timer: NodeJS.Timeout | undefined

  const say = (text: string): void => {
    if (text !== warned) warn(text)
    warned = text
  }
  redis.on('error', (error: Error) => say(`Redis at ${placeOf(url)}: ${error.message}`))
  try {
    await redis.connect()
    await check(redis)
  } catch (error) {
    redis.disconnect()
    throw new Error(explain(url, error as Error), { cause: error })
  }
  warned = ''
  isChecked = true

  async function recheck(): Promise<void> {
    clearTimeout(timer)
    try {
      await check(redis)
      if (redis.status !== 'ready') return
      isChecked = true
      warned = ''
      for (const run of listeners) run()
    } catch (error) {
      if (redis.status !== 'ready') return
      say(explain(url, error as Error))
      timer = setTimeout(() => void recheck(), of.recheckMs)
      timer.unref()
    }
  }
  redis.on('close', () => {
    isChecked = false
  })
  redis.on('ready', () => void recheck())
  return {
    redis,
    isUsable: () => isChecked && redis.status === 'ready',
    onUsable: (run) => void listeners.push(run),
    reconnect: () => redis.disconnect(true),
    close() {
      clearTimeout(timer)
      isChecked = false
      redis.disconnect()
    },
  }
}

function explain(url: string, error: Error): string {
  const isAway = /ECONNREFUSED|ENOTFOUND|ETIMEDOUT|EHOSTUNREACH|Connection is closed/.test(error.message)
  if (isAway) return `Redis at ${placeOf(url)} is not to be reached (${error.message}): start it, or correct REDIS_URL`
  return error.message
}

/** Results of a pipeline in its order; throws the first error. */
export async function resultsOf(pipeline: ChainableCommander): Promise<unknown[]> {
  const results = (await pipeline.exec()) ?? []
  return results.map(([error, result]) => {
    if (error !== null) throw error
    return result
  })
}
