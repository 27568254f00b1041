/**
 * Read marks of this user: kept in the conversation, told to the server as one message each, and told again at every
 * connection until its PUBACK came. They need no stamp: they only grow, and may be said twice.
 */
import { encodeSendRequest } from '../../topics/codec.ts'
import { type Context, idBytes } from '../context.ts'
import { peekMarks, raiseMarks } from '../store/message-rows.ts'
import type { Transport } from '../transport/transport.ts'

/** A request that says how far the user has read; it needs no stamp, may be repeated, and only grows. */
function readRequest(peer: string, upTo: number): Uint8Array {
  return encodeSendRequest({ receipts: { items: [{ peer: idBytes(peer), read: upTo }] } })
}

export interface ReadMarks {
  /** Everything of the conversation that is here was read. */
  mark(peer: string): Promise<void>
  /** Tells what no server took yet. */
  tell(): void
  /** PUBACK of a mark: their numbers are below zero, those of requests are stamps. */
  onPuback(number: number): void
  onOffline(): void
}

export function createReadMarks(context: Context, transport: () => Transport): ReadMarks {
  const { store, account } = context
  /** What is under way on this connection, by number. */
  const underWay = new Map<number, { readonly peer: string; readonly upTo: number }>()
  let last = 0

  function tell(): void {
    if (!transport().isOnline()) return
    for (const row of store.peek('SELECT peer, own_read FROM conversations WHERE own_read > told_read')) {
      const [peer, upTo] = [row['peer'] as string, row['own_read'] as number]
      if (underWay.values().some((each) => each.peer === peer && each.upTo >= upTo)) continue
      underWay.set(--last, { peer, upTo })
      transport().publish(readRequest(peer, upTo), last)
    }
  }

  return {
    tell,
    async mark(peer) {
      const sql = 'SELECT max(seq) AS seq FROM messages WHERE peer = ? AND author <> ? AND shown = 1'
      const upTo = Number(store.peek(sql, peer, account.user)[0]?.['seq'] ?? 0)
      if (upTo <= peekMarks(store, peer).ownRead) return
      await store.turn(() => raiseMarks(store, peer, { ownRead: upTo }))
      tell()
    },
    onPuback(number) {
      const told = underWay.get(number)
      if (told === undefined) return
      underWay.delete(number)
      store.turn(() => raiseMarks(store, told.peer, { toldRead: told.upTo })).catch(() => undefined)
    },
    onOffline: () => underWay.clear(),
  }
}
