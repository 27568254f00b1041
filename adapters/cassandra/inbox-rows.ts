/** Inbox rows in Cassandra: immutable, in day partitions, read from a cursor up to the watermark (D3, D4). */
import type { types } from 'cassandra-driver'
import type { InboxCursor, InboxRows, Position, Row } from '../../core/ports.ts'
import { limits } from '../../topics/limits.ts'
import { createApply, inParallel } from './apply.ts'
import { comparePositions, dayOf, decodeCursor, encodeCursor, seqToUnixUs } from './cursor.ts'
import { ROW_TTL_S } from './schema.ts'
import type { Session } from './session.ts'

/** Rows of the first read of a page: it is not known yet how large they are, and 1,024 of the largest are 132 MiB. */
const FIRST_READ_ROWS = 64
const SUB_MAX = 2_147_483_647
const DAYS_KEPT = ROW_TTL_S / 86_400
/** Longer than a revocation takes to be known everywhere (limits.revokeDelayMsMax) and a directory stays cached. */
const DROP_AHEAD_US = 60_000_000

interface InboxHead {
  readonly cursor: InboxCursor
  /** Days that have rows, oldest first. At most as many as a row lives. */
  readonly days: readonly number[]
}

function statementsOf(keyspace: string) {
  return {
    head: `SELECT cursor, day FROM ${keyspace}.inboxes WHERE device = ?`,
    cursor: `SELECT cursor FROM ${keyspace}.inboxes WHERE device = ? LIMIT 1`,
    page: `SELECT seq, sub, kind, peer, expires_ms, body FROM ${keyspace}.inbox_rows
      WHERE device = ? AND day = ? AND (seq, sub) > (?, ?) AND (seq, sub) <= (?, ?) LIMIT ?`,
    saveCursor: `UPDATE ${keyspace}.inboxes USING TIMESTAMP ? SET cursor = ? WHERE device = ?`,
    purgeRows: `DELETE FROM ${keyspace}.inbox_rows USING TIMESTAMP ?
      WHERE device = ? AND day = ? AND (seq, sub) <= (?, ?)`,
    purgeDay: `DELETE FROM ${keyspace}.inboxes USING TIMESTAMP ? WHERE device = ? AND day = ?`,
    dropRows: `DELETE FROM ${keyspace}.inbox_rows USING TIMESTAMP ? WHERE device = ? AND day = ?`,
    dropInbox: `DELETE FROM ${keyspace}.inboxes USING TIMESTAMP ? WHERE device = ?`,
  }
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

export function createInboxRows(session: Session): InboxRows {
  const statements = statementsOf(session.keyspace)

  async function headOf(device: string): Promise<InboxHead> {
    const found = await session.read({ query: statements.head, params: [device] })
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
        const found = await session.read({ query: statements.page, params })
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

  return {
    apply: createApply(session),
    page: (device, seq, sub, upToSeq, limit) => page(device, { seq, sub }, upToSeq, limit),
    async cursor(device) {
      const found = await session.read({ query: statements.cursor, params: [device] })
      return decodeCursor(found[0]?.['cursor'] as Buffer | null | undefined)
    },
    async saveCursor(device, cursor) {
      const params = [seqToUnixUs(cursor.seq), encodeCursor(cursor), device]
      await session.run({ query: statements.saveCursor, params })
    },
    // The time of the cursor's position is not older than any row at or below it, and a delete beats a write of its own
    // microsecond: what is removed cannot come back by being applied again.
    async purge(device) {
      const { cursor, days } = await headOf(device)
      const timeUs = seqToUnixUs(cursor.seq)
      const past = days.filter((day) => day <= dayOf(cursor.seq))
      await inParallel(past, session.limits.writesPerApplyMax, async (day) => {
        await session.run({ query: statements.purgeRows, params: [timeUs, device, day, cursor.seq, cursor.sub] })
        // Only after its rows: a purge that was cut short finds them again.
        if (day < dayOf(cursor.seq)) await session.run({ query: statements.purgeDay, params: [timeUs, device, day] })
      })
    },
    // Without looking which days there are: a row that is being applied right now may be the first of its day. A minute
    // ahead, and not for ever: a file with a timestamp of the far future would keep files of rows from being removed.
    async drop(device, atSeq) {
      const timeUs = seqToUnixUs(atSeq) + DROP_AHEAD_US
      const today = dayOf(atSeq)
      const days = Array.from({ length: DAYS_KEPT + 2 }, (_, i) => today + 1 - i)
      await inParallel(days, session.limits.writesPerApplyMax, (day) =>
        session.run({ query: statements.dropRows, params: [timeUs, device, day] }),
      )
      await session.run({ query: statements.dropInbox, params: [timeUs, device] })
    },
  }
}
