/** Numbers of envelopes (A1): strictly rising, time in the high part, a safe integer until 2042. Pure. */
import { seqFromMs } from '../topics/ids.ts'

/** The next seq of a shard after `last`, at unix time `nowMs`, above `afterSeq`. Always above all three. */
export function nextSeq(last: number, nowMs: number, afterSeq: number): number {
  return Math.max(last + 1, seqFromMs(nowMs), afterSeq + 1)
}

/** May a sender claim to hold `afterSeq`? Only up to `aheadMsMax` in front of the store's own clock or numbers. */
export function isSeqAhead(afterSeq: number, last: number, nowMs: number, aheadMsMax: number): boolean {
  return afterSeq > Math.max(last, seqFromMs(nowMs)) + aheadMsMax * 16384
}
