/**
 * History for a newly linked device: the last messages, in pieces that fit a request, through the inbox like everything
 * else and encrypted like everything else. In a turn.
 */
import type { HistoryMessage } from '../../topics/codec/content-plain.ts'
import { type Context, idBytes } from '../context.ts'
import { queueSignal } from '../outbox/outbox-rows.ts'
import { type Marks, marksOf } from '../store/message-rows.ts'
import type { Columns } from '../store/open.ts'

const MESSAGES_MAX = 1_000
/** With the frames around it below `contentBytesMax`. Texts are shorter; what is longer alone is left out. */
const PIECE_BYTES_MAX = 48 * 1024
const ROW_BYTES = 64

/** HistoryMessage.status. */
const HISTORY_ACCEPTED = 1
export const HISTORY_DELIVERED = 2
export const HISTORY_READ = 3

type Piece = Pick<HistoryMessage, 'content' | 'peer' | 'author' | 'seq' | 'sentMs' | 'status'>[]

/** Of an own message: how far it has come. Of another's: whether this user has read it. */
function statusNumber(row: Columns, { delivered, read, ownRead }: Marks, isOwn: boolean): number {
  const seq = row['seq'] as number
  if (seq <= (isOwn ? read : ownRead)) return HISTORY_READ
  return isOwn && seq <= delivered ? HISTORY_DELIVERED : HISTORY_ACCEPTED
}

function piecesOf({ store, account }: Context): Piece[] {
  const rows = store
    .all('SELECT * FROM messages WHERE shown = 1 AND seq > 0 ORDER BY place DESC LIMIT ?', MESSAGES_MAX)
    .reverse()
  const pieces: Piece[] = []
  const marks = new Map<string, Marks>()
  const marksFor = (peer: string): Marks => {
    const known = marks.get(peer) ?? marksOf(store, peer)
    marks.set(peer, known)
    return known
  }
  let bytes = PIECE_BYTES_MAX
  for (const row of rows) {
    const content = store.vault.open(`message ${row['row']}`, row['sealed'] as Uint8Array)
    if (content.length + ROW_BYTES > PIECE_BYTES_MAX) continue
    bytes += content.length + ROW_BYTES
    if (bytes > PIECE_BYTES_MAX) {
      pieces.push([])
      bytes = content.length + ROW_BYTES
    }
    pieces.at(-1)?.push({
      content,
      peer: idBytes(row['peer'] as string),
      author: idBytes(row['author'] as string),
      seq: row['seq'] as number,
      sentMs: row['sent_ms'] as number,
      status: statusNumber(row, marksFor(row['peer'] as string), row['author'] === account.user),
    })
  }
  return pieces
}

/** Queues what was written before for one own device. */
export function queueHistory(context: Context, device: number): void {
  const { user } = context.account
  const pieces = piecesOf(context)
  for (const [index, messages] of pieces.entries()) {
    queueSignal(context, user, { historyPiece: { index, count: pieces.length, messages } }, { user, device })
  }
}
