/**
 * Lua scripts and how they are called: by their SHA-1; a server that does not know one (a restart, a failover) is told
 * and asked again. A script runs whole or not at all, and nothing else in between.
 */
import { createHash } from 'node:crypto'
import type { ChainableCommander, Redis } from 'ioredis'

export interface Script {
  readonly source: string
  readonly sha: string
}
export type Argument = string | Buffer | number

export function script(source: string): Script {
  return { source, sha: createHash('sha1').update(source).digest('hex') }
}

/**
 * Of a full server a script is refused at its first write, before it has written anything. This begins a script that
 * lets the store shrink or costs next to nothing: it runs on a full server too.
 */
export const ALLOW_WHEN_FULL = '#!lua flags=allow-oom\n'

/** Puts a call into a pipeline; its result is bytes. */
export function queueScript(into: ChainableCommander, { sha }: Script, keys: string[], args: Argument[]): void {
  into.callBuffer('EVALSHA', [sha, keys.length, ...keys, ...args])
}

/** The driver has them, its types do not. */
type Evals = Record<'evalshaBuffer' | 'evalBuffer', (...args: (string | Buffer | number)[]) => Promise<unknown>>

/** Calls a script; its result is bytes, numbers or lists of them, as RESP has it. */
export async function callScript(redis: Redis, { source, sha }: Script, keys: string[], args: Argument[]) {
  const { evalshaBuffer, evalBuffer } = redis as unknown as Evals
  try {
    return await evalshaBuffer.call(redis, sha, keys.length, ...keys, ...args)
  } catch (error) {
    if (!isUnknownScript(error as Error)) throw error
    return await evalBuffer.call(redis, source, keys.length, ...keys, ...args)
  }
}

export const isUnknownScript = (error: Error): boolean => error.message.startsWith('NOSCRIPT')

export async function loadScript(redis: Redis, { source }: Script): Promise<void> {
  await redis.script('LOAD', source)
}
