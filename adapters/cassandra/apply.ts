/**
 * Writing rows: grouped by partition, so many parts at one time. Every write has the timestamp of its entry, so
 * one that is repeated, or comes late, changes nothing.
 */
import type { Row } from '../../core/ports.ts'
import { dayOf, seqToUnixUs } from './cursor.ts'
import { DAY_TTL_S } from './schema.ts'
import type { Session, Statement } from './session.ts'
import { createSharedWrites, type Part } from './shared-writes.ts'

/** Rows of one partition that travel together. Nodes answer more slowly to larger ones, and gain little. */
const BATCH_ROWS_MAX = 32
const BATCH_BYTES_MAX = 64 * 1024
/** Days that this process has written lately and does not write again. */
const KNOWN_DAYS_MAX = 100_000
const KNOWN_DAY_TTL_MS = 600_000
const DAY_US = 86_400_000_000

interface Partition {
  readonly device: string
  readonly day: number
  readonly rows: Row[]
}

/** `peer` is a latin1 text of a user's 16 bytes (core/row.ts). */
function insertOf(query: string, row: Row, day: number): Statement {
  const { device, seq, sub, kind, peer, expiresMs, source, start, end } = row
  if (source === undefined) throw new RangeError(`row ${device} ${seq} ${sub} has no bytes`)
  const body = Buffer.from(source.buffer, source.byteOffset + start, end - start)
  return {
    query,
    params: [device, day, seq, sub, kind, Buffer.from(peer, 'latin1'), expiresMs, body, seqToUnixUs(seq)],
  }
}

function partitionsOf(rows: readonly Row[]): Map<string, Partition> {
  const partitions = new Map<string, Partition>()
  for (const row of rows) {
    const day = dayOf(row.seq)
    const key = `${day} ${row.device}`
    const partition = partitions.get(key)
    if (partition === undefined) partitions.set(key, { device: row.device, day, rows: [row] })
    else partition.rows.push(row)
  }
  return partitions
}

function partsOf(query: string, { rows, day }: Partition): Part[] {
  const parts: Part[] = []
  let batch: Statement[] = []
  let bytes = 0
  for (const row of rows) {
    const rowBytes = row.end - row.start
    if (batch.length > 0 && (batch.length === BATCH_ROWS_MAX || bytes + rowBytes > BATCH_BYTES_MAX)) {
      parts.push({ statements: batch, bytes })
      batch = []
      bytes = 0
    }
    batch.push(insertOf(query, row, day))
    bytes += rowBytes
  }
  parts.push({ statements: batch, bytes })
  return parts
}

/** Runs `work` on each of `items`, at most `workersMax` at one time; begins no more after the first that fails. */
export async function inParallel<T>(
  items: readonly T[],
  workersMax: number,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  let next = 0
  let hasFailed = false
  const worker = async (): Promise<void> => {
    while (next < items.length && !hasFailed) {
      await work(items[next++] as T).catch((error: unknown) => {
        hasFailed = true
        throw error
      })
    }
  }
  // All of them end before this does: a caller that tries again does not meet its own statements.
  const ended = await Promise.allSettled(Array.from({ length: Math.min(workersMax, items.length) }, worker))
  for (const each of ended) if (each.status === 'rejected') throw each.reason
}

export function createApply(session: Session): (rows: readonly Row[]) => Promise<void> {
  const { keyspace, limits } = session
  const insertRow = `INSERT INTO ${keyspace}.inbox_rows (device, day, seq, sub, kind, peer, expires_ms, body)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?`
  const insertDay = `INSERT INTO ${keyspace}.inboxes (device, day) VALUES (?, ?)
    USING TIMESTAMP ? AND TTL ${DAY_TTL_S}`
  const write = createSharedWrites(session)
  /** Key of a partition → when it is written again. Oldest first. */
  const knownDays = new Map<string, number>()
  /** Rises when a node went, came, or did not answer: with a periodic commit log, days may be gone by then. */
  let era = 0
  function forgetDays(): void {
    era++
    knownDays.clear()
  }
  session.onNodes(forgetDays)

  function rememberDay(key: string): void {
    knownDays.delete(key)
    knownDays.set(key, performance.now() + KNOWN_DAY_TTL_MS)
    for (const oldest of knownDays.keys()) {
      if (knownDays.size <= KNOWN_DAYS_MAX) break
      knownDays.delete(oldest)
    }
  }
  return async (rows) => {
    const eraBefore = era
    const parts: Part[] = []
    const newDays: string[] = []
    for (const [key, partition] of partitionsOf(rows)) {
      parts.push(...partsOf(insertRow, partition))
      if ((knownDays.get(key) ?? 0) > performance.now()) continue
      newDays.push(key)
      // With the time at which the day began: the same from every process, and older than any row.
      const statement = { query: insertDay, params: [partition.device, partition.day, partition.day * DAY_US] }
      parts.push({ statements: [statement], bytes: 0 })
    }
    try {
      await inParallel(parts, limits.writesPerApplyMax, write)
    } catch (error) {
      forgetDays()
      throw error
    }
    if (era === eraBefore) for (const key of newDays) rememberDay(key)
  }
}
