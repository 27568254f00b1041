/**
 * Shapes of what the codec reads. Every object always has all its keys, undefined when absent: one hidden class each.
 */

/** Field numbers of SendRequest.kind. */
export const REQUEST = {
  pair: 2,
  group: 3,
  raw: 4,
  receipts: 5,
  sync: 7,
  groupLog: 8,
  groupChange: 9,
  withdraw: 10,
} as const
export type RequestKind = (typeof REQUEST)[keyof typeof REQUEST]

export const URGENCY = { message: 0, silent: 1, low: 2, call: 3 } as const
export type Urgency = (typeof URGENCY)[keyof typeof URGENCY]
export const SCOPE = { message: 0, signal: 1, partial: 2 } as const
export type Scope = (typeof SCOPE)[keyof typeof SCOPE]

/** A body for one device: `bytes[start..end)`; `field` is its number here and in Delivery, 0 when there is no body. */
export interface DeviceBody {
  readonly field: 0 | 2 | 3 | 8
  readonly start: number
  readonly end: number
  readonly device: number
  readonly registrationId: number
  readonly member: number
}
export interface PairMessage {
  readonly peer: Uint8Array
  /** Where its 16 bytes stand in the request. */
  readonly peerAt: number
  /** Only with a plaintext body. */
  readonly group: Uint8Array | undefined
  readonly devices: readonly DeviceBody[]
  readonly own: readonly DeviceBody[]
  readonly scope: Scope
}
export interface GroupMessage {
  readonly group: Uint8Array
  readonly roster: number
  /** 7 when there is a shared body. */
  readonly field: 0 | 7
  readonly start: number
  readonly end: number
  readonly devices: readonly DeviceBody[]
  readonly scope: Scope
}
/** Either `peer` or `group`. */
export interface RawMessage {
  readonly peer: Uint8Array | undefined
  readonly group: Uint8Array | undefined
  readonly start: number
  readonly end: number
}
/**
 * Marks of one conversation, `peer` or `group` (WIRE rules 5 and 6). `delivered` and `read` are "up to seq", 0 when
 * not said. `accepted` is pairs stamp, seq, stamp, seq, ... as they are, rising; the differences of the wire stay
 * inside the codec.
 */
export interface Receipt {
  readonly peer: Uint8Array | undefined
  readonly group: Uint8Array | undefined
  readonly delivered: number
  readonly read: number
  readonly played: readonly number[]
  readonly expired: readonly number[]
  readonly accepted: readonly number[]
  readonly member: number
  readonly count: number
  readonly own: boolean
}
/** Either `peer` or `group`. */
export interface Sync {
  readonly peer: Uint8Array | undefined
  readonly group: Uint8Array | undefined
  readonly afterSeq: number
  readonly limit: number
}
export interface GroupLogRequest {
  readonly group: Uint8Array
  readonly fromEpoch: number
}
export interface SignedEntry {
  readonly start: number
  readonly end: number
  readonly signatureStart: number
  readonly signatureEnd: number
}
/** Either `peer` or `group`. */
export interface Withdraw {
  readonly peer: Uint8Array | undefined
  readonly group: Uint8Array | undefined
  readonly seqs: readonly number[]
}
/** `kind` is the field number of the one member that is there. */
export interface SendRequest {
  readonly fault: false
  readonly stamp: number
  readonly kind: RequestKind
  readonly pair: PairMessage | undefined
  readonly group: GroupMessage | undefined
  readonly raw: RawMessage | undefined
  readonly receipts: { readonly items: readonly Receipt[] } | undefined
  readonly sync: Sync | undefined
  readonly groupLog: GroupLogRequest | undefined
  readonly groupChange: SignedEntry | undefined
  readonly withdraw: Withdraw | undefined
  readonly urgency: Urgency
  readonly expiresInS: number
  readonly afterSeq: number
}
