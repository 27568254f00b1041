/**
 * An envelope: what the server sees of one message, or a mark that the server makes itself. Ingress fills it, the
 * intake decides `verdict` and `seq` (A1, A3), `plan` turns it into inbox rows (A2).
 */
import type { Mark, Row } from './row.ts'

/** How the intake recognises a repeated request (A3). */
export const DEDUPE_NONE = 0
/** A record waits until the device acknowledges `accepted`. */
export const DEDUPE_RECORD = 1
/** Not above the last stamp: answered as done. Things' `<n>`. */
export const DEDUPE_RISING = 2

export const VERDICT_PENDING = 0
export const VERDICT_NEW = 1
export const VERDICT_AGAIN = 2
export const VERDICT_BEHIND = 3
/** Too many records wait: RETRY_LATER. */
export const VERDICT_FULL = 4
/** `after_seq` is ahead of the store: refused for good. */
export const VERDICT_AHEAD = 5

export const BODY_FRAME = 0
export const BODY_DELIVERY = 1
export const BODY_MARK = 2

/** One device that gets a row. Reused for every message of a connection to the same recipient. */
export interface Target {
  readonly device: string
  /**
   * BODY_FRAME: payload behind the topic as it stands; BODY_DELIVERY: wrapped in a Delivery; BODY_MARK: kept to be
   * merged.
   */
  readonly body: typeof BODY_FRAME | typeof BODY_DELIVERY | typeof BODY_MARK
  /** Topic of the PUBLISH as bytes. */
  readonly topic: Uint8Array
  /** The seq is appended to the topic as one more level. */
  readonly numbered: boolean
  /** A copy for another device of the sender. */
  readonly own: boolean
  /** Delivery.peer: the other user of the conversation as this device sees it. */
  readonly peer: Uint8Array
  /** Key of the user who gets a delivered mark when this device acknowledges; '' for none. */
  readonly receiptTo: string
}

export interface Body {
  /** Field number of the body in Delivery. */
  readonly field: number
  readonly start: number
  readonly end: number
}

export interface Envelope {
  /** Where its conversation lives (core/shards). */
  readonly shard: number
  /** Sending device; '' when the server made the envelope. */
  readonly device: string
  readonly deviceNumber: number
  readonly stamp: number
  readonly hash: number
  readonly dedupe: typeof DEDUPE_NONE | typeof DEDUPE_RECORD | typeof DEDUPE_RISING
  readonly afterSeq: number
  readonly expiresMs: number
  /** Key of the conversation's other user, for the record. */
  readonly peer: string
  readonly source: Uint8Array
  readonly targets: readonly Target[]
  /** Parallel to `targets`; a single one serves all targets. */
  readonly bodies: readonly Body[]
  /**
   * The delivered mark that this envelope carries: no longer pending once it is stored. Where several nodes append, one
   * that says no more than what was said before it is VERDICT_AGAIN.
   */
  readonly mark: Mark | undefined
  verdict: number
  seq: number
  /** For VERDICT_BEHIND. */
  lastStamp: number
  /** The rows that were stored, to wake their devices with. */
  rows: Row[]
}

/** Replaced, never filled. */
export const NO_ROWS: Row[] = []

/** Every key is always there: one hidden class for all envelopes, and no spread on the hot path. */
export function pendingEnvelope(fields: Omit<Envelope, 'verdict' | 'seq' | 'lastStamp' | 'rows' | 'mark'>): Envelope {
  const { shard, device, deviceNumber, stamp, hash, dedupe, afterSeq, expiresMs, peer, source, targets, bodies } =
    fields
  return {
    shard,
    device,
    deviceNumber,
    stamp,
    hash,
    dedupe,
    afterSeq,
    expiresMs,
    peer,
    source,
    targets,
    bodies,
    mark: undefined,
    verdict: VERDICT_PENDING,
    seq: 0,
    lastStamp: 0,
    rows: NO_ROWS,
  }
}

/** A batch could not be stored; nothing of it was. `code` is a name of the error catalogue. */
export class IntakeFault extends Error {
  readonly code: 'disk_full' | 'corrupt_store' | 'storage_unavailable' | 'overloaded'
  constructor(code: IntakeFault['code'], message: string) {
    super(message)
    this.code = code
  }
}
