/**
 * What a reader of an inbox has seen and acknowledged, as positions (seq, sub), and the cursor that follows (D4): the
 * last position below which everything is acknowledged, with those acknowledged above it. Pure.
 */
import type { InboxCursor, Position } from './ports.ts'

export interface Track {
  /** Everything at or below it is acknowledged. */
  base: Position
  /** Read and not acknowledged, in order. */
  open: Position[]
  /** The highest position that was read. */
  last: Position
  /** Acknowledged above the base. */
  above: Position[]
  /** Acknowledged since the cursor was taken last. */
  count: number
}

export const isAbove = (a: Position, b: Position): boolean => a.seq > b.seq || (a.seq === b.seq && a.sub > b.sub)
export const positionKey = ({ seq, sub }: Position): string => `${seq}.${sub}`

/** Begins where the cursor stands. */
export function newTrack({ seq, sub, above }: InboxCursor): Track {
  const base = { seq, sub }
  return { base, open: [], last: base, above: [...above], count: 0 }
}

/** Rows were read, in order, from the base on; those read before are left out. */
export function noteRead(track: Track, rows: readonly Position[]): void {
  for (const { seq, sub } of rows) {
    const position = { seq, sub }
    if (!isAbove(position, track.last)) continue
    track.last = position
    track.open.push(position)
  }
}

/** Rows were acknowledged. Idempotent. */
export function noteAcknowledged(track: Track, rows: readonly Position[]): void {
  const gone = new Set(rows.map(positionKey))
  const kept: Position[] = []
  for (const position of track.open) {
    if (!gone.has(positionKey(position))) kept.push(position)
    else {
      track.above.push(position)
      track.count++
    }
  }
  track.open = kept
}

/** Moves the base up to the first open row, and gives the cursor that stands there. */
export function takeCursor(track: Track): InboxCursor {
  const [first] = track.open
  track.count = 0
  for (const position of track.above) {
    // Reading is in order: below the first open row everything was read, and acknowledged.
    if ((first === undefined || isAbove(first, position)) && isAbove(position, track.base)) track.base = position
  }
  if (first === undefined && isAbove(track.last, track.base)) track.base = track.last
  const { base } = track
  track.above = track.above.filter((position) => isAbove(position, base)).sort((a, b) => (isAbove(a, b) ? 1 : -1))
  return { ...base, above: [...track.above] }
}
