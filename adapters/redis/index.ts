/**
 * Redis of a cluster: the intake and what its workers read, the state of devices, and what all nodes share of
 * registering. Three connections: a worker's long answers do not hold up a PUBACK, and one hears of wakes.
 */
import { randomBytes } from 'node:crypto'
import type {
  Claims,
  Clock,
  Codes,
  DeadLetters,
  DeviceStates,
  EntryLog,
  Intake,
  Limiter,
  Links,
  LostClaims,
  Row,
  RowCounts,
  Wakes,
} from '../../core/ports.ts'
import { unknownRow } from '../../core/row.ts'
import type { BreakerState } from '../opened.ts'
import { checkServer } from './check.ts'
import { createSharedClaims, type SharedClaims } from './claims.ts'
import { createCodes } from './codes.ts'
import { type ConnectionLimits, connectionLimits, type Link, openLink } from './connection.ts'
import { createDeadLetters } from './dead-letters.ts'
import { createDeviceStates } from './device-states.ts'
import { createEntryLog } from './entry-log.ts'
import { createIntake, type IntakeLimits, intakeLimits, type Seen } from './intake.ts'
import { KEY_PREFIX } from './keys.ts'
import { createLimiter } from './limiter.ts'
import { createLinks } from './links.ts'
import { createLostClaims, noteNode } from './lost-claims.ts'
import { type Heard, listenToNode, type NodeChannel } from './node-channel.ts'
import { watchPressure } from './pressure.ts'
import { createRowCounts } from './row-counts.ts'
import { createSharedSecrets } from './secrets.ts'
import { decodeRows } from './wake-rows.ts'

/** What a node is told, in the order in which it happened: a watermark comes behind the rows up to it. */
export interface Hears {
  /** Rows were written for devices that are claimed here. */
  onRows(rows: readonly Row[]): void
  onWatermark(watermark: number): void
  /** From now on rows may be missed. */
  onLost(): void
  /** Rows may have been missed; from now on all are heard. */
  onGap(): void
}

export interface RedisOptions {
  readonly prefix?: string
  readonly intake?: Partial<IntakeLimits>
  readonly connection?: Partial<ConnectionLimits>
  readonly codesMax?: number
  /** Name of this process among those that share the server: of its own for each start. */
  readonly node?: string
  readonly hears?: Hears
  readonly bucketsMax?: number
  /** Added to the server's time by codes, links and limiter: tests move it. */
  readonly clockOffsetMs?: () => number
}

export interface OpenedRedis {
  readonly intake: Intake
  readonly entries: EntryLog
  readonly devices: DeviceStates
  readonly claims: Claims
  readonly wakes: Wakes
  readonly lost: LostClaims
  readonly deadLetters: DeadLetters
  readonly codes: Codes
  readonly links: Links
  readonly limiter: Limiter
  /** All devices that are claimed here read their inboxes. */
  wakeAll(): void
  /** The highest number that any shard has given. */
  appendedSeq(): Promise<number>
  /** What a PUBACK rests on, in a sentence. */
  readonly promise: string
  /** Connected, and the server keeps the promise: for readiness. */
  isUsable(): boolean
  breaker(): BreakerState
  readonly counts: RowCounts
  /** The deployment's value of this name: `own`, where there was none. */
  shareSecret(name: string, own: string): Promise<string>
  facts(): Record<string, number | string>
  /** Entries that are not done, by shard, a second ago at most while the server answers. */
  backlogs(): readonly number[]
  close(): void
}

const nothing = (): void => undefined
const HEARS_NOTHING: Hears = { onRows: nothing, onWatermark: nothing, onLost: nothing, onGap: nothing }
const CODES_MAX = 100_000
const BUCKETS_MAX = 500_000
const BOOT_BYTES = 12

type Check = Parameters<typeof openLink>[2]

/** One with a breaker, one for the intake, which waits by itself, and one that only listens; all, or none. */
async function openLinks(
  url: string,
  of: ConnectionLimits,
  check: Check,
  warn: (text: string) => void,
  beatKey: string,
): Promise<[Link, Link, Link]> {
  const open: Link[] = []
  try {
    open.push(await openLink(url, of, check, warn, beatKey))
    for (const each of [check, async () => undefined]) open.push(await openLink(url, of, each, warn))
    return open as [Link, Link, Link]
  } catch (error) {
    for (const link of open) link.close()
    throw error
  }
}

