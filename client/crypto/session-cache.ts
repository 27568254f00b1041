/**
 * Sessions as objects in memory: a busy one is written once a turn, not once a message (7 KB each time). It follows the
 * transaction: flushed before the commit, put back when a part or the turn is undone. Bounded: the oldest go.
 */
import { SessionRecord } from '@signalapp/libsignal-client'
import type { Cache } from '../store/memory.ts'
import type { Store } from '../store/open.ts'

const SESSIONS_CACHED_MAX = 2_000
const GET = 'SELECT sealed FROM sessions WHERE user = ? AND device = ?'
const PUT = `INSERT INTO sessions (user, device, sealed) VALUES (?, ?, ?)
  ON CONFLICT (user, device) DO UPDATE SET sealed = excluded.sealed`
const DELETE = 'DELETE FROM sessions WHERE user = ? AND device = ?'

export interface Sessions extends Cache {
  get(user: string, device: number): SessionRecord | null
  /** `null` removes it. */
  set(user: string, device: number, record: SessionRecord | null): void
  /** Removes all sessions with a user's devices. */
  removeAll(user: string): void
  /** Removes all sessions there are. */
  clear(): void
}

interface Place {
  readonly user: string
  readonly device: number
}

export function createSessions(store: Store): Sessions {
  const known = new Map<string, SessionRecord | null>()
  const dirty = new Map<string, Place>()
  /** What was there before the part, of those it touched. */
  let before: Map<string, { record: SessionRecord | null | undefined; wasDirty: boolean }> | undefined
  const keyOf = (user: string, device: number): string => `${user}.${device}`

  function get(user: string, device: number): SessionRecord | null {
    const key = keyOf(user, device)
    const found = known.get(key)
    if (found !== undefined) return found
    const sealed = store.get(GET, user, device)?.['sealed'] as Uint8Array | undefined
    const record =
      sealed === undefined
        ? null
        : SessionRecord.deserialize(Uint8Array.from(store.vault.open(`session ${key}`, sealed)))
    if (known.size >= SESSIONS_CACHED_MAX && dirty.size === 0) known.clear()
    known.set(key, record)
    return record
  }

  function set(user: string, device: number, record: SessionRecord | null): void {
    const key = keyOf(user, device)
    if (before !== undefined && !before.has(key)) before.set(key, { record: known.get(key), wasDirty: dirty.has(key) })
    known.set(key, record)
    dirty.set(key, { user, device })
  }

  return {
    get,
    set,
    removeAll(user) {
      for (const key of known.keys()) {
        if (key.startsWith(`${user}.`)) set(user, Number(key.slice(user.length + 1)), null)
      }
      for (const row of store.all('SELECT device FROM sessions WHERE user = ?', user))
        set(user, row['device'] as number, null)
    },
    clear() {
      store.run('DELETE FROM sessions')
      known.clear()
      dirty.clear()
    },
    flush() {
      for (const [key, { user, device }] of dirty) {
        const record = known.get(key)
        if (record === null || record === undefined) store.run(DELETE, user, device)
        else store.run(PUT, user, device, store.vault.seal(`session ${key}`, record.serialize()))
      }
      dirty.clear()
      before = undefined
    },
    keep() {
      before = new Map()
    },
    restore() {
      for (const [key, { record, wasDirty }] of before ?? []) {
        if (record === undefined) known.delete(key)
        else known.set(key, record)
        if (!wasDirty) dirty.delete(key)
      }
      before = undefined
    },
    drop() {
      known.clear()
      dirty.clear()
      before = undefined
    },
  }
}
