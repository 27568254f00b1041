/**
 * The turn of a shard (D2): what was appended becomes rows (A2), devices with new rows are woken (B5), then the entries
 * are done. Run again, or by two workers at once, it writes the same rows. Bounded: entries of one step, and the time
 * of a turn. An entry that fails again and again is taken envelope by envelope, and what cannot be applied goes to the
 * dead letters with its reason.
 */
import { TURN_IDLE_MS } from '../core/cluster.ts'
import { type Envelope, IntakeFault, type Target } from '../core/envelope.ts'
import { rowBytesMax, rowKind, writeRow } from '../core/plan.ts'
import {
  type Entry,
  type EntryLog,
  type InboxRows,
  type Log,
  type Row,
  StoreDownFault,
  type Wakes,
} from '../core/ports.ts'

export interface StoragePorts {
  readonly entries: EntryLog
  readonly rows: InboxRows
  readonly wakes: Wakes
  readonly log: Log
  /** The envelope cannot be applied: it is kept and its sender told, when this resolves (core/dead-letters). */
  bury(envelope: Envelope, reason: string): Promise<void>
  /** Rows are written and their devices woken, but for those that are connected nowhere. May come again. Quick. */
  written(rows: readonly Row[], absent: readonly string[]): void
}

const ENTRIES_PER_STEP = 64
const TURN_MS_MAX = 2_000
/**
 * Steps begin at multiples of this time: those of all shards at once, so that what they ask of the stores travels
 * together, and what was appended meanwhile is taken together. A full step is followed by the next at once.
 */
const TICK_MS = 10
/** An empty shard is looked at so often before its turn ends. */
const TICKS_WHEN_EMPTY = TURN_IDLE_MS / TICK_MS
/** From this attempt on an entry is taken envelope by envelope. */
const ATTEMPT_APART = 3

const isStoreDown = (error: unknown): boolean =>
  error instanceof StoreDownFault || (error instanceof IntakeFault && error.code === 'storage_unavailable')

/** Rows of an envelope, in one buffer. */
export function rowsOf(envelope: Envelope): Row[] {
  let bytes = 0
  for (let i = 0; i < envelope.targets.length; i++) bytes += rowBytesMax(envelope, i)
  const source = Buffer.allocUnsafe(bytes)
  let at = 0
  return envelope.targets.map((target: Target, i) => {
    const start = at
    at = writeRow(source, start, envelope, i)
    return {
      device: target.device,
      seq: envelope.seq,
      sub: envelope.shard,
      kind: rowKind(target),
      peer: target.receiptTo,
      expiresMs: envelope.expiresMs,
      source,
      start,
      end: at,
    }
  })
}

async function applyApart(ports: StoragePorts, shard: number, entry: Entry): Promise<Row[]> {
  const applied: Row[] = []
  for (const envelope of entry.envelopes) {
    try {
      const rows = rowsOf(envelope)
      await ports.rows.apply(rows)
      applied.push(...rows)
    } catch (error) {
      if (isStoreDown(error)) throw error
      await ports.bury(envelope, (error as Error).message)
      ports.log.error({ shard, seq: envelope.seq, error: (error as Error).message }, 'an envelope is a dead letter')
    }
  }
  return applied
}

/** Gives the rows that were written. Throws when the entry is to be tried again. */
async function applyEntries(ports: StoragePorts, shard: number, entries: readonly Entry[]): Promise<Row[]> {
  try {
    const rows = entries.flatMap(({ envelopes }) => envelopes.flatMap(rowsOf))
    await ports.rows.apply(rows)
    return rows
  } catch (error) {
    // A store that is down says nothing of the entry, and of several it is not known which one it is.
    const [first] = entries as [Entry]
    if (isStoreDown(error) || entries.length > 1) throw error
    if ((await ports.entries.attempts(shard, first.id)) < ATTEMPT_APART) throw error
    return applyApart(ports, shard, first)
  }
}

interface Step {
  readonly entries: number
  /** The last entry that is done. */
  readonly done: string | undefined
}

/** One step, behind the entry that the one before has done. */
async function step(ports: StoragePorts, shard: number, after: string | undefined): Promise<Step> {
  let entries = await ports.entries.read(shard, ENTRIES_PER_STEP, after)
  const [first] = entries
  if (first === undefined) return { entries: 0, done: after }
  let rows: Row[]
  try {
    rows = await applyEntries(ports, shard, entries)
  } catch (error) {
    if (isStoreDown(error) || entries.length === 1) throw error
    // Which one it is shows alone.
    entries = [first]
    rows = await applyEntries(ports, shard, entries)
  }
  ports.written(rows, await ports.wakes.hand(rows))
  const last = entries.at(-1) ?? first
  await ports.entries.done(shard, last)
  return { entries: entries.length, done: last.id }
}

function untilTick(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, TICK_MS - (performance.now() % TICK_MS)))
}

/** A turn. Resolves with whether more is left; rejects when a store does not answer: the shard's next turn goes on. */
export async function takeTurn(ports: StoragePorts, shard: number, isStopping: () => boolean): Promise<boolean> {
  const untilMs = performance.now() + TURN_MS_MAX
  let done: string | undefined
  for (let empty = 0; empty < TICKS_WHEN_EMPTY; ) {
    if (performance.now() > untilMs || isStopping()) return true
    const taken = await step(ports, shard, done)
    done = taken.done
    empty = taken.entries > 0 ? 0 : empty + 1
    if (taken.entries < ENTRIES_PER_STEP) await untilTick()
  }
  await ports.entries.trim(shard)
  return (await ports.entries.backlog(shard)) > 0
}
