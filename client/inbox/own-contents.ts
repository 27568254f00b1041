/** Contents that are shown nowhere: what one's own devices tell each other, and nobody else may. */
import type { Content } from '../../topics/codec/content-plain.ts'
import { decodeContent } from '../../topics/codec.ts'
import { ID_BYTES, uuidText } from '../../topics/ids.ts'
import type { Context } from '../context.ts'
import { HISTORY_DELIVERED, HISTORY_READ } from '../devices/history.ts'
import { isShownContent, putMessage, raiseMarks } from '../store/message-rows.ts'
import type { Turn } from '../store/open.ts'
import type { Sender } from './retries.ts'

export interface OwnContents {
  /** In a turn. From another account nothing has an effect: what a `heal` is for is done when it was decrypted. */
  take(turn: Turn, from: Sender, content: Content): void
}

const HISTORY_MESSAGES_MAX = 1_000

export function createOwnContents(context: Context): OwnContents {
  const { store, account, emit } = context

  /** Messages of before this device was linked: put where they stood, each once. */
  function takeHistory(turn: Turn, content: Content): void {
    const peers = new Set<string>()
    for (const { content: bytes, peer, author, seq, sentMs, status } of (content.historyPiece?.messages ?? []).slice(
      0,
      HISTORY_MESSAGES_MAX,
    )) {
      const inner = bytes && decodeContent(bytes)
      if (bytes === undefined || inner === undefined || inner.fault || inner.id?.length !== ID_BYTES) continue
      if (peer?.length !== ID_BYTES || author?.length !== ID_BYTES) continue
      const name = uuidText(peer)
      putMessage(store, {
        row: context.nextRow(),
        peer: name,
        author: uuidText(author),
        device: 0,
        id: Uint8Array.from(inner.id),
        seq,
        place: seq,
        stamp: 0,
        isShown: isShownContent(inner),
        sentMs,
        content: bytes,
      })
      const isOwn = uuidText(author) === account.user
      const read = status === HISTORY_READ ? seq : 0
      const delivered = isOwn && (status === HISTORY_DELIVERED || read > 0) ? seq : 0
      raiseMarks(store, name, { highest: seq, delivered, ...(isOwn ? { read } : { ownRead: read, toldRead: read }) })
      peers.add(name)
    }
    for (const peer of peers) turn.after(() => emit('status', { peer }))
  }

  return {
    take(turn, from, content) {
      if (from.author !== account.user) return
      if (content.kind === 'historyPiece') takeHistory(turn, content)
      if (content.kind === 'devicesChanged') {
        const { added = [], removed = [] } = content.devicesChanged ?? {}
        turn.after(() => emit('devicesChanged', { user: account.user, added, removed }))
      }
    },
  }
}
