/** What the SDK tells its user: typed events, called in the order things were committed. */
import type { Message } from './store/message-rows.ts'

export interface Events {
  /** Received, or sent by another own device. */
  message: Message
  /** Marks or states of own messages of this conversation changed: read `messages()` again. */
  status: { readonly peer: string }
  online: Record<string, never>
  offline: { readonly reason: string; readonly text: string; readonly retryInMs: number | undefined }
  /** Everything that waited on the server was received. */
  caughtUp: Record<string, never>
  /** Nothing is sent to this user until `approveIdentity`. */
  identityChanged: { readonly user: string }
  /** The devices of a contact, or one's own, are others than before: warn. */
  devicesChanged: { readonly user: string; readonly added: readonly number[]; readonly removed: readonly number[] }
  /** A message could not be read, and was asked for again. */
  unreadable: { readonly peer: string }
  /** The inbox was full: about so many messages were not kept for this device. */
  gap: { readonly count: number }
  /** This device was removed from its account: register or link it again. It does not come back by itself. */
  revoked: Record<string, never>
  /**
   * This user began to write without a one-time key of this device, of which the server says that `left` remain: it
   * keeps them back, very many ask for them, or the user wants it so. What was written can be read later by who gets
   * hold of this device within a month.
   */
  keysWithheld: { readonly user: string; readonly left: number }
  /** Something that does not end the client: a full disk, a server that does what it must not. */
  fault: { readonly code: string; readonly text: string }
}

export type Emit = <K extends keyof Events>(event: K, value: Events[K]) => void

export interface Emitter {
  readonly emit: Emit
  /** Returns how to stop listening. */
  on<K extends keyof Events>(event: K, listener: (value: Events[K]) => void): () => void
}

export function createEmitter(): Emitter {
  const listeners = new Map<keyof Events, Set<(value: never) => void>>()
  return {
    emit(event, value) {
      for (const listener of listeners.get(event) ?? []) {
        try {
          ;(listener as (value: unknown) => void)(value)
        } catch (error) {
          // A listener's mistake must not stop a turn that is committed; it surfaces where mistakes do.
          queueMicrotask(() => {
            throw error
          })
        }
      }
    },
    on(event, listener) {
      const known = listeners.get(event) ?? new Set()
      listeners.set(event, known)
      known.add(listener)
      return () => void known.delete(listener)
    },
  }
}
