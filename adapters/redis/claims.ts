/**
 * Claims of all nodes (B4, B5): a hash says which node serves a device, and each node has a stream of what concerns its
 * devices: wakes, and claims that were lost to another node. Wakes may be lost; a node that missed part of its stream,
 * or was away from Redis, looks at all of its devices again.
 */
import type { ClaimHolder, Claims, Row, Wakes } from '../../core/ports.ts'
import type { DisconnectReason } from '../../topics/disconnects.ts'
import { callScript, script } from './script.ts'
import type { Link } from './connection.ts'

/** A node that is gone leaves its stream for so long. */
const STREAM_KEPT_MS = 600_000
const STREAM_ENTRIES_MAX = 10_000
const BLOCK_MS = 1_000
const READ_COUNT = 200
const AGAIN_MS = 200
/** Claims are compared with the store's so often: after a pause of this process another node may have them. */
const COMPARE_EVERY_MS = 5_000
const COMPARE_AT_ONCE = 1_000
const DEVICES_PER_WAKE_MAX = 500

/** KEYS claims, epochs. ARGV device, node. Returns epoch and who had it before. */
const claimScript = script(`
local epoch = redis.call('INCR', KEYS[2])
local before = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. epoch)
return { epoch, before or '' }
`)
/** KEYS claims. ARGV device, claim. */
const releaseScript = script(`
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return 0
`)
/** KEYS stream, counter. ARGV what is told. Numbered, so that a reader notices what it missed. */
const tellScript = script(`
local n = redis.call('INCR', KEYS[2])
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ${STREAM_ENTRIES_MAX}, '*', 'n', n, 'd', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ${STREAM_KEPT_MS})
redis.call('PEXPIRE', KEYS[2], ${STREAM_KEPT_MS})
return n
`)

interface Held {
  readonly holder: ClaimHolder
  readonly epoch: number
  /** As the store has it; '' until it is told. */
  claim: string
}

/** What this node is told of rows: the device has some up to `seq`. */
export type OnWake = (device: string, seq: number) => void

export interface SharedClaims {
  readonly claims: Claims
  readonly wakes: Wakes
  /** Devices that are claimed here. */
  devices(): number
  stop(): void
}

const nodeOf = (claim: string): string => claim.slice(0, claim.lastIndexOf(':'))

/** `onWake` decides when a device looks; `link` is for commands, `listening` for reading the node's stream alone. */
export function createSharedClaims(
  link: Link,
  listening: Link,
  prefix: string,
  node: string,
  onWake: OnWake,
): SharedClaims {
  const key = `${prefix}{claims}:devices`
  const epochs = `${prefix}{claims}:epoch`
  const streamOf = (name: string): [string, string] => [`${prefix}{node:${name}}:wakes`, `${prefix}{node:${name}}:n`]
  const held = new Map<string, Held>()
  let lastEpoch = 0
  let isStopped = false

  async function tell(name: string, text: string): Promise<void> {
    await callScript(link.redis, tellScript, streamOf(name), [text])
  }

  function lose(device: string, reason: DisconnectReason): void {
    const found = held.get(device)
    if (found === undefined) return
    held.delete(device)
    found.holder.onLost(reason)
  }

  function wakeAll(): void {
    for (const device of held.keys()) onWake(device, 0)
  }

  function take(text: string): void {
    for (const line of text.split('\n')) {
      const [device = '', what = '', detail = ''] = line.split(' ')
      const found = held.get(device)
      if (found === undefined) continue
      if (what === 'lost') {
        if (found.claim === detail) lose(device, 'takeover')
      } else if (what === 'end') lose(device, detail as DisconnectReason)
      else onWake(device, Number(what))
    }
  }

  async function listen(): Promise<void> {
    const [stream] = streamOf(node)
    let from = '0'
    let last = 0
    while (!isStopped) {
      try {
        const args = ['COUNT', READ_COUNT, 'BLOCK', BLOCK_MS, 'STREAMS', stream, from]
        const found = (await listening.redis.call('XREAD', args)) as [string, [string, string[]][]][] | null
        for (const [id, [, n = '0', , text = '']] of found?.[0]?.[1] ?? []) {
          const isGap = Number(n) !== last + 1
          from = id
          last = Number(n)
          take(text)
          if (isGap) wakeAll()
        }
      } catch {
        if (isStopped) return
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS))
        if (listening.isUsable()) wakeAll()
      }
    }
  }
  void listen()

  async function compare(): Promise<void> {
    const mine = [...held].filter(([, { claim }]) => claim !== '')
    for (let at = 0; at < mine.length; at += COMPARE_AT_ONCE) {
      const some = mine.slice(at, at + COMPARE_AT_ONCE)
      const known = await link.redis.hmget(key, ...some.map(([device]) => device))
      for (const [i, [device, { claim }]] of some.entries()) {
        if (held.get(device)?.claim !== claim || known[i] === claim) continue
        if (known[i] !== null) lose(device, 'takeover')
        else {
          await link.redis.hsetnx(key, device, claim)
          onWake(device, 0)
        }
      }
    }
  }
  const comparing = setInterval(() => void compare().catch(() => undefined), COMPARE_EVERY_MS)
  comparing.unref()

  const claims: Claims = {
    claim(device, holder) {
      const before = held.get(device)
      held.set(device, { holder, epoch: ++lastEpoch, claim: '' })
      before?.holder.onLost('takeover')
      return lastEpoch
    },
    async known(device, epoch) {
      const [number, before] = (await callScript(link.redis, claimScript, [key, epochs], [device, node])) as [
        number,
        Buffer,
      ]
      const claim = `${node}:${number}`
      const mine = held.get(device)
      if (mine?.epoch === epoch) mine.claim = claim
      else await callScript(link.redis, releaseScript, [key], [device, claim])
      const other = before.toString()
      if (other !== '' && nodeOf(other) !== node) await tell(nodeOf(other), `${device} lost ${other}`)
    },
    release(device, epoch) {
      const mine = held.get(device)
      if (mine?.epoch !== epoch) return
      held.delete(device)
      if (mine.claim === '') return
      callScript(link.redis, releaseScript, [key], [device, mine.claim]).catch(() => undefined)
    },
    wake(device, row: Row) {
      const found = held.get(device)
      found?.holder.onWake(row)
      return found !== undefined
    },
    evict(device, reason) {
      lose(device, reason)
      // Whoever has it elsewhere hears of it; if not, its token is refused at the next connection.
      link.redis
        .hget(key, device)
        .then((claim) => (claim === null || nodeOf(claim) === node ? undefined : tell(nodeOf(claim), `${device} end ${reason}`)))
        .catch(() => undefined)
    },
  }
  const wakes: Wakes = {
    async hand(rows) {
      const devices = [...rows.keys()]
      const byNode = new Map<string, string[]>()
      for (let at = 0; at < devices.length; at += DEVICES_PER_WAKE_MAX) {
        const some = devices.slice(at, at + DEVICES_PER_WAKE_MAX)
        const known = await link.redis.hmget(key, ...some)
        for (const [i, device] of some.entries()) {
          const claim = known[i]
          if (claim === null || claim === undefined) continue
          const lines = byNode.get(nodeOf(claim)) ?? []
          byNode.set(nodeOf(claim), lines)
          lines.push(`${device} ${rows.get(device)}`)
        }
      }
      await Promise.all([...byNode].map(([name, lines]) => tell(name, lines.join('\n'))))
    },
  }
  return {
    claims,
    wakes,
    devices: () => held.size,
    stop() {
      isStopped = true
      clearInterval(comparing)
    },
  }
}
