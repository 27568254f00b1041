/**
 * What a sender is told about a request that was sent before (A3). The decision itself is `core/dedupe`, taken inside
 * append.
 */
import { type Envelope, VERDICT_AGAIN, VERDICT_AHEAD, VERDICT_FULL } from '../core/envelope.ts'
import { type Refusal, refusal } from './refuse.ts'

/** Undefined: stored before, PUBACK and nothing else. */
export function refusalOf(envelope: Envelope): Refusal | undefined {
  if (envelope.verdict === VERDICT_AGAIN) return undefined
  if (envelope.verdict === VERDICT_FULL) return refusal('records_full', envelope.stamp)
  if (envelope.verdict === VERDICT_AHEAD) return refusal('seq_ahead', envelope.stamp)
  return { ...refusal('stamp_behind', envelope.stamp), lastStamp: envelope.lastStamp }
}
