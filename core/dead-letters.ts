/**
 * Envelopes that were accepted and cannot be applied (D2): kept with the reason until an operator looks at them, and
 * their sender is told. Sending one again is a new append with a new seq: what came behind it is not overtaken.
 */
import { DEDUPE_NONE, type Envelope, NO_ROWS, VERDICT_PENDING } from './envelope.ts'
import { appendOwn, errorEnvelope } from './own-envelopes.ts'
import type { DeadLetters, Ports } from './ports.ts'

const REASON_CHARS_MAX = 500

/**
 * The envelope is done with: its sender is told first, then it is kept. A crash between the two tells the sender once
 * more, never not at all. What the server made itself has nobody to be told. Rejects when a store is away; then it is
 * to be tried again.
 */
export async function bury(ports: Ports, letters: DeadLetters, envelope: Envelope, reason: string): Promise<void> {
  const { device } = envelope
  const account = device === '' ? undefined : await ports.directory.accountOfDevice(device)
  // A sender that was revoked meanwhile hears nothing any more.
  if (account !== undefined) {
    await appendOwn(ports, [errorEnvelope(envelope, account.kind === 'person', 'dead_letter')])
  }
  await letters.put(envelope, reason.slice(0, REASON_CHARS_MAX))
}

/**
 * Appends a dead letter again and forgets it; false when there is none of that id. It has no stamp and no record: its
 * sender was answered. A crash in between sends it once more. Rejects with an IntakeFault; it is kept then.
 */
export async function replay(ports: Ports, letters: DeadLetters, id: string): Promise<boolean> {
  const envelope = await letters.envelope(id)
  if (envelope === undefined) return false
  const again: Envelope = {
    ...envelope,
    device: '',
    stamp: 0,
    hash: 0,
    dedupe: DEDUPE_NONE,
    afterSeq: 0,
    verdict: VERDICT_PENDING,
    seq: 0,
    lastStamp: 0,
    rows: NO_ROWS,
  }
  await appendOwn(ports, [again])
  await letters.remove(id)
  return true
}
