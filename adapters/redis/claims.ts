/**
 * Claims of all nodes (B4, B5): a hash says which node serves a device, and each node hears what concerns its devices:
 * wakes, and claims that were lost to another node. Both may be lost; a node that may have missed something compares
 * its claims with the hash, and reads the inboxes of all of its devices again.
 */
import type { ClaimHolder, Claims, Row, Wakes } from '../../core/ports.ts'
import { unknownRow } from '../../core/row.ts'
import type { DisconnectReason } from '../../topics/disconnects.ts'
import { awayAsFault, type Link, resultsOf } from './connection.ts'
import { claimsKey, heardNodes, nodeOf, releaseScript } from './lost-claims.ts'
import { lineChannel, rowChannel } from './node-channel.ts'
import { ALLOW_WHEN_FULL, callScript, script } from './script.ts'
import { encodeRows, rowBytes } from './wake-rows.ts'

/** Claims are compared with the store's so often: after a pause of this process another node may have them. */
const COMPARE_EVERY_MS = 5_000
const COMPARE_AT_ONCE = 1_000
const LOOK_UP_MAX = 500
/** Rows of one message; a larger one would hold up what others are told. */
const WAKE_BYTES_MAX = 256 * 1024

/** KEYS claims, epochs. ARGV device, node. Returns epoch and who had it before. Who connects drains a full server. */
const claimScript = script(`${ALLOW_WHEN_FULL}
local epoch = redis.call('INCR', KEYS[2])
local before = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. epoch)
return { epoch, before or '' }
`)
interface Held {
  readonly holder: ClaimHolder
  readonly epoch: number
  /** As the store has it; '' until it is told. */
  claim: string
}

export interface SharedClaims {
  readonly claims: Claims
  readonly wakes: Wakes
  /** Devices that are claimed here. */
  devices(): IterableIterator<string>
  count(): number
  /** Takes what this node was told: `device lost claim` and `device end reason`, in lines. */
  take(text: string): void
  /** Finds out which claims others have meanwhile. */
  compare(): Promise<void>
  stop(): void
}

interface Node {
  readonly link: Link
  readonly prefix: string
  readonly name: string
  readonly held: Map<string, Held>
}

const epochsKey = ({ prefix }: Node): string => `${prefix}{claims}:epoch`

function lose({ held }: Node, device: string, reason: DisconnectReason): void {
  const found = held.get(device)
  if (found === undefined) return
  held.delete(device)
  found.holder.onLost(reason)
}

function take(node: Node, text: string): void {
  for (const line of text.split('\n')) {
    const [device = '', what = '', detail = ''] = line.split(' ')
    const found = node.held.get(device)
    if (found === undefined) continue
    if (what === 'lost') {
      if (found.claim === detail) lose(node, device, 'takeover')
    } else if (what === 'end') lose(node, device, detail as DisconnectReason)
  }
}

/** Who was paused, or whose claims the store forgot, finds out. */
async function compare(node: Node): Promise<void> {
  const { held, link } = node
  const mine = [...held].filter(([, { claim }]) => claim !== '')
  for (let at = 0; at < mine.length; at += COMPARE_AT_ONCE) {
    const some = mine.slice(at, at + COMPARE_AT_ONCE)
    const known = await link.redis.hmget(claimsKey(node.prefix), ...some.map(([device]) => device))
    for (const [i, [device, { claim }]] of some.entries()) {
      if (held.get(device)?.claim !== claim || known[i] === claim) continue
      if (known[i] !== null) lose(node, device, 'takeover')
      else {
        await link.redis.hsetnx(claimsKey(node.prefix), device, claim)
        // What was written meanwhile found nobody.
        held.get(device)?.holder.onWake(unknownRow(device))
      }
    }
  }
}

