/**
 * What waits for the group commit and what is on its way: a lane for each shard, in the order of the calls. A call is
 * settled in that order, and what was refused takes along what waits behind it.
 */
import { type Envelope, IntakeFault } from '../../core/envelope.ts'
import { encodeBatch } from './entry.ts'
import { type ShardKeys, shardKeys } from './keys.ts'

export interface Call {
  readonly batch: readonly Envelope[]
  readonly bytes: number
  resolve(): void
  reject(fault: IntakeFault): void
}

/** One batch as it is sent, and sent again. */
export interface Sending {
  readonly calls: readonly Call[]
  readonly envelopes: readonly Envelope[]
  readonly heads: Buffer
  readonly bodies: Buffer
  /** It was sent and no answer came: it may be stored. */
  isUnknown: boolean
}

export interface Lane {
  readonly shard: number
  readonly keys: ShardKeys
  waiting: Call[]
  sending: Sending | undefined
  /** This node's name for the server; another one when the server knows it otherwise than this node does. */
  boot: string
  /** Of the next batch. Taken by a batch that is stored, so that a refused one does not leave a gap. */
  number: number
}

/** What joins one entry. One call's batch is never parted, however large. */
export interface EntryLimits {
  readonly entryEnvelopesMax: number
  readonly entryBytesMax: number
}

export interface Lanes {
  readonly all: readonly Lane[]
  /** Envelopes that were handed over and are not settled. */
  waitingEnvelopes: number
  /** Gives a name that nobody had before. */
  newBoot(): string
}

export function createLanes(prefix: string, shards: number, newBoot: () => string): Lanes {
  const all = Array.from({ length: shards }, (_, shard): Lane => {
    return { shard, keys: shardKeys(prefix, shard), waiting: [], sending: undefined, boot: newBoot(), number: 1 }
  })
  return { all, waitingEnvelopes: 0, newBoot }
}

/** Marks and `expired` are few, and end what others keep: they are taken as long as the server takes them. */
export const isOfServer = ({ batch }: Call): boolean => batch.every(({ device }) => device === '')

/** An empty call only keeps its place in the order: it has nothing that could be refused. */
export function settle(lanes: Lanes, calls: readonly Call[], fault: IntakeFault | undefined): void {
  for (const call of calls) {
    lanes.waitingEnvelopes -= call.batch.length
    if (fault === undefined || call.batch.length === 0) call.resolve()
    else call.reject(fault)
  }
}

/** What is not taken fails all that waits behind it: that was handed over before it was known. */
export function refuse(lanes: Lanes, lane: Lane, code: IntakeFault['code'], text: string): void {
  const calls = [...(lane.sending?.calls ?? []), ...lane.waiting]
  lane.sending = undefined
  lane.waiting = []
  settle(lanes, calls, new IntakeFault(code, text))
}

/** The batch is stored and answered. */
export function finish(lanes: Lanes, lane: Lane, { calls }: Sending): void {
  lane.number++
  lane.sending = undefined
  settle(lanes, calls, undefined)
}

/** The server knows nothing of this name's batches, or of later ones than this node does. */
export function rename(lanes: Lanes, lane: Lane): void {
  lane.boot = lanes.newBoot()
  lane.number = 1
}

/** Makes the next batch of what waits, if the one before is answered. */
export function load(lanes: Lanes, lane: Lane, of: EntryLimits): void {
  if (lane.sending !== undefined) return
  let envelopes = 0
  let bytes = 0
  let count = 0
  for (const call of lane.waiting) {
    envelopes += call.batch.length
    bytes += call.bytes
    if (count > 0 && (envelopes > of.entryEnvelopesMax || bytes > of.entryBytesMax)) break
    count++
  }
  const calls = lane.waiting.splice(0, count)
  const batch = calls.length === 1 ? (calls[0] as Call).batch : calls.flatMap((call) => call.batch)
  if (batch.length === 0) settle(lanes, calls, undefined)
  else lane.sending = { calls, envelopes: batch, ...encodeBatch(batch), isUnknown: false }
}
