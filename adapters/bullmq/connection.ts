/** How BullMQ reaches the Redis of REDIS_URL. */
import type { ConnectionOptions } from 'bullmq'

export function connectionOf(url: string): ConnectionOptions {
  const { hostname, port, password, username, protocol } = new URL(url)
  return {
    host: hostname,
    port: port === '' ? 6379 : Number(port),
    ...(password === '' ? {} : { password: decodeURIComponent(password) }),
    ...(username === '' ? {} : { username: decodeURIComponent(username) }),
    ...(protocol === 'rediss:' ? { tls: {} } : {}),
    // A nudge that cannot leave is none: nothing queues up for a server that is away.
    enableOfflineQueue: false,
  }
}