async function announce(node: Node, device: string, epoch: number): Promise<void> {
  const { link, held, name, prefix } = node
  const keys = [claimsKey(node.prefix), epochsKey(node)]
  const [number, before] = (await callScript(link.redis, claimScript, keys, [device, name])) as [number, Buffer]
  const claim = `${name}:${number}`
  const mine = held.get(device)
  if (mine?.epoch === epoch) mine.claim = claim
  else await callScript(link.redis, releaseScript, [claimsKey(node.prefix)], [device, claim])
  const other = before.toString()
  if (other !== '' && nodeOf(other) !== name) {
    await link.redis.publish(lineChannel(prefix, nodeOf(other)), `${device} lost ${other}`)
  }
}

/** The claims of a node that is not heard are nobody's. */
async function locate(node: Node, devices: readonly string[]): Promise<ReadonlySet<string>> {
  const nodes = await nodesOf(node, devices)
  const names = [...new Set(nodes.values())].filter((name) => name !== '')
  const heard = await heardNodes(node.link, node.prefix, names)
  return new Set(devices.filter((device) => heard.has(nodes.get(device) ?? '')))
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
      callScript(link.redis, releaseScript, [claimsKey(node.prefix)], [device, mine.claim]).catch(() => undefined)
    },
    wake(device, row) {
      const found = held.get(device)
      if (found === undefined) return 'away'
      return found.holder.onWake(row) ? 'sent' : 'woken'
    },
    locate: (devices) => awayAsFault(locate(node, devices)),
    evict(device, reason) {
      lose(node, device, reason)
      // Whoever has it elsewhere hears of it; if not, its token is refused at the next connection.
      link.redis
        .hget(claimsKey(node.prefix), device)
        .then((claim) => {
          if (claim === null || nodeOf(claim) === name) return
          return link.redis.publish(lineChannel(prefix, nodeOf(claim)), `${device} end ${reason}`)
        })
        .catch(() => undefined)
    },
  }
}

/** Who has these devices; '' for nobody. */
async function nodesOf(node: Node, devices: readonly string[]): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (let at = 0; at < devices.length; at += LOOK_UP_MAX) {
    const some = devices.slice(at, at + LOOK_UP_MAX)
    const known = await node.link.redis.hmget(claimsKey(node.prefix), ...some)
    for (const [i, device] of some.entries()) found.set(device, nodeOf(known[i] ?? ''))
  }
  return found
}

/** The rows were written before this looks who has their devices (B4). */
async function hand(node: Node, rows: readonly Row[]): Promise<readonly string[]> {
  const { link, prefix } = node
  const nodes = await nodesOf(node, [...new Set(rows.map(({ device }) => device))])
  const pipeline = link.redis.pipeline()
  const open = new Map<string, { rows: Row[]; bytes: number }>()
  const send = (name: string, of: readonly Row[]) => pipeline.publish(rowChannel(prefix, name), encodeRows(of))
  for (const row of rows) {
    const name = nodes.get(row.device)
    if (name === undefined || name === '') continue
    const message = open.get(name) ?? { rows: [], bytes: 0 }
    open.set(name, message)
    message.rows.push(row)
    message.bytes += rowBytes(row)
    if (message.bytes < WAKE_BYTES_MAX) continue
    send(name, message.rows)
    open.delete(name)
  }
  for (const [name, message] of open) send(name, message.rows)
  if (pipeline.length > 0) await resultsOf(pipeline)
  return [...nodes].flatMap(([device, name]) => (name === '' ? [device] : []))
}

export function createSharedClaims(link: Link, prefix: string, name: string): SharedClaims {
  const node: Node = { link, prefix, name, held: new Map() }
  const comparing = setInterval(() => void compare(node).catch(() => undefined), COMPARE_EVERY_MS)
  comparing.unref()
  return {
    claims: createClaims(node),
    wakes: { hand: (rows) => hand(node, rows) },
    devices: () => node.held.keys(),
    count: () => node.held.size,
    take: (text) => take(node, text),
    compare: () => compare(node),
    stop: () => clearInterval(comparing),
  }
}
