/** Mailboxes of linking and link tokens of one process: maps, oldest first. A restart ends what was being linked. */
import type { Clock, Links } from '../../core/ports.ts'
import { limits } from '../../topics/limits.ts'

interface Mailbox {
  readonly expiresMs: number
  sealed: Uint8Array | undefined
  readonly waiting: Set<() => void>
}
interface Grant {
  readonly user: Uint8Array
  readonly expiresMs: number
}

/** Readers that wait at one mailbox; who comes beyond is answered at once. */
const WAITING_MAX = 4

/** Drops what is over, and the oldest while there are too many. */
function makeRoom<Value extends { readonly expiresMs: number }>(map: Map<string, Value>, now: number): Value[] {
  const gone: Value[] = []
  for (const [key, value] of map) {
    if (value.expiresMs > now && map.size < limits.linksOpenMax) break
    map.delete(key)
    gone.push(value)
  }
  return gone
}

const keyOf = (hash: Uint8Array): string => Buffer.from(hash).toString('latin1')

export function createLinks(now: Clock): Links {
  const mailboxes = new Map<string, Mailbox>()
  const grants = new Map<string, Grant>()
  const find = (id: string): Mailbox | undefined => {
    const mailbox = mailboxes.get(id)
    return mailbox !== undefined && mailbox.expiresMs > now() ? mailbox : undefined
  }

  return {
    async open(id, expiresMs) {
      for (const { waiting } of makeRoom(mailboxes, now())) for (const wake of waiting) wake()
      mailboxes.set(id, { expiresMs, sealed: undefined, waiting: new Set() })
    },
    async put(id, sealed) {
      const mailbox = find(id)
      if (mailbox === undefined || mailbox.sealed !== undefined) return false
      mailbox.sealed = new Uint8Array(sealed)
      for (const wake of mailbox.waiting) wake()
      return true
    },
    async read(id, waitMs) {
      const mailbox = find(id)
      if (mailbox === undefined) return undefined
      if (mailbox.sealed === undefined && mailbox.waiting.size < WAITING_MAX && waitMs > 0) {
        await new Promise<void>((resolve) => {
          const wake = (): void => {
            clearTimeout(timer)
            mailbox.waiting.delete(wake)
            resolve()
          }
          const timer = setTimeout(wake, waitMs)
          timer.unref()
          mailbox.waiting.add(wake)
        })
      }
      if (mailbox.sealed !== undefined) return mailbox.sealed
      return find(id) === undefined ? undefined : null
    },
    async grant(tokenHash, user, expiresMs) {
      makeRoom(grants, now())
      grants.set(keyOf(tokenHash), { user: new Uint8Array(user), expiresMs })
    },
    async redeem(tokenHash) {
      const key = keyOf(tokenHash)
      const found = grants.get(key)
      grants.delete(key)
      return found !== undefined && found.expiresMs > now() ? found.user : undefined
    },
  }
}
