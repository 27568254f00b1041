/** Inbox rows in Cassandra: immutable, in day partitions, read from a cursor up to the watermark (D3, D4). */
import type { InboxRows } from '../../core/ports.ts'
import { createApply, inParallel } from './apply.ts'
import { dayOf, decodeCursor, encodeCursor, seqToUnixUs } from './cursor.ts'
import { createPages } from './pages.ts'
import { ROW_TTL_S } from './schema.ts'
import type { Session } from './session.ts'

const DAYS_KEPT = ROW_TTL_S / 86_400
/** Longer than a revocation takes to be known everywhere (limits.revokeDelayMsMax) and a directory stays cached. */
const DROP_AHEAD_US = 60_000_000

function statementsOf(keyspace: string) {
  return {
    cursor: `SELECT cursor FROM ${keyspace}.inboxes WHERE device = ? LIMIT 1`,
    saveCursor: `UPDATE ${keyspace}.inboxes USING TIMESTAMP ? SET cursor = ? WHERE device = ?`,
    purgeRows: `DELETE FROM ${keyspace}.inbox_rows USING TIMESTAMP ?
      WHERE device = ? AND day = ? AND (seq, sub) <= (?, ?)`,
    purgeDay: `DELETE FROM ${keyspace}.inboxes USING TIMESTAMP ? WHERE device = ? AND day = ?`,
    dropRows: `DELETE FROM ${keyspace}.inbox_rows USING TIMESTAMP ? WHERE device = ? AND day = ?`,
    dropInbox: `DELETE FROM ${keyspace}.inboxes USING TIMESTAMP ? WHERE device = ?`,
  }
}

export function createInboxRows(session: Session): InboxRows {
  const statements = statementsOf(session.keyspace)
  const { headOf, page, waiting } = createPages(session)

  return {
    apply: createApply(session),
    page: (device, seq, sub, upToSeq, limit) => page(device, { seq, sub }, upToSeq, limit),
    waiting,
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
