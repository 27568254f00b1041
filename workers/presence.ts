/**
 * Presence, as far as somebody reads it: when a person's device was here last. Whoever ends a connection notes it; a
 * job of the device, some time later, asks who has it now. Who is back keeps what is known; of who is not, the time is
 * kept, which only grows, and it is pushed for what waits: what went to a connection that was dead already woke nobody.
 * A note that is lost costs an old time, and a push, until the device leaves again.
 */
import type { Job, JobQueue } from '../core/jobs.ts'
import type { Clock, LostClaims, Ports } from '../core/ports.ts'

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
export async function presence(
  { id: device, data }: Job,
  ports: Pick<Ports, 'claims' | 'accounts' | 'directory'>,
  ofPush: JobQueue,
): Promise<void> {
  const here = await ports.claims.locate([device])
  if (here.has(device)) return
  // Nobody asks when a thing was here.
  const account = await ports.directory.accountOfDevice(device)
  if (account?.kind !== 'person') return
  const { goneMs } = data as { goneMs: number }
  await ports.accounts.seen(device, goneMs - (goneMs % MINUTE_MS))
  await ofPush.add({ id: device, data: {} })
}

/** What the look for nodes that died knows from run to run. */
export interface Lost {
  /** Not heard at the look before. */
  readonly silent: readonly string[]
  /** Whose claims are walked now, from `cursor` on. */
  readonly dead: readonly string[]
  readonly cursor: string
}
export const LOST_BEGIN: Lost = { silent: [], dead: [], cursor: '' }

/**
 * One bounded step: who was silent twice has died, and its devices are noted as gone, a part of all claims at a time.
 * Idempotent: a walk that ends in the middle begins anew. When the queue is full, the same step comes again.
 */
export async function findLost(at: Lost, lost: LostClaims, queue: JobQueue, now: Clock): Promise<Lost> {
  if (at.dead.length === 0) {
    const silent = await lost.nodes()
    return { silent, dead: silent.filter((node) => at.silent.includes(node)), cursor: '' }
  }
  const { claims, cursor } = await lost.claims(at.dead, at.cursor)
  for (const device of claims.keys()) {
    if (!(await queue.add({ id: device, data: { goneMs: now() }, delayMs: WILL_MS }))) return at
  }
  // Behind their jobs: who dies here leaves them to the next look. Rows of who is gone find nobody from now on.
  await lost.release(claims)
  if (cursor !== '') return { ...at, cursor }
  await lost.forget(at.dead)
  return LOST_BEGIN
}
