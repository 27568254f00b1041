/**
 * The bound of an inbox by rows (B6), where rows are written by many workers. What they write is noted in memory and
 * added, once a second, to a guess that all share; a guess never falls by itself, so when it reaches the bound the rows
 * are counted, and that is the truth. A full device is counted again when its cursor has moved. A count reads positions
 * alone, and a process counts one device at a time. The overshoot is what arrives until the flag is seen everywhere.
 */
import type { InboxRows, Log, RowCounts } from '../core/ports.ts'

export interface CountPorts {
  readonly rows: Pick<InboxRows, 'waiting' | 'cursor'>
  readonly counts: RowCounts
  readonly inboxRowsMax: number
  readonly log: Log
}

export interface RowCounter {
  /** Rows were written for the device. On the hot path: it only remembers. */
  note(device: string): void
  /** Adds what was noted, and counts those that may be full. What the store does not take is kept for the next time. */
  flush(): Promise<void>
}

/** Devices with notes that the store does not take; of more the notes are dropped, and their guess stays below. */
const NOTED_DEVICES_MAX = 100_000
/** Devices of one look: any of those that are full. */
const LOOK_DEVICES_MAX = 64
/** It takes new rows below this share of the bound, so that it does not go to and fro with every message. */
const ROOM_SHARE = 7 / 8

async function count({ rows, counts, inboxRowsMax, log }: CountPorts, device: string): Promise<void> {
  const waiting = await rows.waiting(device, inboxRowsMax)
  await counts.set(device, waiting)
  if (waiting < inboxRowsMax) return
  await counts.setFull(device, true)
  log.warn({ device, rows: waiting }, 'an inbox is full')
}

export function createRowCounter(ports: CountPorts): RowCounter {
  let noted = new Map<string, number>()
  return {
    note(device) {
      noted.set(device, (noted.get(device) ?? 0) + 1)
    },
    async flush() {
      const taken = noted
      noted = new Map()
      let guesses: ReadonlyMap<string, number>
      try {
        guesses = await ports.counts.add(taken)
      } catch (error) {
        for (const [device, rows] of taken) {
          if (noted.size < NOTED_DEVICES_MAX) noted.set(device, rows + (noted.get(device) ?? 0))
        }
        throw error
      }
      // A count that fails comes again: the guess stays at the bound, and the next row shows it.
      for (const [device, rows] of guesses) if (rows >= ports.inboxRowsMax) await count(ports, device)
    },
  }
}

/** Where the cursors of full devices stood when their rows were counted; it may be forgotten. */
export type SeenCursors = Map<string, string>

/** One bounded look at full devices: who has room again takes rows again. Idempotent. */
export async function lookAtFull(ports: CountPorts, seen: SeenCursors): Promise<void> {
  const { rows, counts, inboxRowsMax, log } = ports
  const devices = await counts.fullDevices(LOOK_DEVICES_MAX)
  if (seen.size > devices.length && devices.length < LOOK_DEVICES_MAX) {
    for (const device of seen.keys()) if (!devices.includes(device)) seen.delete(device)
  }
  for (const device of devices) {
    const cursor = JSON.stringify(await rows.cursor(device))
    if (seen.get(device) === cursor) continue
    const waiting = await rows.waiting(device, inboxRowsMax)
    if (waiting >= inboxRowsMax * ROOM_SHARE) seen.set(device, cursor)
    else {
      await counts.set(device, waiting)
      await counts.setFull(device, false)
      seen.delete(device)
      log.info({ device, rows: waiting }, 'an inbox has room again')
    }
  }
}
