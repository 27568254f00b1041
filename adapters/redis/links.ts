/**
 * Mailboxes of linking and link tokens shared by all nodes: hashes with a time to live. A reader that waits is woken
 * by a look of its node at all mailboxes that are waited for: one pipeline for all of them.
 */
import type { Links } from '../../core/ports.ts'
import { limits } from '../../topics/limits.ts'
import { BOUNDED } from './bounded-script.ts'
import { type Link, resultsOf } from './connection.ts'
import { type Argument, callScript, queueScript, script } from './script.ts'

/** KEYS index, mailbox or token. ARGV offset, linksOpenMax, expires, field, value. */
const openScript = script(`${BOUNDED}
remove(KEYS[1], KEYS[2])
makeRoom(KEYS[1], tonumber(ARGV[2]))
put(KEYS[1], KEYS[2], ARGV[3], ARGV[4], ARGV[5])
return 1
`)

/** KEYS mailbox. ARGV offset, sealed. */
const putScript = script(`${BOUNDED}
if isOver(KEYS[1]) then return 0 end
return redis.call('HSETNX', KEYS[1], 'sealed', ARGV[2])
`)

/** False: no such mailbox; else a list that is empty or holds the message. KEYS mailbox. ARGV offset. */
const readScript = script(`${BOUNDED}
if isOver(KEYS[1]) then return false end
local sealed = redis.call('HGET', KEYS[1], 'sealed')
return sealed and { sealed } or {}
`)

/** KEYS index, token. ARGV offset. */
const redeemScript = script(`${BOUNDED}
local user = not isOver(KEYS[2]) and redis.call('HGET', KEYS[2], 'user')
remove(KEYS[1], KEYS[2])
return user
`)

const LOOK_EVERY_MS = 200
/** Readers that wait on this node; who comes beyond is answered at once. */
const WAITING_MAX = 4_096

type Found = Uint8Array | null | undefined
interface Waiting {
  readonly id: string
  readonly untilMs: number
  settle(found: Found): void
}

const foundOf = (reply: unknown): Found => {
  if (!Array.isArray(reply)) return undefined
  const [sealed] = reply as Buffer[]
  return sealed === undefined ? null : new Uint8Array(sealed)
}

/** `clockOffsetMs` is added to the server's time. */
export function createLinks(link: Link, prefix: string, clockOffsetMs: () => number): Links & { stop(): void } {
  const { redis } = link
  const boxes = `${prefix}{links}:boxes`
  const tokens = `${prefix}{links}:tokens`
  const boxOf = (id: string): string => `${prefix}{links}:box:${id}`
  const tokenOf = (hash: Uint8Array): string => `${prefix}{links}:token:${Buffer.from(hash).toString('hex')}`
  let waiting: Waiting[] = []
  let timer: NodeJS.Timeout | undefined

  const open = async (index: string, key: string, expiresMs: number, field: string, value: Argument): Promise<void> => {
    await callScript(redis, openScript, [index, key], [clockOffsetMs(), limits.linksOpenMax, expiresMs, field, value])
  }
  const look = async (id: string): Promise<Found> =>
    foundOf(await callScript(redis, readScript, [boxOf(id)], [clockOffsetMs()]))

  async function lookAtAll(): Promise<void> {
    timer = undefined
    const now = performance.now()
    const looked = waiting
    waiting = []
    const pipeline = redis.pipeline()
    for (const { id } of looked) queueScript(pipeline, readScript, [boxOf(id)], [clockOffsetMs()])
    // A look that fails is one more look later.
    const replies = await resultsOf(pipeline).catch(() => looked.map(() => []))
    looked.forEach((one, i) => {
      const found = foundOf(replies[i])
      if (found === null && now < one.untilMs) waiting.push(one)
      else one.settle(found)
    })
    lookSoon()
  }
  function lookSoon(): void {
    if (timer !== undefined || waiting.length === 0) return
    const nextMs = Math.min(LOOK_EVERY_MS, ...waiting.map(({ untilMs }) => untilMs - performance.now()))
    timer = setTimeout(() => void lookAtAll(), Math.max(1, Math.ceil(nextMs)))
    timer.unref()
  }

  return {
    open: (id, expiresMs) => open(boxes, boxOf(id), expiresMs, 'kind', 'box'),
    async put(id, sealed) {
      const reply = await callScript(redis, putScript, [boxOf(id)], [clockOffsetMs(), Buffer.from(sealed)])
      return Number(reply) === 1
    },
    async read(id, waitMs) {
      const found = await look(id)
      if (found !== null || waitMs <= 0 || waiting.length >= WAITING_MAX) return found
      return new Promise((settle) => {
        waiting.push({ id, untilMs: performance.now() + waitMs, settle })
        lookSoon()
      })
    },
    grant: (tokenHash, user, expiresMs) => open(tokens, tokenOf(tokenHash), expiresMs, 'user', Buffer.from(user)),
    async redeem(tokenHash) {
      const user = (await callScript(redis, redeemScript, [tokens, tokenOf(tokenHash)], [clockOffsetMs()])) as Buffer
      return user === null ? undefined : new Uint8Array(user)
    },
    stop() {
      clearTimeout(timer)
      for (const { settle } of waiting.splice(0)) settle(null)
    },
  }
}
