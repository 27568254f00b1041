/**
 * Retention (B6): walks the inboxes of all devices, over and over, and ends what nobody took in time, so that senders
 * hear of it even when the device never comes back.
 */
import { expireRows, isExpired } from '../core/expiry.ts'
import type { Ports } from '../core/ports.ts'
import { limits } from '../topics/limits.ts'

/** Where the walk stands: behind this row of this device. Nothing is lost with it; it begins again at ''. */
export interface Walk {
  readonly device: string
  readonly seq: number
  readonly sub: number
}
export const WALK_BEGIN: Walk = { device: '', seq: 0, sub: 0 }

/** One step reads at most so many rows and devices: a few milliseconds. */
const STEP_ROWS_MAX = 256
const STEP_DEVICES_MAX = 64
/** A row on its way may still be acknowledged: it is left alone for as long as a connection may take for that. */
const GRACE_MS = limits.ackTimeoutMs

/** Steps from `walk` on, until this round is over or so much time has passed. Gives where the next run begins. */
export async function retainFor(ms: number, walk: Walk, ports: Ports): Promise<Walk> {
  const untilMs = performance.now() + ms
  let at = walk
  do {
    at = await retain(at, ports)
  } while (at.device !== '' && performance.now() < untilMs)
  return at
}

/** One bounded step from `walk` on. Gives where the next one begins. Idempotent: a step may be taken twice. */
export async function retain(walk: Walk, ports: Ports): Promise<Walk> {
  let { device, seq, sub } = walk
  let rowsLeft = STEP_ROWS_MAX
  for (let devices = 0; devices < STEP_DEVICES_MAX && rowsLeft > 0; devices++) {
    const isInside = seq > 0
    const next = isInside ? device : await ports.backlog.deviceAfter(device)
    if (next === undefined) return WALK_BEGIN
    const limit = rowsLeft
    const rows = await ports.inbox.page(next, seq, sub, limit)
    const account = await ports.directory.accountOfDevice(next)
    const late = rows.filter((row) => isExpired(row, ports.now() - GRACE_MS))
    if (account === undefined) await ports.inbox.drop(next)
    else if (late.length > 0) await expireRows(ports, account.key, next, late)
    rowsLeft -= rows.length
    const last = rows.at(-1)
    const isDone = last === undefined || account === undefined
    device = next
    seq = isDone ? 0 : last.seq
    sub = isDone ? 0 : last.sub
  }
  return { device, seq, sub }
}
