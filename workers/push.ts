/**
 * Push: a device that is connected nowhere and got messages is woken through its vendor, once for all that waits. Who
 * writes rows notes the device; a job, one for each device, then looks at what waits and says how much it is, never
 * what. A push that is lost is made up for by the next message, and by the device's own next connection.
 */
import type { Job, JobQueue } from '../core/jobs.ts'
import type { Directory, Push, Row } from '../core/ports.ts'
import { ROW_FRAME } from '../core/row.ts'
import { decodeDelivery } from '../topics/codec.ts'
import { packetIdAt } from '../topics/frames.ts'

export interface PushPorts {
  readonly directory: Directory
  readonly push: Push
  /** The rows that wait for a device, oldest first, at most `limit`, whether or not they can be delivered yet. */
  waitingRows(device: string, limit: number): Promise<readonly Row[]>
}

/** From one job of a device to its next, of one process. */
export const PUSH_EVERY_MS = 10_000
/** Beyond, the one that was noted first is forgotten: its next message notes it again. */
const NOTED_DEVICES_MAX = 100_000
const LOOK_EVERY_MS = 1_000
/** Messages are counted up to it. */
export const PUSH_COUNT_MAX = 99
/** Receipts and notices may lie between messages: so many rows are looked at. */
const ROWS_MAX = 256

export interface PushNotes {
  /** A row was written for a device that is connected nowhere. Quick: it is on the way of every row. */
  note(row: Pick<Row, 'device' | 'kind'>): void
  stop(): void
}

/** Adds the job at the first note, and at most one more each PUSH_EVERY_MS while there are notes. */
export function createPushNotes(queue: JobQueue): PushNotes {
  /** By device, in the order of `untilMs`. */
  const noted = new Map<string, { readonly untilMs: number; isAgain: boolean }>()

  function add(device: string): void {
    noted.delete(device)
    noted.set(device, { untilMs: performance.now() + PUSH_EVERY_MS, isAgain: false })
    for (const first of noted.keys()) {
      if (noted.size <= NOTED_DEVICES_MAX) break
      noted.delete(first)
    }
    // The store is away: nothing is lost but a nudge.
    queue.add({ id: device, data: {} }).catch(() => undefined)
  }

  const timer = setInterval(() => {
    const now = performance.now()
    for (const [device, { untilMs, isAgain }] of noted) {
      if (untilMs > now) return
      if (isAgain) add(device)
      else noted.delete(device)
    }
  }, LOOK_EVERY_MS)
  timer.unref()
  return {
    note({ device, kind }) {
      if (kind !== ROW_FRAME) return
      const known = noted.get(device)
      if (known === undefined) add(device)
      else known.isAgain = true
    },
    stop: () => clearInterval(timer),
  }
}

/** Is it what its user waits for? Not a notice, an error, a request of another device, or a copy of what they sent. */
function isMessage({ source, start, end, kind }: Row): boolean {
  if (kind !== ROW_FRAME || source === undefined) return false
  const delivery = decodeDelivery(source.subarray(start + packetIdAt(source.subarray(start, end), 0) + 2, end))
  if (delivery.fault || delivery.own) return false
  const { raw, whisper, prekey, senderKey } = delivery
  return (raw ?? whisper ?? prekey ?? senderKey) !== undefined
}

/** One push for all that waits. Things have no vendor; who took everything meanwhile is left alone. Idempotent. */
export async function push({ id: device }: Job, ports: PushPorts): Promise<void> {
  const account = await ports.directory.accountOfDevice(device)
  if (account?.kind !== 'person') return
  const rows = await ports.waitingRows(device, ROWS_MAX)
  const waiting = Math.min(PUSH_COUNT_MAX, rows.filter(isMessage).length)
  if (waiting > 0) await ports.push.send(device, { waiting })
}
