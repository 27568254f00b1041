/**
 * A connection of a device as the plugins see it: who it is, its socket, and the state that each plugin keeps of it.
 */
import type { InboxState, Principal, Row } from '../core/ports.ts'
import type { Receipt } from '../topics/codec.ts'
import type { DisconnectReason } from '../topics/disconnects.ts'
import type { ErrorCode } from '../topics/errors.ts'
import type { Route } from './routes.ts'

/** What the plugins need of a socket. */
export interface Wire {
  /** Takes the bytes; `sent` is called when they are not needed any more. */
  write(bytes: Uint8Array, sent: () => void): void
  /** Bytes that the kernel did not take yet. */
  bufferedBytes(): number
  pauseReading(): void
  resumeReading(): void
  /** Ends the connection; the reason is a name of the disconnect catalogue. */
  end(reason: DisconnectReason): void
}

export interface Connection {
  readonly wire: Wire
  readonly principal: Principal
  /** CONNECT had a will: that it is gone may be known sooner. */
  readonly hasWill: boolean
  /** Device id. */
  readonly device: string
  /** `d/<device>/` as bytes: the only topics that this connection may publish to begin with it. */
  readonly prefix: Uint8Array
  /** Topic of what is delivered to a person: `d/<device>/in`. */
  readonly inTopic: Uint8Array
  /** The one topic filter it may subscribe to. */
  readonly filter: string
  /** Unix ms when it was accepted. */
  readonly sinceMs: number
  /** `Directory.version()` when its token was found to be good. */
  readonly directoryVersion: number
  epoch: number
  /** Its inbox, opened behind the claim: once, whoever asks first. Undefined in it: the connection ended meanwhile. */
  inbox: Promise<InboxState | undefined> | undefined
  /** The inbox is open, and is to be closed. */
  isInboxOpen: boolean
  isOpen: boolean
  /** Has a subscription now; the durable flag follows it. */
  isSubscribed: boolean
  out: OutBuffer | undefined
  isDirty: boolean
  pump: Pump | undefined
  sending: Sending | undefined
  waiting: Waiting | undefined
}

/** Bytes that leave at the end of the turn; plugins/outbound.ts. */
export interface OutBuffer {
  readonly bytes: Buffer
  used: number
  readonly release: () => void
}

/** A receipts frame in the window: its PUBACK acknowledges these rows and settles these stamps. */
export interface ReceiptsFrame {
  readonly kind: 2
  readonly rows: readonly Row[]
  readonly stamps: readonly number[]
}
export type InFlight = Row | ReceiptsFrame

/**
 * stopped: no subscription. opening: the slot is being advanced. reading: a page is under way. full: window or socket
 * full.
 */
export type PumpState = 'stopped' | 'idle' | 'opening' | 'reading' | 'full' | 'live'

export interface Pump {
  state: PumpState
  /** Somebody reads the inbox: UNSUBSCRIBE and SUBSCRIBE do not end it, and another would write its rows again. */
  isReading: boolean
  /** First packet id of this connection's slot; 0 until it has one. */
  base: number
  /** The slot while it is being advanced: once for each connection, whoever asks. */
  slot: Promise<number> | undefined
  cursorSeq: number
  cursorSub: number
  /** Rows at or below it were written before: DUP. */
  sentSeq: number
  /** The device's last stamp when it connected: a client that knows a lower one is a restored copy, and is told. */
  readonly lastStamp: number
  /** Window as a ring: frame n is at n % ring.length, its packet id is base + n % windowRowsMax. */
  ring: (InFlight | undefined)[]
  next: number
  oldest: number
  /**
   * Frames whose PUBACK came before that of an earlier one of their conversation (B3). Of this connection: rows are
   * shared.
   */
  held: Set<number> | undefined
  open: number
  /** Woken while it was not live: read once more. */
  again: boolean
  isCurrent: boolean
  /** Its inbox could not be read: no row is sent that was not read, or it would pass over those in front of it. */
  isBehind: boolean
  /** When the window filled up, for the acknowledgement timeout; 0: it is not full. */
  fullSinceMs: number
  /** What was acknowledged in this turn. */
  ackRows: Row[]
  ackStamps: number[]
  ackMarks: { by: string; peer: string; upTo: number }[]
  unknownSinceMs: number
  unknownCount: number
}

/** A PUBLISH behind one that waits for the directory. `take` gives the reason to close, if any. */
export interface Held {
  readonly packetId: number
  readonly bytes: number
  readonly take: () => DisconnectReason | undefined
}

/** The sending side of a connection; made with its first PUBLISH. */
export interface Sending {
  readonly routes: Map<string, Route>
  held: Held[]
  isResolving: boolean
  /** Bytes read and not answered. */
  pendingBytes: number
  isPaused: boolean
  /** Packet ids in flight: using one again is malformed. */
  readonly inFlight: Set<number>
  /** Conversations under RETRY_LATER, until unix ms. */
  later: Map<string, number> | undefined
  /**
   * A temporary refusal met this thing, or its bytes made no sense: nothing more is taken from it, whatever is held.
   */
  isStopped: boolean
  /** Refusals that were logged: once per connection, the counters have the rest. */
  logged: Set<ErrorCode> | undefined
}

/** What waits to be sent to one device in its next receipts frame. */
export interface Waiting {
  accepted: { stamp: number; seq: number; peer: string }[]
  rows: { row: Row; items: readonly Receipt[] }[]
  /** Rows of this turn that it was too late for. */
  expired: Row[]
  /** It lingered long enough and there was no room: the reader of the inbox flushes. */
  isDue: boolean
}