/** What the channel tells, in the words of the core. */
function heardBy(hears: Hears, seen: Seen, shared: SharedClaims, warn: (text: string) => void): Heard {
  let isTold = false
  return {
    onLines: (text) => shared.take(text),
    onRows(message) {
      const rows = decodeRows(message)
      if (rows !== undefined) hears.onRows(rows)
      else if (!isTold) warn('a wake could not be read, and inboxes are read instead: is another version running?')
      isTold ||= rows === undefined
      return rows !== undefined
    },
    onWatermark(watermark) {
      seen.watermark = Math.max(seen.watermark, watermark)
      hears.onWatermark(watermark)
    },
    onLost: () => hears.onLost(),
    onGap() {
      hears.onGap()
      shared.compare().catch(() => undefined)
    },
    warn,
  }
}

/** Connects to the server, which must keep the promise; rejects with a sentence that says what to set. */
export async function openRedis(
  url: string,
  now: Clock,
  warn: (text: string) => void,
  options: RedisOptions = {},
): Promise<OpenedRedis> {
  const { prefix = KEY_PREFIX, clockOffsetMs = () => 0 } = options
  const of = { ...intakeLimits, ...options.intake }
  const ofConnection = { ...connectionLimits, ...options.connection }
  const demands = { prefix, shards: of.shards, replicasMin: of.replicasMin }
  let promise = ''
  const check = async (redis: Parameters<typeof checkServer>[0]): Promise<void> => {
    promise = await checkServer(redis, demands, now)
  }
  const node = options.node ?? randomBytes(BOOT_BYTES).toString('hex')
  const [link, ofIntake, listening] = await openLinks(url, ofConnection, check, warn, `${prefix}beat:${node}`)
  const shared = createSharedClaims(link, prefix, node)
  const seen = { watermark: 0 }
  const pressure = watchPressure(link, prefix, of.shards, () => {
    for (const each of [link, ofIntake]) each.reconnect()
  })
  const intake = createIntake(ofIntake, prefix, of, pressure, seen, () => randomBytes(BOOT_BYTES).toString('base64url'))
  const heard = heardBy(options.hears ?? HEARS_NOTHING, seen, shared, warn)
  const channel: NodeChannel = await listenToNode(listening, prefix, node, {
    ...heard,
    onGap() {
      heard.onGap()
      noteNode(link, prefix, node).catch(() => undefined)
    },
  })
  const entries = createEntryLog(link, prefix, of.shards, seen, (watermark) => channel.published(watermark))
  const links = createLinks(link, prefix, clockOffsetMs)
  await Promise.all([pressure.look(), entries.publish(), noteNode(link, prefix, node)])
  return {
    intake,
    entries,
    devices: createDeviceStates(link, prefix, of.shards),
    claims: shared.claims,
    wakes: shared.wakes,
    lost: createLostClaims(link, prefix),
    deadLetters: createDeadLetters(link, prefix),
    codes: createCodes(link, prefix, options.codesMax ?? CODES_MAX, clockOffsetMs),
    links,
    limiter: createLimiter(link, prefix, options.bucketsMax ?? BUCKETS_MAX, clockOffsetMs),
    wakeAll() {
      for (const device of [...shared.devices()]) shared.claims.wake(device, unknownRow(device))
    },
    appendedSeq: () => entries.appendedSeq(),
    ...{ promise, breaker: link.breaker, backlogs: pressure.backlogs },
    isUsable: () => link.isUsable() && ofIntake.isUsable(),
    counts: createRowCounts(link, prefix, pressure),
    shareSecret: createSharedSecrets(link, prefix),
    facts: () => ({ ...pressure.facts(), ...intake.facts(), claims: shared.count() }),
    close() {
      pressure.stop()
      links.stop()
      channel.stop()
      shared.stop()
      intake.close()
      ofIntake.close()
      listening.close()
      link.close()
    },
  }
}
