/**
 * Marks of the others, and accepted: which seq a stamp of this device got. Marks only grow; a message's state is what
 * the marks of its conversation say, so nothing is written for each message. In a turn.
 */
import type { Receipt } from '../../topics/codec.ts'
import { ID_BYTES, seqFromMs, uuidText } from '../../topics/ids.ts'
import type { Context } from '../context.ts'
import { ACCEPTED } from '../outbox/outbox-rows.ts'
import { marksOf, raiseMarks } from '../store/message-rows.ts'

/** `stamp > 0` is what the index of stamps has: without these words it is not used. */
const ACCEPT = `UPDATE outbox SET state = ${ACCEPTED}, seq = ?, request = NULL
  WHERE stamp = ? AND stamp > 0 AND state < ${ACCEPTED} RETURNING row, peer`
const PLACE = 'UPDATE messages SET seq = ?, place = ?, stamp = 0 WHERE row = ?'
/** How far the clock of this device may be behind. */
const CLOCK_AHEAD_MS = 3_600_000

/** The requests of these stamps have their place now. Returns the peers whose messages changed. */
function takeAccepted({ store }: Context, pairs: readonly number[], peers: Set<string>): void {
  const highest = new Map<string, number>()
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    const [stamp, seq] = [pairs[i] as number, pairs[i + 1] as number]
    const found = store.get(ACCEPT, seq, stamp)
    if (found === undefined) continue
    const peer = found['peer'] as string
    store.run(PLACE, seq, seq, found['row'] as number)
    highest.set(peer, Math.max(highest.get(peer) ?? 0, seq))
    peers.add(peer)
  }
  for (const [peer, seq] of highest) raiseMarks(store, peer, { highest: seq })
}

function takeMarks(context: Context, item: Receipt, peers: Set<string>): void {
  const { store } = context
  if (item.peer?.length !== ID_BYTES) return
  const peer = uuidText(item.peer)
  const isRaised = item.own
    ? raiseMarks(store, peer, { ownRead: item.read, toldRead: item.read })
    : raiseMarks(store, peer, capped(context, peer, item))
  for (const seq of item.expired) {
    store.run(
      `UPDATE messages SET failed = 'expired' WHERE peer = ? AND seq = ? AND author = ?`,
      peer,
      seq,
      context.account.user,
    )
  }
  if (isRaised || item.expired.length > 0) peers.add(peer)
}

/**
 * A mark of the future would mark what is sent later: it ends at what can have been numbered by now, or is known to be,
 * since this device's clock may be years behind.
 */
function capped(context: Context, peer: string, { delivered, read }: Receipt): { delivered: number; read: number } {
  const end = Math.max(seqFromMs(context.now() + CLOCK_AHEAD_MS), marksOf(context.store, peer).highest)
  return { delivered: Math.min(Math.max(delivered, read), end), read: Math.min(read, end) }
}

/** Returns the peers whose messages changed. */
export function takeReceipts(context: Context, items: readonly Receipt[]): Set<string> {
  const peers = new Set<string>()
  for (const item of items) takeAccepted(context, item.accepted, peers)
  for (const item of items) takeMarks(context, item, peers)
  return peers
}
