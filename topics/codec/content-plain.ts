/**
 * Content as plain objects with wire.proto's names in camelCase. Every object that is read has all its keys: what was
 * not said is undefined, 0, '', false or an empty list.
 */

/** A message by its name for ever. */
export interface Ref {
  readonly id: Uint8Array | undefined
  readonly author: Uint8Array | undefined
}
export interface Attachment {
  /** The server's name of the object. */
  readonly object: string
  readonly key: Uint8Array | undefined
  readonly digest: Uint8Array | undefined
  readonly size: number
  readonly mediaType: string
  readonly name: string
  readonly caption: string
  readonly thumbnail: Uint8Array | undefined
  readonly width: number
  readonly height: number
  readonly durationMs: number
  readonly waveform: Uint8Array | undefined
  readonly chunkMacs: Uint8Array | undefined
  readonly chunkSize: number
}
export interface Span {
  readonly start: number
  readonly length: number
  readonly style: number
  /** The user who is mentioned. */
  readonly mention: Uint8Array | undefined
}
export interface Quote {
  readonly to: Ref | undefined
  readonly seq: number
  readonly text: string
  readonly thumbnail: Attachment | undefined
}
export interface Location {
  readonly latitude: number
  readonly longitude: number
  readonly name: string
  readonly liveForS: number
}
export interface Contact {
  readonly name: string
  readonly phones: readonly string[]
  readonly user: Uint8Array | undefined
}
export interface Post {
  readonly text: string
  readonly spans: readonly Span[]
  readonly reply: Quote | undefined
  readonly attachments: readonly Attachment[]
  readonly location: Location | undefined
  readonly contacts: readonly Contact[]
  readonly forwarded: number
  readonly viewOnce: boolean
  readonly story: boolean
  readonly dataType: string
  readonly data: Uint8Array | undefined
}
export interface Edit {
  readonly id: Uint8Array | undefined
  readonly post: Post | undefined
}
export interface Reaction {
  readonly to: Ref | undefined
  readonly emoji: string
  readonly undo: boolean
}
export interface Call {
  readonly id: bigint
  /** 1 offer, 2 answer, 3 candidates, 4 hang-up, 5 busy, 6 record shown in the conversation. */
  readonly step: number
  readonly sdp: Uint8Array | undefined
  readonly key: Uint8Array | undefined
  readonly ice: readonly Uint8Array[]
  readonly video: boolean
  readonly seconds: number
}
export interface SyncRead {
  readonly conversation: Uint8Array | undefined
  readonly upTo: number
  readonly readMs: number
}
export interface GroupState {
  readonly name: string
  readonly about: string
  readonly picture: Attachment | undefined
  readonly secret: Uint8Array | undefined
  readonly timerS: number
}
/** One message of the conversation with `peer` or of `group`. */
export interface HistoryMessage {
  /** A Content as it was sent, without padding. */
  readonly content: Uint8Array | undefined
  readonly group: Uint8Array | undefined
  readonly peer: Uint8Array | undefined
  readonly author: Uint8Array | undefined
  readonly seq: number
  readonly sentMs: number
  /** Of an own message: 1 accepted, 2 delivered, 3 read, 4 expired. */
  readonly status: number
}
/** Piece `index` (from 0) of `count`. */
export interface HistoryPiece {
  readonly index: number
  readonly count: number
  readonly messages: readonly HistoryMessage[]
}
/** Numbers of own devices. */
export interface DevicesChanged {
  readonly added: readonly number[]
  readonly removed: readonly number[]
}
export type Nothing = Readonly<Record<string, never>>

export type ContentKind =
  | 'post'
  | 'edit'
  | 'delete'
  | 'reaction'
  | 'call'
  | 'syncRead'
  | 'history'
  | 'syncState'
  | 'groupState'
  | 'timer'
  | 'heal'
  | 'historyPiece'
  | 'devicesChanged'

/** What one device says to another. `kind` names the member that is there, undefined when it is not known here. */
export interface Content {
  readonly fault: false
  readonly kind: ContentKind | undefined
  readonly id: Uint8Array | undefined
  readonly conversation: Uint8Array | undefined
  readonly epoch: number
  readonly logHash: Uint8Array | undefined
  readonly timerS: number
  readonly timerVersion: number
  readonly senderKeyDistribution: Uint8Array | undefined
  readonly decryptionError: Uint8Array | undefined
  readonly needs: number
  readonly profileKey: Uint8Array | undefined
  readonly resendOf: number
  readonly post: Post | undefined
  readonly edit: Edit | undefined
  readonly delete: Ref | undefined
  readonly reaction: Reaction | undefined
  readonly call: Call | undefined
  readonly syncRead: SyncRead | undefined
  readonly history: Attachment | undefined
  readonly syncState: Attachment | undefined
  readonly groupState: GroupState | undefined
  readonly timer: Nothing | undefined
  readonly heal: Nothing | undefined
  readonly historyPiece: HistoryPiece | undefined
  readonly devicesChanged: DevicesChanged | undefined
}
