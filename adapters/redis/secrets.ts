/** Secrets that nobody set, the same for all brokers of a deployment: one hash, in which no field ever changes. */
import type { Link } from './connection.ts'
import { secretsKey } from './keys.ts'

/** The value of `name`: `own`, if there was none (atomic: of two that ask at one time both get the same). */
export function createSharedSecrets({ redis }: Link, prefix: string) {
  const key = secretsKey(prefix)
  return async (name: string, own: string): Promise<string> => {
    // Read first: a server that is full takes no write, and has them already.
    const known = await redis.hget(key, name)
    if (known !== null) return known
    await redis.hsetnx(key, name, own)
    return (await redis.hget(key, name)) ?? own
  }
}
