/**
 * One connection to Redis. It fails fast: nothing queues in the driver while it is away, nothing is sent twice by it,
 * and every command has an end. It is usable when the server has passed the check, at start and after each reconnect:
 * a failover may lead to a server that does not keep the promise. A breaker may stand in front of it: what beats once a
 * second and is not answered is broken, and refuses at once what would wait.
 */
import type { Socket } from 'node:net'
import { type ChainableCommander, Redis } from 'ioredis'
import { StoreDownFault } from '../../core/ports.ts'
import { type Breaker, createBreaker } from '../breaker.ts'
import type { BreakerState } from '../opened.ts'

export interface ConnectionLimits {
  readonly connectTimeoutMs: number
  /** A server that does not answer for so long is taken for gone: the connection is made anew. */
  readonly commandTimeoutMs: number
  readonly retryMsMin: number
  readonly retryMsMax: number
  /** A server that failed the check is asked again after this. */
  readonly recheckMs: number
  /** A link with a breaker asks the server so often whether it still takes writes, and while it is broken. */
  readonly beatEveryMs: number
  readonly probeEveryMs: number
}

export const connectionLimits: ConnectionLimits = {
  connectTimeoutMs: 5_000,
  commandTimeoutMs: 3_000,
  retryMsMin: 50,
  retryMsMax: 2_000,
  recheckMs: 2_000,
  beatEveryMs: 1_000,
  probeEveryMs: 250,
}

export interface Link {
  readonly redis: Redis
  /** Connected, and the server has passed the check. */
  isUsable(): boolean
  /** Of the breaker in front of it; `closed` where there is none. */
  breaker(): BreakerState
  /** `run` is called whenever the link becomes usable. */
  onUsable(run: () => void): void
  /** Makes the connection anew: a command was not answered in time, and later ones would wait behind it. */
  reconnect(): void
  close(): void
}

/** What the driver says of a server that is away, and a server of itself when it serves nobody. OOM is not among it. */
const AWAY = new RegExp(
  '^(Connection is closed|Command timed out|Stream isn.t writeable|Reached the max retries|' +
    'READONLY|MISCONF|NOREPLICAS|LOADING|MASTERDOWN|NOAUTH|NOPERM)',
)

/** Whoever waits for the store tells by the fault that a second try may help. */
export async function awayAsFault<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    const { message } = error as Error
    const what = message.startsWith('NOPERM') ? 'Redis does not let this user do what it must' : 'Redis does not answer'
    throw AWAY.test(message) ? new StoreDownFault('redis', `${what}: ${message}`) : error
  }
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
    // It would let a pipeline overtake commands that were given before it.
    enableAutoPipelining: false,
    noDelay: true,
  })
}

/** What one turn of the event loop asks travels as one write, in its order. */
function writeOnceATurn(redis: Redis): void {
  const send = redis.sendCommand.bind(redis)
  let isCorked = false
  redis.sendCommand = (command, stream) => {
    const { stream: socket, status } = redis as unknown as { stream?: Socket; status: string }
    if (!isCorked && status === 'ready' && socket !== undefined) {
      isCorked = true
      socket.cork()
      setImmediate(() => {
        isCorked = false
        socket.uncork()
      })
    }
    return send(command, stream)
  }
}

interface Guard {
  readonly breaker: Breaker
  /** The same connection past its breaker. */
  readonly past: Redis
  beat(): void
  stop(): void
}

/** Puts a breaker in front of all commands of `redis`; `beatKey` is written once a second. */
function guard(redis: Redis, beatKey: string, of: ConnectionLimits, prove: (past: Redis) => Promise<void>): Guard {
  const send = redis.sendCommand.bind(redis)
  const past = Object.create(redis, { sendCommand: { value: send } }) as Redis
  const refusal = () => new StoreDownFault('redis', 'Redis does not answer; it is asked again by itself')
  const write = async (): Promise<void> => {
    if (redis.status !== 'ready') throw new Error('Connection is closed')
    await past.set(beatKey, 1, 'PX', 10 * of.beatEveryMs)
  }
  const breaker = createBreaker({
    failuresMax: 1,
    probeEveryMs: of.probeEveryMs,
    weigh: (error) => (AWAY.test((error as Error).message) ? 1 : 0),
    async probe() {
      await write().catch((error: Error) => {
        // It can still do everything that lets it shrink.
        if (!error.message.startsWith('OOM')) throw error
      })
      await prove(past)
    },
    refusal,
    // What is asked next would wait behind what is not answered.
    onOpen: () => redis.status === 'ready' && redis.disconnect(true),
  })
  redis.sendCommand = (command, stream) => {
    // Before it is ready, the driver itself greets the server.
    if (breaker.state() === 'closed' || redis.status !== 'ready') return send(command, stream)
    command.reject(refusal())
    return command.promise
  }
  const beat = (): void => {
    if (breaker.state() === 'closed') breaker.run(write).catch(() => undefined)
  }
  const timer = setInterval(beat, of.beatEveryMs)
  timer.unref()
  return {
    breaker,
    past,
    beat,
    stop() {
      clearInterval(timer)
      breaker.stop()
    },
  }
}

/**
 * Connects and checks; rejects with a sentence when one of both fails. Later failures of the check are told to `warn`,
 * once for each sentence. `beatKey`: a breaker stands in front of it, and writes that key.
 */
export async function openLink(
  url: string,
  of: ConnectionLimits,
  check: (redis: Redis) => Promise<void>,
  warn: (text: string) => void,
  beatKey?: string,
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
  if (beatKey !== undefined) writeOnceATurn(redis)
  const guarded = beatKey === undefined ? undefined : guard(redis, beatKey, of, check)

  async function recheck(): Promise<void> {
    clearTimeout(timer)
    try {
      await check(guarded?.past ?? redis)
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
    guarded?.beat()
  })
  redis.on('ready', () => void recheck())
  return {
    redis,
    isUsable: () =>
      isChecked && redis.status === 'ready' && (guarded === undefined || guarded.breaker.state() === 'closed'),
    breaker: () => guarded?.breaker.state() ?? 'closed',
    onUsable: (run) => void listeners.push(run),
    reconnect: () => redis.disconnect(true),
    close() {
      clearTimeout(timer)
      guarded?.stop()
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
