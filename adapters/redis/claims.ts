/**
 * Claims of all nodes (B4, B5): a hash says which node serves a device, and each node has a stream of what concerns its
 * devices: wakes, and claims that were lost to another node. Wakes may be lost; a node that missed part of its stream,
 * or was away from Redis, looks at all of its devices again.
 */
import type { ClaimHolder, Claims, Wakes } from '../../core/ports.ts'
import type { DisconnectReason } from '../../topics/disconnects.ts'
import type { Link } from './connection.ts'
import { listenToNode, tellNode } from './node-stream.ts'
import { callScript, script } from './script.ts'

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

interface Node {
  readonly link: Link
  readonly prefix: string
  readonly name: string
  readonly onWake: OnWake
  readonly held: Map<string, Held>
}

const nodeOf = (claim: string): string => claim.slice(0, claim.lastIndexOf(':'))
const claimsKey = ({ prefix }: Node): string => `${prefix}{claims}:devices`
const epochsKey = ({ prefix }: Node): string => `${prefix}{claims}:epoch`

function lose({ held }: Node, device: string, reason: DisconnectReason): void {
  const found = held.get(device)
  if (found === undefined) return
  held.delete(device)
  found.holder.onLost(reason)
}

/** Lines of `device seq`, `device lost claim`, `device end reason`. */
function take(node: Node, text: string): void {
  for (const line of text.split('\n')) {
    const [device = '', what = '', detail = ''] = line.split(' ')
    const found = node.held.get(device)
    if (found === undefined) continue
    if (what === 'lost') {
      if (found.claim === detail) lose(node, device, 'takeover')
    } else if (what === 'end') lose(node, device, detail as DisconnectReason)
    else node.onWake(device, Number(what))
  }
}

/** Who was paused, or whose claims the store forgot, finds out. */
async function compare(node: Node): Promise<void> {
  const { held, link, onWake } = node
  const mine = [...held].filter(([, { claim }]) => claim !== '')
  for (let at = 0; at < mine.length; at += COMPARE_AT_ONCE) {
    const some = mine.slice(at, at + COMPARE_AT_ONCE)
    const known = await link.redis.hmget(claimsKey(node), ...some.map(([device]) => device))
    for (const [i, [device, { claim }]] of some.entries()) {
      if (held.get(device)?.claim !== claim || known[i] === claim) continue
      if (known[i] !== null) lose(node, device, 'takeover')
      else {
        await link.redis.hsetnx(claimsKey(node), device, claim)
        onWake(device, 0)
      }
    }
  }
}

async function announce(node: Node, device: string, epoch: number): Promise<void> {
  const { link, held, name, prefix } = node
  const keys = [claimsKey(node), epochsKey(node)]
  const [number, before] = (await callScript(link.redis, claimScript, keys, [device, name])) as [number, Buffer]
  const claim = `${name}:${number}`
  const mine = held.get(device)
  if (mine?.epoch === epoch) mine.claim = claim
  else await callScript(link.redis, releaseScript, [claimsKey(node)], [device, claim])
  const other = before.toString()
  if (other !== '' && nodeOf(other) !== name) await tellNode(link, prefix, nodeOf(other), `${device} lost ${other}`)
}

function createClaims(node: Node): Claims {
  const { held, link, name, prefix } = node
  let lastEpoch = 0
  return {
    claim(device, holder) {
      const before = held.get(device)
      held.set(device, { holder, epoch: ++lastEpoch, claim: '' })
      before?.holder.onLost('takeover')
      return lastEpoch
    },
    known: (device, epoch) => announce(node, device, epoch),
    release(device, epoch) {
      const mine = held.get(device)
      if (mine?.epoch !== epoch) return
      held.delete(device)
      if (mine.claim === '') return
      callScript(link.redis, releaseScript, [claimsKey(node)], [device, mine.claim]).catch(() => undefined)
    },
    wake(device, row) {
      const found = held.get(device)
      found?.holder.onWake(row)
      return found !== undefined
    },
    evict(device, reason) {
      lose(node, device, reason)
      // Whoever has it elsewhere hears of it; if not, its token is refused at the next connection.
      link.redis
        .hget(claimsKey(node), device)
        .then((claim) => {
          if (claim === null || nodeOf(claim) === name) return
          return tellNode(link, prefix, nodeOf(claim), `${device} end ${reason}`)
        })
        .catch(() => undefined)
    },
  }
}

async function hand(node: Node, rows: ReadonlyMap<string, number>): Promise<readonly string[]> {
  const { link, prefix } = node
  const devices = [...rows.keys()]
  const byNode = new Map<string, string[]>()
  const absent: string[] = []
  for (let at = 0; at < devices.length; at += DEVICES_PER_WAKE_MAX) {
    const some = devices.slice(at, at + DEVICES_PER_WAKE_MAX)
    const known = await link.redis.hmget(claimsKey(node), ...some)
    for (const [i, device] of some.entries()) {
      const claim = known[i]
      if (claim === null || claim === undefined) {
        absent.push(device)
        continue
      }
      const lines = byNode.get(nodeOf(claim)) ?? []
      byNode.set(nodeOf(claim), lines)
      lines.push(`${device} ${rows.get(device)}`)
    }
  }
  await Promise.all([...byNode].map(([name, lines]) => tellNode(link, prefix, name, lines.join('\n'))))
  return absent
}

/** `onWake` decides when a device looks; `link` is for commands, `listening` for reading the node's stream alone. */
export function createSharedClaims(
  link: Link,
  listening: Link,
  prefix: string,
  name: string,
  onWake: OnWake,
): SharedClaims {
  const node: Node = { link, prefix, name, onWake, held: new Map() }
  const wakeAll = (): void => {
    for (const device of node.held.keys()) onWake(device, 0)
  }
  const stopListening = listenToNode(listening, prefix, name, (text) => take(node, text), wakeAll)
  const comparing = setInterval(() => void compare(node).catch(() => undefined), COMPARE_EVERY_MS)
  comparing.unref()
  return {
    claims: createClaims(node),
    wakes: { hand: (rows) => hand(node, rows) },
    devices: () => node.held.size,
    stop() {
      stopListening()
      clearInterval(comparing)
    },
  }
}
