/**
 * The ports: what the rules and plugins need from the outside. Each has one conformance suite in test/ports that every
 * adapter must pass. Comments state what is atomic, ordered, idempotent and bounded.
 */
import type { DisconnectReason } from '../topics/disconnects.ts'
import type { Envelope, IntakeFault } from './envelope.ts'
import type { Accounts, Codes, Keys, Limiter, Links, Sms } from './people.ts'
import type { InboxState, Mark, Row } from './row.ts'

export {
  type DeadLetter,
  type DeadLetters,
  type DeviceStates,
  type Entry,
  type EntryLog,
  type InboxRows,
  type LostClaims,
  type RowCounts,
  StoreDownFault,
  type Turns,
  type Wakes,
} from './cluster.ts'
export {
  type Accounts,
  type Codes,
  IdentityFault,
  type KeySet,
  type Keys,
  type KeyUpload,
  type Limiter,
  type Links,
  type NewPerson,
  type NewPersonDevice,
  type Person,
  type PersonDevice,
  type Prekey,
  type PrekeyBundle,
  type PrekeyCounts,
  type PrekeysLeft,
  type Push,
  type Replaced,
  type SignedPrekey,
  type Sms,
} from './people.ts'
export {
  type InboxCursor,
  type InboxState,
  type Mark,
  type Position,
  type RequestRecord,
  ROW_FRAME,
  ROW_MARK,
  type Row,
} from './row.ts'

export type Kind = 'person' | 'thing' | 'service'

/** One device of an account. `number` is libsignal's device number, 1..127. */
export interface Device {
  readonly id: string
  readonly number: number
  readonly registrationId: number
  /** A thing provisioned `numbered` finds the seq in the topic of what it receives. */
  readonly numbered: boolean
}

/** A user with its devices, as the directory knew it at `Directory.version()`. */
export interface Account {
  /** 16 bytes; UUID version 8 for things and services. */
  readonly user: Uint8Array
  /** The same as a latin1 string, to key maps. */
  readonly key: string
  readonly kind: Kind
  readonly handle: string | undefined
  /** Key of the owning account, for things. */
  readonly owner: string | undefined
  /** Keys of accounts that may address what this account owns. */
  readonly allowed: ReadonlySet<string>
  readonly devices: readonly Device[]
}

/** Who a connection is, once its token was checked. */
export interface Principal {
  readonly account: Account
  readonly device: Device
}

export interface NewAccount {
  user: Uint8Array
  kind: Kind
  handle: string | undefined
  owner: Uint8Array | undefined
}
export interface NewDevice {
  id: string
  user: Uint8Array
  number: number
  registrationId: number
  numbered: boolean
  /** SHA-256 of the token: 32 bytes. The token itself is never stored. */
  tokenHash: Uint8Array
}

/** An id or handle that `create` was given is taken; `taken` says which of them. Nothing was made. */
export class ConflictFault extends Error {
  readonly taken: 'device' | 'number' | 'handle' | 'phone'
  constructor(taken: ConflictFault['taken']) {
    super(`that ${taken} is taken`)
    this.taken = taken
  }
}

/**
 * Users, devices, tokens. Reads may be answered from a cache no older than 5 s; `version()` rises with every change
 * that this process has heard of, so that what was resolved before can be resolved again.
 */
export interface Directory {
  version(): number
  /**
   * The device whose token has this SHA-256, compared in constant time; undefined when unknown, revoked or wrong.
   * Without a device id: whichever device has that token.
   */
  authenticate(device: string | undefined, tokenHash: Uint8Array): Promise<Principal | undefined>
  account(user: Uint8Array): Promise<Account | undefined>
  accountByHandle(handle: string): Promise<Account | undefined>
  accountOfDevice(device: string): Promise<Account | undefined>
  /** Atomic: all or nothing; durable when it resolves. Rejects with a ConflictFault when an id or handle is taken. */
  create(accounts: readonly NewAccount[], devices: readonly NewDevice[]): Promise<void>
  /** `owner` lets `peer` address its things. Idempotent, durable when it resolves. */
  allow(owner: Uint8Array, peer: Uint8Array): Promise<void>
  /** Ends a device: its token is refused from now on. Idempotent, durable when it resolves; false when unknown. */
  revoke(device: string): Promise<boolean>
}

/**
 * The intake numbers envelopes and stores them. Ordered: envelopes of one shard get rising numbers in the order of
 * the calls and calls resolve in that order. Atomic: a batch is stored whole or not at all. Durable when it resolves
 * (P1).
 */
