/**
 * Rows that nodes were told of before they may be read (D3): held until the watermark is past them, and then given in
 * the order of their positions, whatever shard they came from. Bounded; of what does not fit only the device is kept.
 */
import type { Row } from './ports.ts'

export interface HeldLimits {
  readonly rowsMax: number
  readonly bytesMax: number
}

export const heldLimits: HeldLimits = { rowsMax: 100_000, bytesMax: 32 * 1024 * 1024 }

export interface HeldRows {
  hold(row: Row): void
  /** Rows at or below the watermark, in order. Rows without bytes stand for a device whose inbox is to be read. */
  take(upTo: number): Row[]
  /** Rows that wait, and devices whose rows did not fit. */
  count(): number
  clear(): void
}

const byPosition = (a: Row, b: Row): number => a.seq - b.seq || a.sub - b.sub

export function createHeldRows(limits: HeldLimits = heldLimits): HeldRows {
  let rows: Row[] = []
  let bytes = 0
  let lowest = Number.POSITIVE_INFINITY
  /** By device, the lowest that was not held, and the highest. Behind the lowest nothing is held. */
  const late = new Map<string, { readonly row: Row; readonly highest: number }>()

  function noteLate(row: Row): void {
    const known = late.get(row.device)
    const first = known === undefined || row.seq < known.row.seq ? { ...row, source: undefined } : known.row
    late.set(row.device, { row: first, highest: Math.max(known?.highest ?? 0, row.seq) })
  }

  return {
    hold(row) {
      lowest = Math.min(lowest, row.seq)
      const size = row.source === undefined ? 0 : row.end - row.start
      const isFull = rows.length >= limits.rowsMax || bytes + size > limits.bytesMax
      if (isFull || late.has(row.device)) return noteLate(row)
      rows.push(row)
      bytes += size
    },
    take(upTo) {
      if (upTo < lowest) return []
      const due: Row[] = []
      const kept: Row[] = []
      lowest = Number.POSITIVE_INFINITY
      for (const row of rows) {
        if (row.seq <= upTo) {
          due.push(row)
          if (row.source !== undefined) bytes -= row.end - row.start
        } else {
          kept.push(row)
          lowest = Math.min(lowest, row.seq)
        }
      }
      rows = kept
      for (const [device, { row, highest }] of late) {
        if (row.seq <= upTo) {
          due.push(row)
          late.delete(device)
          if (highest > upTo) late.set(device, { row: { ...row, seq: upTo + 1 }, highest })
        }
        if (highest > upTo) lowest = Math.min(lowest, Math.max(row.seq, upTo + 1))
      }
      return due.sort(byPosition)
    },
    count: () => rows.length + late.size,
    clear() {
      rows = []
      bytes = 0
      lowest = Number.POSITIVE_INFINITY
      late.clear()
    },
  }
}
