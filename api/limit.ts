/** Limits of who asks: a bucket is taken from, or the answer is 429 with the seconds until there is more. */
import { isIPv6 } from 'node:net'
import type { Limiter } from '../core/ports.ts'
import { ProblemFault } from './problem.ts'

export const HOUR_MS = 3_600_000
const IPV6_NETWORK_GROUPS = 4

/** What stands for an address: of IPv6 the network of 64 bits, because a caller has all of it. */
export function addressOf(ip: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)
  if (mapped !== null) return mapped[1] as string
  if (!isIPv6(ip)) return ip
  const [head = '', tail] = ip.split('%')[0]?.split('::') ?? []
  const groups = head === '' ? [] : head.split(':')
  const rest = tail === undefined || tail === '' ? [] : tail.split(':')
  if (tail !== undefined) groups.push(...Array<string>(Math.max(0, 8 - groups.length - rest.length)).fill('0'), ...rest)
  return groups.slice(0, IPV6_NETWORK_GROUPS).join(':')
}

/** A bucket: what it is called, who it is of, how many it holds, how long it takes to fill, what a refusal says. */
export type Bucket = [name: string, key: string, burst: number, periodMs: number, detail: string]

/** `limitTo`, then `work`; when that fails, what was taken is given back. */
export async function limitWhile(limiter: Limiter, bucket: Bucket, work: () => Promise<void>): Promise<void> {
  const [name, key, burst, periodMs] = bucket
  await limitTo(limiter, ...bucket)
  try {
    await work()
  } catch (error) {
    await limiter.giveBack(name, key, periodMs / burst)
    throw error
  }
}

/**
 * Takes one from the bucket that holds `burst` and fills in `periodMs`. Throws a ProblemFault (`rate_limited`) with
 * `detail` and the true seconds.
 */
export async function limitTo(limiter: Limiter, ...[name, key, burst, periodMs, detail]: Bucket): Promise<void> {
  const waitMs = await limiter.take(name, key, burst, periodMs / burst)
  if (waitMs > 0) throw new ProblemFault('rate_limited', detail, Math.ceil(waitMs / 1_000))
}