export interface Intake {
  /** How many shards there are, fixed at first start; `core/shards` says which one a conversation lives in. */
  readonly shards: number
  /**
   * Decides `verdict` and `seq` of each envelope (A1, A3) and resolves when the batch is durable; rejects with an
   * IntakeFault when nothing of it was stored, and then nothing appended after it in the same shard was stored either.
   */
  append(shard: number, batch: readonly Envelope[]): Promise<void>
  /** Has the device's inbox reached `inboxRowsMax`? A counter; the overshoot is what was in flight (B6). */
  isFull(device: string): boolean
  /** Why the intake refuses work now (a name of the error catalogue), or undefined. */
  refusal(): IntakeFault['code'] | undefined
}

/** Inboxes of devices. Rows leave only when acknowledged, expired or dropped (P2). */
export interface Inbox {
  open(device: string): Promise<InboxState>
  /** Sets or clears "has subscribed" durably before it resolves. Idempotent. */
  setSubscribed(device: string, subscribed: boolean): Promise<void>
  /** Advances the durable packet-id slot (B2) and resolves with it: 0..62. */
  advanceSlot(device: string): Promise<number>
  /** Up to `limit` rows with position above (seq, sub), in order, with their bytes. Bounded by `limit` and 1 MiB. */
  page(device: string, seq: number, sub: number, limit: number): Promise<Row[]>
  /** The delivered mark of (by, peer) that was appended last; 0 for none. */
  markOf(by: string, peer: string): Promise<number>
  /**
   * Rows acknowledged by the device, records settled, marks made from them. Atomic with each other; rides on the next
   * commit; a crash before it means a resend, never a loss (B3).
   */
  acknowledge(device: string, rows: readonly Row[], stamps: readonly number[], marks: readonly Mark[]): void
  /** The connection ended: everything up to `sentSeq` may have been seen. Rides on the next commit. */
  close(device: string, sentSeq: number): void
  /** Removes rows and records of a revoked device. Idempotent. */
  drop(device: string): Promise<void>
}

/** Devices whose rows have waited for some time, for jobs that walk all inboxes in bounded steps. */
export interface Backlog {
  /**
   * The first device behind `device` in an order that is always the same, '' being in front of all; undefined behind
   * the last one. Every device with rows that wait is named; one that has none any more may be.
   */
  deviceAfter(device: string): Promise<string | undefined>
}

/** Which connection serves a device (B4). `wake` is droppable: the inbox is the truth. */
export interface Claims {
  /** Takes the device over: the previous holder's `onLost` is called before this returns. Gives the epoch. */
  claim(device: string, holder: ClaimHolder): number
  /**
   * Resolves when all nodes know of the claim and who had the device elsewhere is being told: whoever writes a row
   * after that finds this node, and whoever reads after that finds what was written before. Rejects when the store is
   * down.
   */
  known(device: string, epoch: number): Promise<void>
  /** Gives the claim back if it still has this epoch. */
  release(device: string, epoch: number): void
  /** Wakes the device's connection with a row that is durable. */
  wake(device: string, row: Row): Woken
  /**
   * Which of these devices are served now, by any node; one that died serves none. A moment old: a device may come or
   * go meanwhile. Rejects when the store is down.
   */
  locate(devices: readonly string[]): Promise<ReadonlySet<string>>
  /** Ends the device's connection, e.g. because its token was revoked. */
  evict(device: string, reason: DisconnectReason): void
}
/** Nobody has claimed the device; its connection was woken and reads; the row was sent from the bytes it carries. */
export type Woken = 'away' | 'woken' | 'sent'

export interface ClaimHolder {
  /** True when the row was sent: it must not be read again. */
  onWake(row: Row): boolean
  onLost(reason: DisconnectReason): void
}

/** Unix milliseconds. Injected, so that tests can move it. */
export type Clock = () => number

/** For logs: ids and numbers only, never payloads, tokens or phone numbers. */
export interface Log {
  info(facts: object, text: string): void
  warn(facts: object, text: string): void
  error(facts: object, text: string): void
}

/** Everything that plugins, workers and the API are given. */
export interface Ports {
  readonly accounts: Accounts
  readonly keys: Keys
  readonly codes: Codes
  readonly links: Links
  readonly limiter: Limiter
  readonly sms: Sms
  readonly intake: Intake
  readonly inbox: Inbox
  readonly backlog: Backlog
  readonly directory: Directory
  readonly claims: Claims
  readonly now: Clock
  readonly log: Log
}
