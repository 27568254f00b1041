/** Messages as plain objects with wire.proto's names in camelCase: what clients, tests and tools write and read. */
import type { GroupLogRequest, Receipt, Scope, Sync, Urgency, Withdraw } from './shapes.ts'

/** What may be given to an encoder: any part of a message; what is undefined, 0, false or empty is not written. */
export type Fields<T> = T extends Uint8Array | string | number | bigint | boolean | undefined
  ? T
  : T extends readonly (infer E)[]
    ? readonly Fields<E>[]
    : { readonly [key in keyof T]?: Fields<T[key]> | undefined }

/** At most one of the three bodies. */
export interface PlainDeviceBody {
  readonly body: 'whisper' | 'prekey' | 'plaintext' | undefined
  readonly whisper: Uint8Array | undefined
  readonly prekey: Uint8Array | undefined
  readonly plaintext: Uint8Array | undefined
  readonly device: number
  readonly registrationId: number
  readonly member: number
}
export interface PlainPairMessage {
  readonly peer: Uint8Array | undefined
  readonly group: Uint8Array | undefined
  readonly devices: readonly PlainDeviceBody[]
  readonly own: readonly PlainDeviceBody[]
  readonly scope: Scope
}
export interface PlainGroupMessage {
  readonly group: Uint8Array | undefined
  readonly roster: number
  readonly senderKey: Uint8Array | undefined
  readonly devices: readonly PlainDeviceBody[]
  readonly scope: Scope
}
export interface PlainRawMessage {
  readonly peer: Uint8Array | undefined
  readonly group: Uint8Array | undefined
  readonly raw: Uint8Array | undefined
}
export interface PlainSignedEntry {
  readonly entry: Uint8Array | undefined
  readonly signature: Uint8Array | undefined
}
export interface PlainReceipts {
  readonly items: readonly Receipt[]
}

/** SendRequest as a client writes it: one of the members from `pair` to `withdraw`. */
export interface PlainSendRequest {
  readonly stamp: number
  readonly pair: PlainPairMessage | undefined
  readonly group: PlainGroupMessage | undefined
  readonly raw: PlainRawMessage | undefined
  readonly receipts: PlainReceipts | undefined
  readonly sync: Sync | undefined
  readonly groupLog: GroupLogRequest | undefined
  readonly groupChange: PlainSignedEntry | undefined
  readonly withdraw: Withdraw | undefined
  readonly urgency: Urgency
  readonly expiresInS: number
  readonly afterSeq: number
}

/** A hint to look. One member, named by `kind`. */
export interface Notice {
  readonly kind:
    | 'prekeysLow'
    | 'devicesChanged'
    | 'identityChanged'
    | 'profileChanged'
    | 'rosterChanged'
    | 'revoked'
    | 'reconnectInS'
    | 'gap'
    | undefined
  readonly prekeysLow: { readonly ec: number; readonly kem: number } | undefined
  readonly devicesChanged: Uint8Array | undefined
  readonly identityChanged: Uint8Array | undefined
  readonly profileChanged: Uint8Array | undefined
  readonly rosterChanged: Uint8Array | undefined
  readonly revoked: number | undefined
  readonly reconnectInS: number | undefined
  readonly gap: number | undefined
}

/** Answer to a refused request; `code` and `retry` are numbers of the error catalogue. The lists carry no bodies. */
export interface WireError {
  readonly stamp: number
  readonly code: number
  readonly retry: number
  readonly retryInS: number
  readonly missing: readonly PlainDeviceBody[]
  readonly extra: readonly PlainDeviceBody[]
  readonly stale: readonly PlainDeviceBody[]
  readonly own: boolean
  readonly roster: number
  readonly epoch: number
  readonly lastStamp: number
}

export type DeliveryKind =
  | 'raw'
  | 'whisper'
  | 'prekey'
  | 'senderKey'
  | 'plaintext'
  | 'receipts'
  | 'entry'
  | 'notice'
  | 'error'
  | 'caughtUp'
  | 'gone'

/** What a device receives. `kind` names the member that is there; a sender key distribution may come without one. */
export interface Delivery {
  readonly fault: false
  readonly kind: DeliveryKind | undefined
  readonly raw: Uint8Array | undefined
  readonly whisper: Uint8Array | undefined
  readonly prekey: Uint8Array | undefined
  readonly senderKey: Uint8Array | undefined
  readonly plaintext: Uint8Array | undefined
  readonly receipts: PlainReceipts | undefined
  readonly entry: PlainSignedEntry | undefined
  readonly notice: Notice | undefined
  readonly error: WireError | undefined
  /** `lastStamp`: the device's when it connected. Above what the client knows: its database is an old copy. */
  readonly caughtUp: { readonly serverMs: number; readonly wire: number; readonly lastStamp: number } | undefined
  readonly gone: { readonly seqs: readonly number[] } | undefined
  readonly peer: Uint8Array | undefined
  readonly group: Uint8Array | undefined
  readonly device: number
  readonly seq: number
  readonly member: number
  readonly own: boolean
  readonly distribution: PlainDeviceBody | undefined
}

/** The QoS 0 message, both ways. `kind` names the member that is there. */
export interface Now {
  readonly fault: false
  readonly kind: 'typing' | 'presence' | 'watch' | 'signal' | undefined
  readonly typing: number | undefined
  readonly presence: { readonly state: number; readonly lastSeen: number } | undefined
  readonly watch: { readonly users: readonly Uint8Array[] } | undefined
  readonly signal: { readonly call: bigint; readonly sealed: Uint8Array | undefined } | undefined
  readonly peer: Uint8Array | undefined
  readonly group: Uint8Array | undefined
  readonly device: number
  readonly member: number
}
