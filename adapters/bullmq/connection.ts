/** How BullMQ reaches the Redis of REDIS_URL. */
import type { ConnectionOptions } from 'bullmq'

/** Between tries to connect. BullMQ's own go up to 20 s, and all that time after an outage nothing would be done. */
const RECONNECT_MS_MIN = 50
const RECONNECT_MS_MAX = 1_000

export function connectionOf(url: string): ConnectionOptions {
  const { hostname, port, password, username, protocol, pathname } = new URL(url)
  return {
    // Of an IPv6 address the brackets are the URL's.
    host: hostname.replace(/^\[(.*)\]$/, '$1'),
    port: port === '' ? 6379 : Number(port),
    db: Number(pathname.slice(1)),
    ...(password === '' ? {} : { password: decodeURIComponent(password) }),
    ...(username === '' ? {} : { username: decodeURIComponent(username) }),
    ...(protocol === 'rediss:' ? { tls: {} } : {}),
    // A nudge that cannot leave is none: nothing queues up for a server that is away.
    enableOfflineQueue: false,
    retryStrategy: (attempt) =>
      Math.min(RECONNECT_MS_MAX, RECONNECT_MS_MIN * 2 ** Math.min(attempt, 10)) * (0.5 + Math.random() / 2),
  }
}
