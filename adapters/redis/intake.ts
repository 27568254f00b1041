/**
 * Intake (A1, A3, A6): a group commit for each shard. At most one pipeline of a node is on its way, with at most one
 * batch of each shard; what arrives meanwhile joins the next. A batch whose answer did not come is sent again as it
 * is until the answer is known, and nothing later of its shard goes before: the server repeats what it said.
 */
import type { Redis } from 'ioredis'
import { type Envelope, IntakeFault } from '../../core/envelope.ts'
import type { Intake } from '../../core/ports.ts'
import { appendScript, REPLY_ANSWERS, REPLY_FORGOTTEN, REPLY_OVERLOADED } from './append-script.ts'
import type { Link } from './connection.ts'
import { applyAnswers, bodyBytes, encodeBatch } from './entry.ts'
import { type ShardKeys, shardKeys } from './keys.ts'
import type { Pressure } from './pressure.ts'
import { isUnknownScript, loadScript, queueScript } from './script.ts'

export interface IntakeLimits {
  readonly shards: number
  readonly waitingRecordsMax: number
  /** Entries of one shard that are not done; beyond, it takes nothing. */
  readonly shardBacklogMax: number
  /** What joins one entry. One call's batch is never parted, however large. */
  readonly entryEnvelopesMax: number
  readonly entryBytesMax: number
  /** Envelopes of this node that wait for the answer of others; beyond, new work is refused. */
  readonly waitingEnvelopesMax: number
  /** Replicas that must have a batch on their disk, and how long they are waited for at a time. */
  readonly replicasMin: number
  readonly replicasWaitMs: number
}

export const intakeLimits: IntakeLimits = {
  shards: 8,
  waitingRecordsMax: 1_024,
  shardBacklogMax: 20_000,
  entryEnvelopesMax: 1_000,
  entryBytesMax: 1024 * 1024,
  waitingEnvelopesMax: 200_000,
  replicasMin: 0,
  replicasWaitMs: 2_000,
}

interface Call {
  readonly batch: readonly Envelope[]
  readonly bytes: number
  resolve(): void
  reject(fault: IntakeFault): void
}

/** One batch as it is sent, and sent again. */
interface Sending {
  readonly calls: readonly Call[]
  readonly envelopes: readonly Envelope[]
  readonly heads: Buffer
  readonly bodies: Buffer
  /** It was sent and no answer came: it may be stored. */
  isUnknown: boolean
}

interface Lane {
  readonly shard: number
  readonly keys: ShardKeys
  waiting: Call[]
  sending: Sending | undefined
  /** This node's name for the server; another one when the server has forgotten it. */
  boot: string
  /** Of the next batch. Taken by a batch that is stored, so that a refused one does not leave a gap. */
  number: number
}

/** Between two tries of a batch whose answer did not come while the server is there. */
const RESEND_MS = 100

/** Marks and `expired` are few, and end what others keep: they are taken as long as the server takes them. */
const isOfServer = ({ batch }: Call): boolean => batch.every(({ device }) => device === '')

const withoutReplicas = (): Error => new Error('the replicas have not said that they have it')
const closed = (): IntakeFault => new IntakeFault('storage_unavailable', 'the intake is closed')
const away = (): IntakeFault => new IntakeFault('storage_unavailable', 'Redis is away: send it again later')

export interface RedisIntake extends Intake {
  /** Rejects everything that waits; what was sent and not answered may be stored. */
  close(): void
  facts(): { readonly waitingEnvelopes: number; readonly resends: number }
}

/**
 * `seen` are the watermarks that this node has seen, by shard; a number is above them. `newBoot` gives a name that
 * nobody had before.
 */
