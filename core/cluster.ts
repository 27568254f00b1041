/**
 * The ports of a profile whose intake is a log that workers read (D1-D3). Part of core/ports.ts, which gives them to
 * everybody; comments state what is atomic, ordered, idempotent and bounded.
 */
import type { Envelope } from './envelope.ts'
import type { InboxCursor, InboxState, Row } from './row.ts'

/** One appended batch as its workers see it. */
export interface Entry {
  /** Opaque; rises within its shard. */
  readonly id: string
  /** Those that were VERDICT_NEW, in order, with their seq: everything `plan` needs. At least one. */
  readonly envelopes: readonly Envelope[]
}

/** What was appended and waits to be applied. Durable: entries and cursors survive a kill of any process. */
export interface EntryLog {
  /**
   * Entries behind the done cursor, in the order of their numbers. Takes nothing away: two readers get the same.
   * Bounded by `limit`. Rejects with a RangeError when an entry is of a newer version: nothing behind it may be read.
   * `after` is an entry that the reader knows is done: the cursor is not asked for then.
   */
  read(shard: number, limit: number, after?: string): Promise<Entry[]>
  /**
   * Moves the done cursor to this entry, and only upwards, and publishes the watermark. Atomic, idempotent, durable
   * when it resolves.
   */
  done(shard: number, entry: Entry): Promise<void>
  /** Counts one more attempt at an entry that is not done, and resolves with how many there were, this one included. */
  attempts(shard: number, id: string): Promise<number>
  /**
   * Publishes the low watermark of all shards (D3) and resolves with it: rows at or below it are all written, and no
   * append will give a number at or below it. Atomic with what makes appends number above it. Only rises. All nodes
   * hear of it, behind all wakes that were handed over for rows up to it.
   */
  publish(): Promise<number>
  /** The highest number that any shard has given. */
  appendedSeq(): Promise<number>
  /** Drops entries that were done when it was called 60 s ago or before, by the store's clock. Idempotent. */
  trim(shard: number): Promise<void>
  /** How many entries are not done. */
  backlog(shard: number): Promise<number>
}

/** What a store of rows does not keep of a device, because it has to be quick and exact: flags, records, marks. */
export interface DeviceStates {
  /**
   * One round trip. A device that was not closed has everything appended until now as its `sentSeq`; `appendedSeq` is
   * the highest number that was given until now.
   */
  open(device: string): Promise<InboxState & { readonly appendedSeq: number }>
  /** Sets or clears "has subscribed" durably before it resolves. Idempotent. */
  setSubscribed(device: string, subscribed: boolean): Promise<void>
  /** Advances the packet-id slot (B2), durably before it resolves with it: 0..62. The device counts as open then. */
  advanceSlot(device: string): Promise<number>
  /**
   * The connection with this slot ended: everything up to `sentSeq` may have been seen. Raises `sentSeq` only. A
   * connection that took over has another slot, and stays open. Idempotent.
   */
  close(device: string, slot: number, sentSeq: number): Promise<void>
  /** Ends waiting records, in whatever shard they are. Idempotent, durable when it resolves. */
  settle(device: string, stamps: readonly number[]): Promise<void>
  /** Forgets a revoked device. Idempotent. */
  drop(device: string): Promise<void>
  /**
   * The highest delivered mark of (by, peer) that was appended in `pairShard(by, peer)`; 0 for none, or for one older
   * than any row can be.
   */
  markOf(by: string, peer: string): Promise<number>
}

/**
 * A store of the cluster does not answer, or not in time. What was asked of it may have happened or not: the calls
 * that reject with it are idempotent, so ask again. Anything else that a call rejects with is wrong in itself, and no
 * second try mends it.
 */
export class StoreDownFault extends Error {
  readonly store: string
  constructor(store: string, message: string) {
    super(message)
    this.store = store
  }
}

/**
 * Rows of inboxes alone, in a store of many nodes: immutable, ordered by position, and gone 33 days after they were
 * written. They do not leave one by one: a cursor for each device says where reading begins (D4). All methods are
 * idempotent, may run in any number of processes at once, and reject with a StoreDownFault within 5 s when the store
 * does not answer; `apply` begins nothing more then.
 */
