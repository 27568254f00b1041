/**
 * Intake (A1, A3, A6): a group commit for each shard. At most one pipeline of a node is on its way, with at most one
 * batch of each shard; what arrives meanwhile joins the next. A batch whose answer did not come is sent again as it
 * is until the answer is known, and nothing later of its shard goes before: the server repeats what it said.
 */
import type { ChainableCommander } from 'ioredis'
import type { Intake } from '../../core/ports.ts'
import { limits } from '../../topics/limits.ts'
import { appendScript, REPLY_ANSWERS, REPLY_FORGOTTEN, REPLY_OVERLOADED } from './append-script.ts'
import type { Link } from './connection.ts'
import { applyAnswers, bodyBytes } from './entry.ts'
import { floorKey } from './keys.ts'
import {
  type Call,
  createLanes,
  type EntryLimits,
  finish,
  isOfServer,
  type Lane,
  type Lanes,
  load,
  refuse,
  rename,
  type Sending,
} from './lanes.ts'
import type { Pressure } from './pressure.ts'
import { isUnknownScript, loadScript, queueScript } from './script.ts'

export interface IntakeLimits extends EntryLimits {
  readonly shards: number
  readonly waitingRecordsMax: number
  /** Entries of one shard that are not done; beyond, it takes nothing. */
  readonly shardBacklogMax: number
  /** Envelopes of this node that wait for the answer of others; beyond, new work is refused. */
  readonly waitingEnvelopesMax: number
  /** Replicas that must have a batch on their disk, and how long they are waited for at a time. */
  readonly replicasMin: number
  readonly replicasWaitMs: number
}

export const intakeLimits: IntakeLimits = {
  shards: 8,
  waitingRecordsMax: limits.waitingRecordsMax,
  shardBacklogMax: 20_000,
  entryEnvelopesMax: 1_000,
  entryBytesMax: 1024 * 1024,
  waitingEnvelopesMax: 200_000,
  replicasMin: 0,
  replicasWaitMs: 2_000,
}

const FLIGHT_EVERY_MS = 3
/** Worth a flight at once. */
const FULL_FLIGHT_ENVELOPES = 256
/** Between two tries of a batch whose answer did not come while the server is there. */
const RESEND_MS = 100

/**
 * A replica that is asked before its fsync says that it does not have it, and says more by itself once a second only:
 * it is asked again so long after. What counts is the last answer.
 */
const ASKED_AGAIN_MS = [5, 50]

export interface RedisIntake extends Intake {
  /** Rejects everything that waits; what was sent and not answered may be stored. */
  close(): void
  facts(): { readonly waitingEnvelopes: number; readonly resends: number }
}

/** The highest watermark that this node has seen: what it appends is numbered above it (D3). */
export interface Seen {
  watermark: number
}

/** The group commit of a node. */
interface Commits {
  readonly link: Link
  readonly of: IntakeLimits
  readonly pressure: Pressure
  readonly floor: string
  readonly seen: Seen
  readonly lanes: Lanes
  isFlying: boolean
  /** When the last flight began. */
  flewMs: number
  isScheduled: boolean
  isClosed: boolean
  resends: number
  timer: NodeJS.Timeout | undefined
}

/**
 * At the end of this turn, with everything that it appends; or after the flight that is on its way. Flights begin some
 * time apart: one costs the server an fsync, whatever it carries.
 */
function schedule(commits: Commits): void {
  if (commits.isScheduled || commits.isFlying) return
  commits.isScheduled = true
  const start = (): void => {
    commits.isScheduled = false
    void fly(commits)
  }
  const restMs = FLIGHT_EVERY_MS - (performance.now() - commits.flewMs)
  if (restMs > 0 && commits.lanes.waitingEnvelopes < FULL_FLIGHT_ENVELOPES) setTimeout(start, restMs)
  else setImmediate(start)
}

async function fly(commits: Commits): Promise<void> {
  const { link, lanes } = commits
  if (commits.isFlying || commits.isClosed) return
  if (!link.isUsable()) return dropWaiting(lanes)
  for (const lane of lanes.all) prepare(commits, lane)
  const flying = lanes.all.filter((lane) => lane.sending !== undefined)
  if (flying.length === 0) return
  commits.isFlying = true
  commits.flewMs = performance.now()
  const replies = await send(commits, flying)
  commits.isFlying = false
  if (commits.isClosed) return
  flying.forEach((lane, i) => {
    if (lane.sending !== undefined) takeReply(lanes, lane, lane.sending, replies[i] as Error | Buffer)
  })
  if (flying.some(({ sending }) => sending?.isUnknown === true)) {
    clearTimeout(commits.timer)
    commits.timer = setTimeout(schedule, RESEND_MS, commits)
  } else if (lanes.all.some(({ waiting, sending }) => waiting.length > 0 || sending !== undefined)) schedule(commits)
}

/** Nothing of these was sent, nor anything in front of them: who waits hears so at once. */
function dropWaiting(lanes: Lanes): void {
  for (const lane of lanes.all) {
    if (lane.sending === undefined) refuse(lanes, lane, 'storage_unavailable', 'Redis is away: send it again later')
  }
}

function prepare({ lanes, pressure, of }: Commits, lane: Lane): void {
  if (lane.sending === undefined && pressure.isCrowded() && !lane.waiting.every(isOfServer)) {
    return refuse(lanes, lane, 'overloaded', 'the memory of Redis is nearly full')
  }
  load(lanes, lane, of)
}

