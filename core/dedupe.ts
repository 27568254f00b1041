/** Was this request sent before? The decision of rule A3, taken inside append and nowhere else. Pure. */
import { VERDICT_AGAIN, VERDICT_BEHIND, VERDICT_FULL, VERDICT_NEW } from './envelope.ts'

/**
 * A request with a record. `waitingHash` is the hash of the waiting record with this stamp, or undefined.
 * Time plays no part: a resend after ten days is still one message.
 */
export function judgeRequest(
  stamp: number,
  hash: number,
  lastStamp: number,
  waitingHash: number | undefined,
  waiting: number,
  waitingMax: number,
): number {
  if (stamp > lastStamp) return waiting >= waitingMax ? VERDICT_FULL : VERDICT_NEW
  return waitingHash === hash ? VERDICT_AGAIN : VERDICT_BEHIND
}

/** A thing's `<n>`: not above the last one is answered as done. */
export function judgeRising(stamp: number, lastStamp: number): number {
  return stamp > lastStamp ? VERDICT_NEW : VERDICT_AGAIN
}