export interface InboxRows {
  /**
   * Writes rows; when it resolves, all of them are durable and every `page` sees them. Not atomic: after a rejection
   * any of them may be there, which is why nobody reads above the watermark. A row that is written again, in whatever
   * order and however late, stays what it is. The bytes must not change before it resolves.
   */
  apply(rows: readonly Row[]): Promise<void>
  /**
   * Rows above (afterSeq, afterSub) and above the device's cursor whose seq is not above `upToSeq`, without those that
   * the cursor names as acknowledged: in order, with their bytes, at most `limit`, ending with the row that goes beyond
   * 1 MiB. Empty only when there are none. It costs one read, and one or more for each day that has rows between.
   */
  page(device: string, afterSeq: number, afterSub: number, upToSeq: number, limit: number): Promise<Row[]>
  /**
   * How many rows are above the device's cursor and not named by it, counted up to `limit`. It reads their positions
   * alone, in steps; rows that are written or acknowledged meanwhile may be counted or not.
   */
  waiting(device: string, limit: number): Promise<number>
  /** Where reading begins; (0, 0) for a device that has acknowledged nothing yet. */
  cursor(device: string): Promise<InboxCursor>
  /**
   * The cursor with the highest position stays, whichever arrives last; of two with one position the one with more
   * above. Of `above` the lowest 1,024 are kept: what is left out is sent again, never lost.
   */
  saveCursor(device: string, cursor: InboxCursor): Promise<void>
  /** Removes what is at or below the cursor, for privacy: nobody reads it any more. */
  purge(device: string): Promise<void>
  /**
   * Removes everything of a device that was revoked when the intake was at `atSeq`, also rows that are applied later
   * and numbered up to a minute behind it. Ids of devices are never given again, so nothing may come after that.
   */
  drop(device: string, atSeq: number): Promise<void>
}

/**
 * How many rows wait for each device, as a guess that is not below what was noted since it was set, and which inboxes
 * are full (B6). Shared by all nodes. Rejects when the store is away.
 */
export interface RowCounts {
  /** Adds rows that were written; resolves with the guesses behind that. One that nobody raises ends after 35 days. */
  add(written: ReadonlyMap<string, number>): Promise<ReadonlyMap<string, number>>
  /** The device's rows were counted. Rows that are being added meanwhile may be in both. */
  set(device: string, rows: number): Promise<void>
  /** Every node hears of it within a second or two: its intake refuses, or takes again. Idempotent. */
  setFull(device: string, isFull: boolean): Promise<void>
  /** Devices that are full, at most `limit` of them, any. */
  fullDevices(limit: number): Promise<string[]>
}

/**
 * How a worker tells the nodes of rows that it has written. They carry the rows, so that who is current reads nothing.
 * Droppable: the inbox is the truth, and a node that may have missed some reads it.
 */
export interface Wakes {
  /** These rows are written. Resolves when that was handed over, with the devices that are connected nowhere. */
  hand(rows: readonly Row[]): Promise<readonly string[]>
}

/** Claims that nodes left behind when they died. Rejects with a StoreDownFault. */
export interface LostClaims {
  /** Nodes that were there and are not heard now. */
  nodes(): Promise<string[]>
  /**
   * One bounded step through all claims: those of these nodes, by device. '' begins, and is given behind the last step.
   * A device may come twice.
   */
  claims(
    nodes: readonly string[],
    cursor: string,
  ): Promise<{ readonly claims: ReadonlyMap<string, string>; readonly cursor: string }>
  /** Ends those that are still as they were: rows find nobody there from then on. Idempotent. */
  release(claims: ReadonlyMap<string, string>): Promise<void>
  /** They are not named again, unless they come back. Idempotent. */
  forget(nodes: readonly string[]): Promise<void>
}

/** What operators see of a dead letter: never its content. */
export interface DeadLetter {
  /** `<shard>-<seq>`. */
  readonly id: string
  readonly shard: number
  readonly acceptedMs: number
  /** Who sent it; '' when the server did. */
  readonly device: string
  readonly targets: readonly string[]
  readonly bytes: number
  readonly reason: string
}

/** What could not be applied, kept with its reason until somebody looks at it. Bounded; the oldest go. */
export interface DeadLetters {
  /** Durable when it resolves. Idempotent for (shard, seq). */
  put(envelope: Envelope, reason: string): Promise<void>
  count(): Promise<number>
  /** The newest, newest first, at most `limit`. */
  list(limit: number): Promise<readonly DeadLetter[]>
  /** The envelope as it was put; undefined when there is none of that id. */
  envelope(id: string): Promise<Envelope | undefined>
  /** Forgets it; false when there is none. */
  remove(id: string): Promise<boolean>
}

/** A turn that finds nothing more looks on for so long: under load the next entry is on its way. */
export const TURN_IDLE_MS = 50

/** Which worker works on which shard (D2). Nothing rests on it: two may have the same turn, and do the same. */
export interface Turns {
  /** The turn of a worker that is silent for so long has been given to another. */
  readonly silentMsMax: number
  /** There is something in the shard. Droppable: workers look at all shards by themselves. Never rejects. */
  nudge(shard: number): void
  /**
   * Has a turn of the shard queued; one that is queued or under way already is it. Resolves with false when the store
   * is too full for that. Droppable: true also when the store does not answer. Never rejects.
   */
  queue(shard: number): Promise<boolean>
  /**
   * Takes turns that are queued until stopped, which waits for those under way. `run` resolves with whether more is
   * left, and never rejects.
   */
  work(run: (shard: number) => Promise<boolean>): () => Promise<void>
}