function queue(commits: Commits, pipeline: ChainableCommander, lane: Lane): void {
  const { of, seen } = commits
  const { heads, bodies, isUnknown } = lane.sending as Sending
  if (isUnknown) commits.resends++
  const { state, stream, node, records, marks } = lane.keys
  const bounds = [lane.number, seen.watermark, of.waitingRecordsMax, of.shardBacklogMax]
  queueScript(
    pipeline,
    appendScript,
    [state, stream, node + lane.boot, commits.floor],
    [...bounds, records, marks, heads, bodies],
  )
}

/** Resolves with the reply for each lane: bytes of the server, or why there are none. */
async function send(commits: Commits, flying: readonly Lane[]): Promise<(Error | Buffer)[]> {
  const { link, of } = commits
  const pipeline = link.redis.pipeline()
  for (const lane of flying) queue(commits, pipeline, lane)
  if (of.replicasMin > 0) {
    for (const ms of [...ASKED_AGAIN_MS, of.replicasWaitMs]) pipeline.call('WAITAOF', [1, of.replicasMin, ms])
  }
  const results = (await pipeline.exec()) ?? []
  const replicas = results.splice(flying.length).at(-1)
  const isWaitedFor = replicas === undefined || Number((replicas[1] as number[] | undefined)?.[1]) >= of.replicasMin
  const replies = results.map(([error, reply]) => error ?? (reply as Buffer))
  const errors = replies.filter((reply) => reply instanceof Error)
  if (errors.some(isUnanswered)) link.reconnect()
  if (errors.some(isUnknownScript)) await loadScript(link.redis, appendScript).catch(() => undefined)
  return isWaitedFor ? replies : replies.map((reply) => (reply instanceof Error ? reply : withoutReplicas()))
}

/** The driver gave up on it: what the server does is not known. */
const isUnanswered = (error: Error): boolean => error.message === 'Command timed out'
const withoutReplicas = (): Error => new Error('the replicas have not said that they have it')

function takeReply(lanes: Lanes, lane: Lane, sending: Sending, reply: Error | Buffer): void {
  if (!(reply instanceof Error)) return takeAnswer(lanes, lane, sending, reply)
  const code = reply.message.split(' ', 1)[0]
  if (code === 'STALE') rename(lanes, lane)
  if (code === 'NOSCRIPT') return
  // Told by the server at the first try: nothing is stored. Else an earlier try may have been, or still be on its way.
  if (reply.name !== 'ReplyError' || sending.isUnknown) sending.isUnknown = true
  else if (code === 'OOM') refuse(lanes, lane, 'overloaded', 'the memory of Redis is full')
  else refuse(lanes, lane, 'storage_unavailable', `Redis does not take it: ${code}`)
}

function takeAnswer(lanes: Lanes, lane: Lane, sending: Sending, reply: Buffer): void {
  const kind = reply.toString('latin1', 0, 1)
  if (kind === REPLY_ANSWERS) {
    applyAnswers(reply.subarray(1), sending.envelopes)
    finish(lanes, lane, sending)
  } else if (kind === REPLY_FORGOTTEN) rename(lanes, lane)
  else if (kind === REPLY_OVERLOADED && !sending.isUnknown) {
    refuse(lanes, lane, 'overloaded', 'too many entries of this shard are not done')
  }
}

/** `newBoot` gives a name that nobody had before. */
export function createIntake(
  link: Link,
  prefix: string,
  of: IntakeLimits,
  pressure: Pressure,
  seen: Seen,
  newBoot: () => string,
): RedisIntake {
  const lanes = createLanes(prefix, of.shards, newBoot)
  const commits: Commits = {
    link,
    of,
    pressure,
    floor: floorKey(prefix),
    seen,
    lanes,
    isFlying: false,
    flewMs: Number.NEGATIVE_INFINITY,
    isScheduled: false,
    isClosed: false,
    resends: 0,
    timer: undefined,
  }
  link.onUsable(() => schedule(commits))

  function hand(lane: Lane, batch: Call['batch']): Promise<void> {
    return new Promise((resolve, reject) => {
      let bytes = 0
      for (const envelope of batch) bytes += bodyBytes(envelope)
      lanes.waitingEnvelopes += batch.length
      lane.waiting.push({ batch, bytes, resolve, reject })
      if (commits.isClosed) refuse(lanes, lane, 'storage_unavailable', 'the intake is closed')
      else schedule(commits)
    })
  }

  return {
    shards: of.shards,
    async append(shard, batch) {
      const lane = lanes.all[shard]
      if (lane === undefined) throw new RangeError(`there is no shard ${shard}`)
      await hand(lane, batch)
    },
    isFull: (device) => pressure.isFull(device),
    refusal() {
      if (!link.isUsable()) return 'storage_unavailable'
      return pressure.isCrowded() || lanes.waitingEnvelopes > of.waitingEnvelopesMax ? 'overloaded' : undefined
    },
    facts: () => ({ waitingEnvelopes: lanes.waitingEnvelopes, resends: commits.resends }),
    close() {
      commits.isClosed = true
      clearTimeout(commits.timer)
      for (const lane of lanes.all) refuse(lanes, lane, 'storage_unavailable', 'the intake is closed')
    },
  }
}
