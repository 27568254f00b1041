/**
 * Identity keys of other accounts, one for each account: keyed by name, never by device. First use is trusted. A
 * change is taken when it is received, and told; nothing is sent to the new key until the user approved it.
 */
import type { Cache } from '../store/memory.ts'
import type { Store } from '../store/open.ts'

const GET = 'SELECT key, approved, verified, changed_ms FROM identities WHERE user = ?'
const PUT = `INSERT INTO identities (user, key, approved, verified, changed_ms) VALUES (?, ?, ?, 0, ?)
  ON CONFLICT (user) DO UPDATE SET key = excluded.key, approved = excluded.approved, verified = 0,
    changed_ms = excluded.changed_ms`

export interface Identity {
  /** 33 bytes. */
  readonly key: Uint8Array
  readonly isApproved: boolean
  readonly isVerified: boolean
  /** Unix ms of the last change; 0: it is the first one. */
  readonly changedMs: number
}

export interface Identities extends Cache {
  get(user: string): Identity | undefined
  /** Records what was received. True: it is another one than before, and not approved. */
  learn(user: string, key: Uint8Array, nowMs: number): boolean
  approve(user: string): void
  setVerified(user: string, isVerified: boolean): void
  /** Users whose identity changed in this turn; asked once, before its end. */
  takeChanged(): string[]
}

export function createIdentities(store: Store): Identities {
  let changed: string[] = []
  let kept = 0

  const placeOf = (user: string): string => `identity ${user}`

  function read(user: string): Identity | undefined {
    const row = store.get(GET, user)
    if (row === undefined) return undefined
    return {
      key: row['key'] as Uint8Array,
      isApproved: row['approved'] === 1,
      isVerified: row['verified'] === 1,
      changedMs: row['changed_ms'] as number,
    }
  }

  const get = (user: string): Identity | undefined => store.memory.recall(placeOf(user), () => read(user))

  return {
    get,
    learn(user, key, nowMs) {
      const known = get(user)
      if (known !== undefined && Buffer.compare(known.key, key) === 0) return false
      store.run(PUT, user, key, known === undefined ? 1 : 0, known === undefined ? 0 : nowMs)
      store.memory.forget(placeOf(user))
      if (known === undefined) return false
      changed.push(user)
      return true
    },
    approve(user) {
      store.run('UPDATE identities SET approved = 1 WHERE user = ?', user)
      store.memory.forget(placeOf(user))
    },
    setVerified(user, isVerified) {
      store.memory.forget(placeOf(user))
      store.run('UPDATE identities SET verified = ? WHERE user = ? AND approved = 1', isVerified ? 1 : 0, user)
    },
    takeChanged() {
      const taken = changed
      changed = []
      return taken
    },
    flush: () => undefined,
    keep() {
      kept = changed.length
    },
    restore() {
      changed.length = Math.min(changed.length, kept)
    },
    drop() {
      changed = []
    },
  }
}
