/**
 * Hears what changes: one connection that listens for what any process of the database tells. It is tried once a
 * second, so that a network that swallows everything is noticed; when it is lost, changes may be missed, and it is made
 * again with growing pauses.
 */
import { Client } from 'pg'
import type { PostgresLimits } from './limits.ts'

const BACKOFF_MS = 100
/** Bytes of a payload, of which the server takes less than 8,000. */
const USERS_PER_PAYLOAD = 200
const USER_HEX = 32
const IS_LISTENING = 'SELECT 1 FROM pg_listening_channels() AS channel WHERE channel = $1'

/** Names of channels are database-wide, and tables are not. */
export const channelOf = (schema: string): string => `heliograph_${schema}`.slice(0, 63)

/** The users that changed, as many payloads as it takes. */
export function payloadsOf(users: readonly Uint8Array[]): string[] {
  const payloads: string[] = []
  for (let at = 0; at < users.length; at += USERS_PER_PAYLOAD) {
    const some = users.slice(at, at + USERS_PER_PAYLOAD)
    payloads.push(some.map((user) => Buffer.from(user).toString('hex')).join(''))
  }
  return payloads
}

function usersOf(payload: string): Buffer[] {
  const users: Buffer[] = []
  for (let at = 0; at + USER_HEX <= payload.length; at += USER_HEX) {
    users.push(Buffer.from(payload.slice(at, at + USER_HEX), 'hex'))
  }
  return users
}

export interface Hears {
  /** These users changed. */
  onChange(users: readonly Uint8Array[]): void
  /** From now on every change is heard. */
  onHeard(): void
  /** Everything up to the moment at which this was asked has been heard. */
  onBeat(askedMs: number): void
  /** From now on changes may be missed. */
  onLost(): void
}
export interface Hearing {
  close(): Promise<void>
}

/** Connects and listens. Rejects when the first attempt fails. */
async function listen(
  url: string,
  channel: string,
  limits: PostgresLimits,
  hears: Hears,
  onEnd: (client: Client) => void,
): Promise<Client> {
  const client = new Client({
    connectionString: url,
    application_name: 'heliograph listening',
    connectionTimeoutMillis: limits.connectMs,
    query_timeout: limits.beatMs,
    keepAlive: true,
  })
  // Said in addition to `end`, which always comes.
  client.on('error', () => undefined)
  client.on('end', () => onEnd(client))
  client.on('notification', ({ payload = '' }) => hears.onChange(usersOf(payload)))
  try {
    await client.connect()
    await client.query(`LISTEN ${client.escapeIdentifier(channel)}`)
    return client
  } catch (error) {
    void client.end().catch(() => undefined)
    throw error
  }
}

/** Listens until it is closed. Resolves when it does; rejects when it cannot. */
export async function startHearing(
  url: string,
  channel: string,
  limits: PostgresLimits,
  hears: Hears,
): Promise<Hearing> {
  let isClosed = false
  let current: Client | undefined
  let timer: NodeJS.Timeout | undefined
  let backoffMs = BACKOFF_MS

  function beatLater(client: Client): void {
    timer = setTimeout(() => {
      const askedMs = performance.now()
      client.query({ name: 'listening', text: IS_LISTENING, values: [channel] }).then(
        ({ rowCount }) => {
          if (client !== current) return
          // A pooler in between gave the connection to somebody else.
          if (rowCount === 0) return drop(client)
          hears.onBeat(askedMs)
          beatLater(client)
        },
        () => drop(client),
      )
    }, limits.beatEveryMs)
    timer.unref()
  }

  function drop(client: Client): void {
    if (client !== current) return
    current = undefined
    clearTimeout(timer)
    void client.end().catch(() => undefined)
    if (isClosed) return
    hears.onLost()
    againLater()
  }

  function againLater(): void {
    const pauseMs = backoffMs * (0.5 + Math.random())
    backoffMs = Math.min(limits.backoffMsMax, backoffMs * 2)
    timer = setTimeout(() => {
      connect().catch(() => {
        if (!isClosed) againLater()
      })
    }, pauseMs)
    timer.unref()
  }

  async function connect(): Promise<void> {
    const client = await listen(url, channel, limits, hears, drop)
    if (isClosed) return void client.end().catch(() => undefined)
    current = client
    backoffMs = BACKOFF_MS
    hears.onHeard()
    beatLater(client)
  }

  await connect()
  return {
    async close() {
      isClosed = true
      clearTimeout(timer)
      const client = current
      current = undefined
      // A server that is gone does not say goodbye.
      await Promise.race([client?.end(), new Promise((resolve) => setTimeout(resolve, limits.beatMs).unref())])
    },
  }
}
