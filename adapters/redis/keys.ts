/**
 * Names of keys. What one script touches shares a hash tag, `{s3}` for shard 3, so that a shard could live on a server
 * of its own. Keys of marks hold users' bytes: they are Buffers.
 */

/** In front of all keys of a deployment; two may share a server under two prefixes. */
export const KEY_PREFIX = 'hg:'

export interface ShardKeys {
  /** Hash: last, appended, done, doneCount, doneSeq. */
  readonly state: string
  /** The stream of entries. */
  readonly stream: string
  /** Hash: entry id → attempts. */
  readonly attempts: string
  /** List: `ms id`, where the done cursor was when `trim` looked. */
  readonly checkpoints: string
  /** In front of a node's boot id: its last batch's number and answer (A6). */
  readonly node: string
  /** In front of a device's id: hash of its last stamp and waiting records (A3). */
  readonly records: string
  /** In front of two users' keys: how far the delivered mark says. */
  readonly marks: string
}

export function shardKeys(prefix: string, shard: number): ShardKeys {
  const tag = `${prefix}{s${shard}}:`
  return {
    state: `${tag}state`,
    stream: `${tag}stream`,
    attempts: `${tag}attempts`,
    checkpoints: `${tag}checkpoints`,
    node: `${tag}node:`,
    records: `${tag}records:`,
    marks: `${tag}mark:`,
  }
}

/** The low watermark that was published last: numbers of all shards are above it. */
export const floorKey = (prefix: string): string => `${prefix}floor`
/** Where watermarks are told to all nodes. */
export const watermarkChannel = (prefix: string): string => `${prefix}watermark`
export const deviceKey = (prefix: string, device: string): string => `${prefix}device:${device}`
/** Hash: what brokers made that were given no secrets. */
export const secretsKey = (prefix: string): string => `${prefix}secrets`
export const shardCountKey = (prefix: string): string => `${prefix}shards`
export const rowsKey = (prefix: string, device: string): string => `${prefix}rows:${device}`
export const deadKeys = (prefix: string): [facts: string, bytes: string, order: string, total: string] => [
  `${prefix}{dead}:letters`,
  `${prefix}{dead}:bytes`,
  `${prefix}{dead}:order`,
  `${prefix}{dead}:total`,
]
/** Devices whose inbox is full, and how often that changed. */
export const fullKeys = (prefix: string): [devices: string, version: string] => [
  `${prefix}{full}:devices`,
  `${prefix}{full}:version`,
]
