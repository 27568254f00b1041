/**
 * Nodes that died, and the claims that they left behind. A set names the nodes that were there; whoever is there is
 * heard on its channel, and a connection that its machine took along is closed by Redis (tcp-keepalive).
 */
import type { LostClaims } from '../../core/ports.ts'
import { awayAsFault, type Link } from './connection.ts'
import { lineChannel } from './node-channel.ts'
import { ALLOW_WHEN_FULL, callScript, script } from './script.ts'

/** Claims of one step, about. */
const STEP_CLAIMS = 1_000

export const claimsKey = (prefix: string): string => `${prefix}{claims}:devices`
const nodesKey = (prefix: string): string => `${prefix}{claims}:nodes`

/** KEYS nodes. ARGV node. Who starts drains a full server. */
const noteScript = script(`${ALLOW_WHEN_FULL}
return redis.call('SADD', KEYS[1], ARGV[1])
`)

/** KEYS claims. ARGV device, claim, device, claim … A device that was claimed anew keeps its claim. */
export const releaseScript = script(`${ALLOW_WHEN_FULL}
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return 1
`)

/** A claim is `node:epoch`. */
export const nodeOf = (claim: string): string => claim.slice(0, claim.lastIndexOf(':'))

/** Those of the nodes that hear what they are told. */
export async function heardNodes({ redis }: Link, prefix: string, nodes: readonly string[]): Promise<Set<string>> {
  if (nodes.length === 0) return new Set()
  const channels = nodes.map((node) => lineChannel(prefix, node))
  const answer = (await redis.pubsub('NUMSUB', ...channels)) as (string | number)[]
  return new Set(nodes.filter((_, i) => Number(answer[2 * i + 1]) > 0))
}

/** The node is there, and may be found lost from now on; after a gap again, since it may have been. Idempotent. */
export async function noteNode({ redis }: Link, prefix: string, node: string): Promise<void> {
  await callScript(redis, noteScript, [nodesKey(prefix)], [node])
}

export function createLostClaims(link: Link, prefix: string): LostClaims {
  const { redis } = link
  async function nodes(): Promise<string[]> {
    const all = await redis.smembers(nodesKey(prefix))
    const heard = await heardNodes(link, prefix, all)
    return all.filter((node) => !heard.has(node))
  }
  async function claims(of: readonly string[], cursor: string) {
    const [next, pairs] = await redis.hscan(claimsKey(prefix), cursor || '0', 'COUNT', STEP_CLAIMS)
    const lost = new Set(of)
    const found = new Map<string, string>()
    for (let i = 0; i < pairs.length; i += 2) {
      const [device, claim] = pairs.slice(i, i + 2) as [string, string]
      if (lost.has(nodeOf(claim))) found.set(device, claim)
    }
    return { claims: found, cursor: next === '0' ? '' : next }
  }
  async function release(found: ReadonlyMap<string, string>): Promise<void> {
    if (found.size > 0) await callScript(redis, releaseScript, [claimsKey(prefix)], [...found].flat())
  }
  return {
    nodes: () => awayAsFault(nodes()),
    claims: (of, cursor) => awayAsFault(claims(of, cursor)),
    release: (found) => awayAsFault(release(found)),
    async forget(of) {
      if (of.length > 0) await awayAsFault(redis.srem(nodesKey(prefix), ...of))
    },
  }
}
