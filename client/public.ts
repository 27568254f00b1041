/** The public face of the SDK. User ids are UUID text. Methods reject with a ClientFault. */
import type { Events } from './events.ts'
import type { Message } from './store/message-rows.ts'
import type { Unlock } from './store/vault.ts'

export interface ClientSettings {
  /** Everything durable is in it; one process at a time. */
  readonly folder: string
  /** What the secrets in the folder are sealed under. */
  readonly unlock: Unlock
  /** The server: http or https. An account keeps the one it was made on. */
  readonly url: string
  /** Unix ms. */
  readonly now?: () => number
  /** From 0 to 1, as Math.random: how long a refill of one's keys is put off. */
  readonly random?: () => number
  /** SQLite pragmas for measurements. */
  readonly pragmas?: string
}

export interface Me {
  readonly user: string
  readonly handle: string
  readonly device: string
  /** The device's number, 1..127. */
  readonly number: number
  readonly isPrimary: boolean
}

export interface ShownDevice {
  readonly device: string
  readonly number: number
  /** YYYY-MM-DD. */
  readonly created: string
  readonly isPrimary: boolean
  readonly isCurrent: boolean
}

export interface Client {
  /** Undefined: not registered. */
  me(): Me | undefined
  /** Has a code sent to the number. */
  askCode(phone: string): Promise<{ digits: number; expiresInS: number; resendInS: number }>
  register(as: { phone: string; code: string; handle?: string }): Promise<Me>
  /** On a new device: show `uri`, as a QR code, to the primary device; `linked` resolves when it has accepted. */
  offerLink(): Promise<{ readonly uri: string; readonly linked: Promise<Me> }>
  /** On the primary device: gives the account's identity to the device that shows `uri`. Ask the user first. */
  acceptLink(uri: string): Promise<void>

  /** Stays connected, and comes back by itself. Throws when it is not registered. */
  connect(): void
  isOnline(): boolean
  retryNow(): void
  /** Ends in order; what is queued is sent next time. */
  close(): Promise<void>
  /** Ends as a crash does: nothing is said to anybody. For tests. */
  abandon(): void

  /** `bob` or `@bob`; who is known is found offline as well. */
  findUser(handle: string): Promise<string>
  /** '' when it is not known. */
  handleOf(user: string): string
  /** Asks the server for the handle when it is not known; '' when there is none, or no answer. */
  learnHandle(user: string): Promise<string>
  /** Durable when it resolves; it leaves when it can. At most 16 KiB of text. */
  send(peer: string, text: string): Promise<Message>
  /** The last ones, oldest first; with `before`, those in front of it. */
  messages(peer: string, options?: { readonly limit?: number; readonly before?: Message }): Message[]
  conversations(): { readonly peer: string; readonly unread: number }[]
  /** Requests that the server has not stored yet: messages, and what clients say to each other without showing it. */
  waiting(): number
  /** Says that everything of this conversation was read. */
  markRead(peer: string): Promise<void>

  /** Undefined: nothing was exchanged yet. */
  safetyNumber(
    peer: string,
  ): { readonly digits: string; readonly qr: Uint8Array; readonly isVerified: boolean } | undefined
  compareSafetyNumber(peer: string, scanned: Uint8Array): boolean
  setVerified(peer: string, isVerified: boolean): Promise<void>
  /** After `identityChanged`: sending goes on, to the new identity. */
  approveIdentity(user: string): Promise<void>

  devices(): Promise<readonly ShownDevice[]>
  removeDevice(device: string): Promise<void>
  /** After a device was lost: a new identity; every other device ends, and contacts see a change. */
  resetIdentity(): Promise<Me>

  /** Returns how to stop listening. */
  on<K extends keyof Events>(event: K, listener: (event: Events[K]) => void): () => void
}
