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
}

export const isAbove = (a: Position, b: Position): boolean => a.seq > b.seq || (a.seq === b.seq && a.sub > b.sub)
export const positionKey = ({ seq, sub }: Position): string => `${seq}.${sub}`

/** Begins where the cursor stands. */
export function newTrack({ seq, sub, above }: InboxCursor): Track {
  const base = { seq, sub }
  return { base, open: [], last: base, above: [...above] }
}

/**
 * All rows above `from` and up to the last of these were read, in order; those read before are left out. Who begins
 * above what was read leaves a gap: nobody knows what lies in it, so that says nothing.
 */
export function noteRead(track: Track, from: Position, rows: readonly Position[]): void {
  if (isAbove(from, track.last)) return
  const known = new Set(track.above.map(positionKey))
  for (const { seq, sub } of rows) {
    const position = { seq, sub }
    if (!isAbove(position, track.last)) continue
    track.last = position
    if (!known.has(positionKey(position))) track.open.push(position)
  }
}

/** Rows were acknowledged, also such as were read beyond a gap. Idempotent. */
export function noteAcknowledged(track: Track, rows: readonly Position[]): void {
  const gone = new Set(rows.map(positionKey))
  track.open = track.open.filter((position) => !gone.has(positionKey(position)))
  const known = new Set(track.above.map(positionKey))
  for (const { seq, sub } of rows) {
    const position = { seq, sub }
    if (known.has(positionKey(position)) || !isAbove(position, track.base)) continue
    known.add(positionKey(position))
    track.above.push(position)
  }
}

/** Moves the base up to the first open row, and gives the cursor that stands there. */
export function takeCursor(track: Track): InboxCursor {
  const [first] = track.open
  for (const position of track.above) {
    // Reading is in order: below the first open row everything was read, and acknowledged.
    const isRead = first === undefined ? !isAbove(position, track.last) : isAbove(first, position)
    if (isRead && isAbove(position, track.base)) track.base = position
  }
  if (first === undefined && isAbove(track.last, track.base)) track.base = track.last
  const { base } = track
  track.above = track.above.filter((position) => isAbove(position, base)).sort((a, b) => (isAbove(a, b) ? 1 : -1))
  return { ...base, above: [...track.above] }
}
