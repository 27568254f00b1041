/**
 * Marks of the others, and accepted: which seq a stamp of this device got. Marks only grow; a message's state is what
 * the marks of its conversation say, so nothing is written for each message. In a turn.
 */
import { encodeSendRequest, type Receipt } from '../topics/codec.ts'
import { ID_BYTES, seqFromMs, uuidText } from '../topics/ids.ts'
import { type Core, idBytes } from './core.ts'
import { marksOf, raiseMarks } from './message-rows.ts'
import { ACCEPTED } from './outbox-rows.ts'

/** `stamp > 0` is what the index of stamps has: without these words it is not used. */
const ROW_OF_STAMP = 'SELECT row, peer FROM outbox WHERE stamp = ? AND stamp > 0 AND state < ?'
/** How far the clock of this device may be behind. */
const CLOCK_AHEAD_MS = 3_600_000

/** The requests of these stamps have their place now. Returns the peers whose messages changed. */
function takeAccepted({ store }: Core, pairs: readonly number[], peers: Set<string>): void {
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    const [stamp, seq] = [pairs[i] as number, pairs[i + 1] as number]
    const found = store.get(ROW_OF_STAMP, stamp, ACCEPTED)
    if (found === undefined) continue
    const [row, peer] = [found['row'] as number, found['peer'] as string]
    store.run('UPDATE outbox SET state = ?, seq = ?, request = NULL WHERE row = ?', ACCEPTED, seq, row)
    store.run('UPDATE messages SET seq = ?, place = ?, stamp = 0 WHERE row = ?', seq, seq, row)
    raiseMarks(store, peer, { highest: seq })
    peers.add(peer)
  }
}

function takeMarks(core: Core, item: Receipt, peers: Set<string>): void {
  const { store } = core
  if (item.peer?.length !== ID_BYTES) return
  const peer = uuidText(item.peer)
  const isRaised = item.own
    ? raiseMarks(store, peer, { ownRead: item.read, toldRead: item.read })
    : raiseMarks(store, peer, capped(core, peer, item))
  for (const seq of item.expired) {
    store.run(
      `UPDATE messages SET failed = 'expired' WHERE peer = ? AND seq = ? AND author = ?`,
      peer,
      seq,
      core.account.user,
    )
  }
  if (isRaised || item.expired.length > 0) peers.add(peer)
}

/**
 * A mark of the future would mark what is sent later: it ends at what can have been numbered by now, or is known to be,
 * since this device's clock may be years behind.
 */
function capped(core: Core, peer: string, { delivered, read }: Receipt): { delivered: number; read: number } {
  const end = Math.max(seqFromMs(core.now() + CLOCK_AHEAD_MS), marksOf(core.store, peer).highest)
  return { delivered: Math.min(Math.max(delivered, read), end), read: Math.min(read, end) }
}

/** Returns the peers whose messages changed. */
export function takeReceipts(core: Core, items: readonly Receipt[]): Set<string> {
  const peers = new Set<string>()
  for (const item of items) takeAccepted(core, item.accepted, peers)
  for (const item of items) takeMarks(core, item, peers)
  return peers
}

/** A request that says how far the user has read; it needs no stamp, may be repeated, and only grows. */
export function readRequest(peer: string, upTo: number): Uint8Array {
  return encodeSendRequest({ receipts: { items: [{ peer: idBytes(peer), read: upTo }] } })
}
