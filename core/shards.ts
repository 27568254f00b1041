/**
 * Which shard a conversation lives in (A1). Pure and the same on every node and in every version: the numbers of a
 * conversation rise because it never moves, so the number of shards is fixed at first start. Step before: ingress
 * knows the conversation. Step after: `Intake.append(shard, …)`.
 */

const FNV_OFFSET = 0x811c9dc5
const FNV_PRIME = 0x01000193

/** FNV-1a over the low bytes; keys of users are latin1 strings. */
function hashText(hash: number, text: string): number {
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ (text.charCodeAt(i) & 255), FNV_PRIME)
  return hash
}

/** The low bits of FNV-1a alone follow the low bits of the key. */
function spread(hash: number, shards: number): number {
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return ((hash ^ (hash >>> 16)) >>> 0) % shards
}

/** 0..shards-1 for a conversation's key: its bytes, or the same as a latin1 string. */
export function shardOf(key: string | Uint8Array, shards: number): number {
  if (shards === 1) return 0
  if (typeof key === 'string') return spread(hashText(FNV_OFFSET, key), shards)
  let hash = FNV_OFFSET
  for (const byte of key) hash = Math.imul(hash ^ byte, FNV_PRIME)
  return spread(hash, shards)
}

/**
 * The shard of the conversation of two users, the same from both sides and without hashing an id for it. A pair's
 * messages and its delivered marks go there and nowhere else: `markOf` looks there.
 */
export function pairShard(a: string, b: string, shards: number): number {
  if (shards === 1) return 0
  const [lower, higher] = a <= b ? [a, b] : [b, a]
  return spread(hashText(hashText(FNV_OFFSET, lower), higher), shards)
}

/** A batch by shard, in its order within each. */
export function byShard<T extends { readonly shard: number }>(batch: readonly T[]): Map<number, T[]> {
  const shards = new Map<number, T[]>()
  for (const each of batch) {
    const known = shards.get(each.shard)
    if (known === undefined) shards.set(each.shard, [each])
    else known.push(each)
  }
  return shards
}