export function createIntake(
  link: Link,
  prefix: string,
  of: IntakeLimits,
  pressure: Pressure,
  seen: readonly number[],
  newBoot: () => string,
): RedisIntake {
  const lanes = Array.from({ length: of.shards }, (_, shard): Lane => {
    return { shard, keys: shardKeys(prefix, shard), waiting: [], sending: undefined, boot: newBoot(), number: 1 }
  })
  let isFlying = false
  let isClosed = false
  let isScheduled = false
  let waitingEnvelopes = 0
  let resends = 0
  let timer: NodeJS.Timeout | undefined

  function schedule(): void {
    if (isScheduled || isFlying) return
    isScheduled = true
    setImmediate(() => {
      isScheduled = false
      void fly()
    })
  }

  /** Ends a call in its lane's order. */
  function settle(calls: readonly Call[], fault: IntakeFault | undefined): void {
    for (const call of calls) {
      waitingEnvelopes -= call.batch.length
      if (fault === undefined || call.batch.length === 0) call.resolve()
      else call.reject(fault)
    }
  }

  /** What one server was told and did not take fails all that waits behind it: it was sent before that was known. */
  function refuse(lane: Lane, calls: readonly Call[], fault: IntakeFault): void {
    lane.sending = undefined
    settle(calls, fault)
    settle(lane.waiting.splice(0), fault)
  }

  function load(lane: Lane): void {
    if (lane.sending !== undefined) return
    if (pressure.isCrowded() && !lane.waiting.every(isOfServer)) {
      return refuse(lane, [], new IntakeFault('overloaded', 'the memory of Redis is nearly full'))
    }
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
    if (batch.length === 0) settle(calls, undefined)
    else lane.sending = { calls, envelopes: batch, ...encodeBatch(batch), isUnknown: false }
  }

  async function fly(): Promise<void> {
    if (isFlying || isClosed || !link.isUsable()) return dropIfAway()
    for (const lane of lanes) load(lane)
    const flying = lanes.filter((lane) => lane.sending !== undefined)
    if (flying.length === 0) return
    isFlying = true
    const results = await send(flying)
    isFlying = false
    let isLate = false
    for (let i = 0; i < flying.length; i++) {
      const lane = flying[i] as Lane
      if (!isClosed && lane.sending !== undefined) takeReply(lane, lane.sending, results[i])
      if (lane.sending?.isUnknown === true) isLate = true
    }
    if (isClosed) return
    if (isLate) timer = setTimeout(schedule, RESEND_MS)
    else if (lanes.some(({ waiting, sending }) => waiting.length > 0 || sending !== undefined)) schedule()
  }

  async function send(flying: readonly Lane[]): Promise<(Error | Buffer)[]> {
    const pipeline = link.redis.pipeline()
    for (const lane of flying) {
      const { heads, bodies, isUnknown } = lane.sending as Sending
      if (isUnknown) resends++
      queueScript(
        pipeline,
        appendScript,
        [lane.keys.state, lane.keys.stream, lane.keys.node + lane.boot],
        [
          lane.number,
          seen[lane.shard] ?? 0,
          of.waitingRecordsMax,
          of.shardBacklogMax,
          lane.keys.records,
          lane.keys.marks,
          heads,
          bodies,
        ],
      )
    }
    if (of.replicasMin > 0) pipeline.call('WAITAOF', [1, of.replicasMin, of.replicasWaitMs])
    const results = (await pipeline.exec()) ?? []
    const replicas = of.replicasMin > 0 ? results.pop() : undefined
    const isWaitedFor = replicas === undefined || Number((replicas[1] as number[] | undefined)?.[1]) >= of.replicasMin
    const replies = results.map(([error, reply]) => error ?? (reply as Buffer))
    if (replies.some((reply) => reply instanceof Error && isUnanswered(reply))) link.reconnect()
    if (replies.some((reply) => reply instanceof Error && isUnknownScript(reply))) await teach(link.redis)
    return isWaitedFor ? replies : replies.map((reply) => (reply instanceof Error ? reply : withoutReplicas()))
  }

  /** The server knows nothing of this name's batches, or of later ones than this node does. */
  function rename(lane: Lane): void {
    lane.boot = newBoot()
    lane.number = 1
  }

  function takeReply(lane: Lane, sending: Sending, reply: Error | Buffer | undefined): void {
    if (!(reply instanceof Error)) return reply && takeAnswer(lane, sending, reply)
    const code = reply.message.split(' ', 1)[0]
    if (code === 'STALE') rename(lane)
    if (code === 'NOSCRIPT' && !sending.isUnknown) return
    // Told by the server at the first try: nothing is stored. Else an earlier try may have been, or still be on its way.
    const isKnown = reply.name === 'ReplyError' && !sending.isUnknown && code !== 'NOSCRIPT'
    if (!isKnown) sending.isUnknown = true
    else if (code === 'OOM') refuse(lane, sending.calls, new IntakeFault('overloaded', 'the memory of Redis is full'))
    else refuse(lane, sending.calls, new IntakeFault('storage_unavailable', `Redis does not take it: ${code}`))
  }

  function takeAnswer(lane: Lane, sending: Sending, reply: Buffer): void {
    const kind = reply.toString('latin1', 0, 1)
    if (kind === REPLY_ANSWERS) {
      applyAnswers(reply.subarray(1), sending.envelopes)
      lane.number++
      lane.sending = undefined
      return settle(sending.calls, undefined)
    }
    if (kind === REPLY_FORGOTTEN) rename(lane)
    else if (kind === REPLY_OVERLOADED && !sending.isUnknown) {
      refuse(lane, sending.calls, new IntakeFault('overloaded', 'too many entries of this shard are not done'))
    }
  }

  /** Nothing of a lane was sent: who waits in it hears so at once. */
  function dropIfAway(): void {
    if (isFlying || isClosed) return
    for (const lane of lanes) if (lane.sending === undefined) refuse(lane, [], away())
  }

  link.onUsable(schedule)
  return {
    shards: of.shards,
    append(shard, batch) {
      const lane = lanes[shard]
      if (lane === undefined) return Promise.reject(new RangeError(`there is no shard ${shard}`))
      return new Promise((resolve, reject) => {
        if (isClosed) return reject(closed())
        let bytes = 0
        for (const envelope of batch) bytes += bodyBytes(envelope)
        waitingEnvelopes += batch.length
        lane.waiting.push({ batch, bytes, resolve, reject })
        schedule()
      })
    },
    isFull: (device) => pressure.isFull(device),
    refusal() {
      if (!link.isUsable()) return 'storage_unavailable'
      return pressure.isCrowded() || waitingEnvelopes > of.waitingEnvelopesMax ? 'overloaded' : undefined
    },
    facts: () => ({ waitingEnvelopes, resends }),
    close() {
      isClosed = true
      clearTimeout(timer)
      for (const lane of lanes) refuse(lane, lane.sending?.calls ?? [], closed())
    },
  }
}

/** The driver gave up on it: what the server does is not known. */
const isUnanswered = (error: Error): boolean => error.message === 'Command timed out'

async function teach(redis: Redis): Promise<void> {
  await loadScript(redis, appendScript).catch(() => undefined)
}
