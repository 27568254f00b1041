/**
 * What a node is told by the others: a stream of its own, with numbered entries, so that it notices what it missed.
 * Bounded; a node that is gone leaves its stream for a while.
 */
import type { Link } from './connection.ts'
import { callScript, script } from './script.ts'

const STREAM_KEPT_MS = 600_000
const STREAM_ENTRIES_MAX = 10_000
const BLOCK_MS = 1_000
const READ_COUNT = 200
const AGAIN_MS = 200

/** KEYS stream, counter. ARGV what is told. */
const tellScript = script(`
local n = redis.call('INCR', KEYS[2])
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ${STREAM_ENTRIES_MAX}, '*', 'n', n, 'd', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ${STREAM_KEPT_MS})
redis.call('PEXPIRE', KEYS[2], ${STREAM_KEPT_MS})
return n
`)

const keysOf = (prefix: string, node: string): [string, string] => [
  `${prefix}{node:${node}}:wakes`,
  `${prefix}{node:${node}}:n`,
]

/** Tells a node; resolves when it is in its stream. */
export async function tellNode(link: Link, prefix: string, node: string, text: string): Promise<void> {
  await callScript(link.redis, tellScript, keysOf(prefix, node), [text])
}

/** Reads the stream of `node` until stopped; `onGap` when something may have been missed. Gives how to stop. */
export function listenToNode(
  listening: Link,
  prefix: string,
  node: string,
  onText: (text: string) => void,
  onGap: () => void,
): () => void {
  const [stream] = keysOf(prefix, node)
  let isStopped = false
  let from = '0'
  let last = 0

  async function readSome(): Promise<void> {
    const args = ['COUNT', READ_COUNT, 'BLOCK', BLOCK_MS, 'STREAMS', stream, from]
    const found = (await listening.redis.call('XREAD', args)) as [string, [string, string[]][]][] | null
    for (const [id, [, n = '0', , text = '']] of found?.[0]?.[1] ?? []) {
      const isGap = Number(n) !== last + 1
      from = id
      last = Number(n)
      onText(text)
      if (isGap) onGap()
    }
  }

  async function listen(): Promise<void> {
    while (!isStopped) {
      try {
        await readSome()
      } catch {
        if (isStopped) return
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS))
        if (listening.isUsable()) onGap()
      }
    }
  }
  void listen()
  return () => {
    isStopped = true
  }
}
