/** What an inbox is made of: rows, request records, delivered marks. */

export const ROW_FRAME = 0
export const ROW_MARK = 1

/**
 * A row of a device's inbox. Position is (seq, sub); the bytes are `source[start..end)`: ROW_FRAME: a whole QoS 1
 * PUBLISH with packet id 0; ROW_MARK: an encoded Delivery with Receipts, merged when it is sent.
 */
export interface Row {
  readonly device: string
  readonly seq: number
  readonly sub: number
  readonly kind: typeof ROW_FRAME | typeof ROW_MARK
  /** Key of the other user of the conversation when acknowledging this row makes a delivered mark, else ''. */
  readonly peer: string
  /** Unix ms after which it is not delivered any more; 0: the inbox's own limit. */
  readonly expiresMs: number
  source: Uint8Array | undefined
  start: number
  end: number
}

/** Of a row in an inbox: rows are ordered by seq, then sub. */
export interface Position {
  readonly seq: number
  readonly sub: number
}

/** Everything at or below the position is acknowledged, and so are the rows at the positions in `above`. */
export interface InboxCursor extends Position {
  readonly above: readonly Position[]
}

/** A request record (A3) that waits for the device to acknowledge its `accepted`. */
export interface RequestRecord {
  readonly stamp: number
  readonly hash: number
  readonly seq: number
  /** Key of the conversation's other user. */
  readonly peer: string
}

/** Delivered mark: the user `by` has everything of the conversation with `peer` up to `upTo`. Keys of users. */
export interface Mark {
  readonly by: string
  readonly peer: string
  readonly upTo: number
}

/** What the inbox knows of a device when it connects. */
export interface InboxState {
  /** "Has subscribed" (B1). */
  readonly subscribed: boolean
  /** Rows at or below it were written to some connection before: they go out with DUP. */
  readonly sentSeq: number
  readonly lastStamp: number
  /** Waiting request records, oldest first, at most waitingRecordsMax. */
  readonly records: readonly RequestRecord[]
}

/** Something may be in the device's inbox: read it. */
export const unknownRow = (device: string): Row => ({
  device,
  seq: 0,
  sub: 0,
  kind: ROW_FRAME,
  peer: '',
  expiresMs: 0,
  source: undefined,
  start: 0,
  end: 0,
})
