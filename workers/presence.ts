/**
 * Presence, as far as somebody reads it: when a person's device was here last. Whoever ends a connection notes it; a
 * job of the device, some time later, asks who has it now. Who is back keeps what is known; of who is not, the time is
 * kept, which only grows. A note that is lost costs an old time, until the device leaves again.
 */
import type { Job, JobQueue } from '../core/jobs.ts'
import type { Clock, Ports } from '../core/ports.ts'

/** A connection that breaks is made again, somewhere: the device has so long before it counts as gone. */
const LEASE_MS = 30_000
/** With a will that is due it counts as gone sooner. The will decides nothing else. */
const WILL_MS = 1_000
/** When exactly it left is nobody's business. */
const MINUTE_MS = 60_000

export type NoteGone = (device: string, isWillDue: boolean) => void

/** Quick, never throws: it is called as connections end. Bounded by the queue, with one job of each device. */
export function createGoneNotes(queue: JobQueue, now: Clock): NoteGone {
  return (device, isWillDue) => {
    const job: Job = { id: device, data: { goneMs: now() }, delayMs: isWillDue ? WILL_MS : LEASE_MS }
    // The store is away: nothing is lost but a time.
    queue.add(job).catch(() => undefined)
  }
}

/** Idempotent, in any order: an older time changes nothing. */
export async function presence({ id: device, data }: Job, ports: Pick<Ports, 'claims' | 'accounts'>): Promise<void> {
  const here = await ports.claims.locate([device])
  if (here.has(device)) return
  const { goneMs } = data as { goneMs: number }
  await ports.accounts.seen(device, goneMs - (goneMs % MINUTE_MS))
}
