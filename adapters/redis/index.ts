/**
 * Redis of a cluster: the intake and what its workers read, the state of devices, and what all nodes share of
 * registering. Three connections: a worker's long answers do not hold up a PUBACK, and one waits for wakes.
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
  RowCounts,
  Wakes,
} from '../../core/ports.ts'
import { checkServer } from './check.ts'
import { createSharedClaims, type OnWake } from './claims.ts'
import { createCodes } from './codes.ts'
import { type ConnectionLimits, connectionLimits, openLink } from './connection.ts'
import { createDeadLetters } from './dead-letters.ts'
import { createDeviceStates } from './device-states.ts'
import { createEntryLog } from './entry-log.ts'
import { createIntake, type IntakeLimits, intakeLimits } from './intake.ts'
import { KEY_PREFIX } from './keys.ts'
import { createLimiter } from './limiter.ts'
import { createLinks } from './links.ts'
import { watchPressure } from './pressure.ts'
import { createRowCounts } from './row-counts.ts'

export interface RedisOptions {
  readonly prefix?: string
  readonly intake?: Partial<IntakeLimits>
  readonly connection?: Partial<ConnectionLimits>
  readonly codesMax?: number
  /** Name of this process among those that share the server: of its own for each start. */
  readonly node?: string
  readonly onWake?: OnWake
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
  readonly deadLetters: DeadLetters
  readonly codes: Codes
  readonly links: Links
  readonly limiter: Limiter
  /** What a PUBACK rests on, in a sentence. */
  readonly promise: string
  /** Connected, and the server keeps the promise: for readiness. */
  isUsable(): boolean
  readonly counts: RowCounts
  facts(): Record<string, number | string>
  close(): void
}

const CODES_MAX = 100_000
const BUCKETS_MAX = 500_000
const BOOT_BYTES = 12

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
  const link = await openLink(url, ofConnection, check, warn)
  const ofIntake = await openLink(url, ofConnection, check, warn).catch((error: Error) => {
    link.close()
    throw error
  })
  const listening = await openLink(url, ofConnection, check, warn).catch((error: Error) => {
    link.close()
    ofIntake.close()
    throw error
  })
  const node = options.node ?? randomBytes(BOOT_BYTES).toString('hex')
  const shared = createSharedClaims(link, listening, prefix, node, options.onWake ?? (() => undefined))
  const seen = Array.from({ length: of.shards }, () => 0)
  const pressure = watchPressure(link, prefix)
  const intake = createIntake(ofIntake, prefix, of, pressure, seen, () => randomBytes(BOOT_BYTES).toString('base64url'))
  const entries = createEntryLog(link, prefix, of.shards, seen)
  const links = createLinks(link, prefix, clockOffsetMs)
  await Promise.all([pressure.look(), entries.watermarks()])
  return {
    intake,
    entries,
    devices: createDeviceStates(link, prefix, of.shards),
    claims: shared.claims,
    wakes: shared.wakes,
    deadLetters: createDeadLetters(link, prefix),
    codes: createCodes(link, prefix, options.codesMax ?? CODES_MAX, clockOffsetMs),
    links,
    limiter: createLimiter(link, prefix, options.bucketsMax ?? BUCKETS_MAX, clockOffsetMs),
    promise,
    isUsable: () => link.isUsable() && ofIntake.isUsable(),
    counts: createRowCounts(link, prefix, pressure),
    facts: () => ({ ...pressure.facts(), ...intake.facts(), claims: shared.devices() }),
    close() {
      pressure.stop()
      links.stop()
      shared.stop()
      intake.close()
      ofIntake.close()
      listening.close()
      link.close()
    },
  }
}
