/**
 * History for a newly linked device: the last messages, in pieces that fit a request, through the inbox like everything
 * else and encrypted like everything else. In a turn.
 */
import type { HistoryMessage } from '../topics/codec/content-plain.ts'
import { type Core, idBytes } from './core.ts'
import { queueSignal } from './outbox-rows.ts'

const MESSAGES_MAX = 1_000
/** With the frame around it below `envelopeBytesMax`, whatever is in the messages. */
const PIECE_BYTES_MAX = 48 * 1024
const ROW_BYTES = 64

type Piece = Pick<HistoryMessage, 'content' | 'peer' | 'author' | 'seq' | 'sentMs' | 'status'>[]

function piecesOf({ store }: Core): Piece[] {
  const rows = store
    .all('SELECT * FROM messages WHERE shown = 1 AND seq > 0 ORDER BY place DESC LIMIT ?', MESSAGES_MAX)
    .reverse()
  const pieces: Piece[] = []
  let bytes = PIECE_BYTES_MAX
  for (const row of rows) {
    const content = store.vault.open(`message ${row['row']}`, row['sealed'] as Uint8Array)
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
      status: 1,
    })
  }
  return pieces
}

/** Queues what was written before for one own device. */
export function queueHistory(core: Core, device: number): void {
  const { user } = core.account
  const pieces = piecesOf(core)
  for (const [index, messages] of pieces.entries()) {
    queueSignal(core, user, { historyPiece: { index, count: pieces.length, messages } }, { user, device })
  }
}
