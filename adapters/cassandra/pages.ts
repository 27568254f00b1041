/** Reading an inbox: its cursor and days in one read, then day after day until a page is full. */
import type { types } from 'cassandra-driver'
import type { InboxCursor, Position, Row } from '../../core/ports.ts'
import { limits } from '../../topics/limits.ts'
import { comparePositions, dayOf, decodeCursor } from './cursor.ts'
import type { Session } from './session.ts'

/** Rows of the first read of a page: it is not known yet how large they are, and 1,024 of the largest are 132 MiB. */
const FIRST_READ_ROWS = 64
const SUB_MAX = 2_147_483_647
/** Positions of one read when rows are only counted. */
const COUNT_READ_ROWS = 5_000

export interface InboxHead {
  readonly cursor: InboxCursor
  /** Days that have rows, oldest first. At most as many as a row lives. */
  readonly days: readonly number[]
}

export interface Pages {
  headOf(device: string): Promise<InboxHead>
  page(device: string, after: Position, upToSeq: number, limit: number): Promise<Row[]>
  waiting(device: string, limit: number): Promise<number>
}

function rowOf(device: string, found: types.Row): Row {
  const body = found['body'] as Buffer
  return {
    device,
    seq: (found['seq'] as types.Long).toNumber(),
    sub: found['sub'] as number,
    kind: found['kind'] as Row['kind'],
    peer: (found['peer'] as Buffer).toString('latin1'),
    expiresMs: (found['expires_ms'] as types.Long).toNumber(),
    source: body,
    start: 0,
    end: body.length,
  }
}

/** As many as will probably go beyond the bytes of a page, judging by those that were read. */
function readRows(wanted: number, readBefore: number, bytes: number): number {
  if (readBefore === 0) return Math.min(wanted, FIRST_READ_ROWS)
  const rowBytes = Math.max(1, bytes / readBefore)
  return Math.min(wanted, Math.max(FIRST_READ_ROWS / 8, Math.ceil((limits.pageBytesMax - bytes) / rowBytes) + 1))
}

export function createPages(session: Session): Pages {
  const selectHead = `SELECT cursor, day FROM ${session.keyspace}.inboxes WHERE device = ?`
  const selectRows = `SELECT seq, sub, kind, peer, expires_ms, body FROM ${session.keyspace}.inbox_rows
    WHERE device = ? AND day = ? AND (seq, sub) > (?, ?) AND (seq, sub) <= (?, ?) LIMIT ?`

  const selectPositions = `SELECT seq, sub FROM ${session.keyspace}.inbox_rows
    WHERE device = ? AND day = ? AND (seq, sub) > (?, ?) LIMIT ?`

  async function headOf(device: string): Promise<InboxHead> {
    const found = await session.read({ query: selectHead, params: [device] })
    const days = found.map((row) => row['day'] as number | null).filter((day) => day !== null)
    return { cursor: decodeCursor(found[0]?.['cursor'] as Buffer | null | undefined), days: days.reverse() }
  }

  async function page(device: string, after: Position, upToSeq: number, limit: number): Promise<Row[]> {
    const { cursor, days } = await headOf(device)
    const acknowledged = new Set(cursor.above.map(({ seq, sub }) => `${seq} ${sub}`))
    let at: Position = comparePositions(after, cursor) > 0 ? after : cursor
    const firstDay = dayOf(at.seq)
    const rows: Row[] = []
    let bytes = 0
    let read = 0
    for (const day of days) {
      if (day < firstDay || day > dayOf(upToSeq)) continue
      for (;;) {
        const wanted = readRows(limit - rows.length, read, bytes)
        const params = [device, day, at.seq, at.sub, upToSeq, SUB_MAX, wanted]
        const found = await session.read({ query: selectRows, params })
        for (const each of found) {
          const row = rowOf(device, each)
          at = row
          read++
          bytes += row.end
          if (!acknowledged.has(`${row.seq} ${row.sub}`)) rows.push(row)
          if (rows.length === limit || (bytes > limits.pageBytesMax && rows.length > 0)) return rows
        }
        if (found.length < wanted) break
      }
    }
    return rows
  }

  async function waiting(device: string, limit: number): Promise<number> {
    const { cursor, days } = await headOf(device)
    const acknowledged = new Set(cursor.above.map(({ seq, sub }) => `${seq} ${sub}`))
    let at: Position = cursor
    let count = 0
    for (const day of days) {
      if (day < dayOf(cursor.seq)) continue
      for (;;) {
        const params = [device, day, at.seq, at.sub, COUNT_READ_ROWS]
        const found = await session.read({ query: selectPositions, params })
        for (const row of found) {
          at = { seq: (row['seq'] as types.Long).toNumber(), sub: row['sub'] as number }
          if (!acknowledged.has(`${at.seq} ${at.sub}`)) count++
          if (count === limit) return count
        }
        if (found.length < COUNT_READ_ROWS) break
      }
    }
    return count
  }

  return { headOf, page, waiting }
}
