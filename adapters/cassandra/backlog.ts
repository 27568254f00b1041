/** All devices with rows, in the order of their tokens, which is the order in which Cassandra keeps partitions. */
import type { types } from 'cassandra-driver'
import type { Backlog } from '../../core/ports.ts'
import { dayOf, decodeCursor } from './cursor.ts'
import type { Session } from './session.ts'

/** Devices of one read. */
const READ_DEVICES_MAX = 200
/** Reads of one call: when so many devices in a row have nothing that waits, the last of them is named all the same. */
const READS_PER_CALL_MAX = 10
/** How long what was read ahead is used for the next calls. */
const AHEAD_TTL_MS = 60_000

/** Is its newest day behind the cursor? Then nothing waits; otherwise something may. */
function mayHaveRows(row: types.Row): boolean {
  const newestDay = row['day'] as number | null
  return newestDay !== null && newestDay >= dayOf(decodeCursor(row['cursor'] as Buffer | null).seq)
}

export function createBacklog(session: Session): Backlog {
  const select = `SELECT device, day, cursor FROM ${session.keyspace}.inboxes`
  const tail = `PER PARTITION LIMIT 1 LIMIT ${READ_DEVICES_MAX}`
  const first = { query: `${select} ${tail}`, params: [] }
  const behind = (device: string) => ({ query: `${select} WHERE token(device) > token(?) ${tail}`, params: [device] })
  /** Device → the next one, from one read: a walk asks for one device at a time. */
  let ahead = new Map<string, string>()
  let aheadEndMs = 0

  return {
    async deviceAfter(device) {
      const known = ahead.get(device)
      if (known !== undefined && performance.now() < aheadEndMs) return known
      let at = device
      for (let reads = 0; reads < READS_PER_CALL_MAX; reads++) {
        const found = await session.read(at === '' ? first : behind(at))
        const waiting = found.filter(mayHaveRows).map((row) => row['device'] as string)
        if (waiting.length > 0) {
          const chain = [device, ...waiting]
          ahead = new Map(waiting.map((next, i) => [chain[i] as string, next]))
          aheadEndMs = performance.now() + AHEAD_TTL_MS
          return waiting[0]
        }
        if (found.length < READ_DEVICES_MAX) return undefined
        at = found.at(-1)?.['device'] as string
      }
      return at
    },
  }
}
