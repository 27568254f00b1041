/**
 * The ports of a profile whose intake is a log that workers read (D1-D3). Part of core/ports.ts, which gives them to
 * everybody; comments state what is atomic, ordered, idempotent and bounded.
 */
import type { Envelope } from './envelope.ts'
import type { InboxState } from './row.ts'

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
   */
  read(shard: number, limit: number): Promise<Entry[]>
  /** Moves the done cursor to this entry, and only upwards. Atomic, idempotent, durable when it resolves. */
  done(shard: number, id: string): Promise<void>
  /** Counts one more attempt at an entry that is not done, and resolves with how many there were, this one included. */
  attempts(shard: number, id: string): Promise<number>
  /**
   * Publishes the shard's low watermark (D3) and resolves with it: rows of the shard at or below it are all written,
   * and no append will give a number at or below it. Atomic with raising the shard's last number. Only rises.
   */
  publish(shard: number): Promise<number>
  /** The watermarks published last, by shard; 0 for none. A reader's cursor stays at or below the least of them. */
  watermarks(): Promise<readonly number[]>
  /** Drops entries that were done when it was called 60 s ago or before, by the store's clock. Idempotent. */
  trim(shard: number): Promise<void>
  /** How many entries are not done. */
  backlog(shard: number): Promise<number>
}

/** What a store of rows does not keep of a device, because it has to be quick and exact: flags, records, marks. */
export interface DeviceStates {
  /** One round trip. A device that was not closed has everything appended until now as its `sentSeq`. */
  open(device: string): Promise<InboxState>
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
