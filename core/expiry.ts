/**
 * Rows that nobody took in time (B3, B6): after 30 days, or after what their sender asked for. They are not delivered
 * any more, and their sender is told `expired`, which is final. The pump comes upon them as it reads, the retention
 * job as it walks; both end them here.
 */

import { seqToUnixMs } from '../topics/ids.ts'
import { limits } from '../topics/limits.ts'
import type { Envelope } from './envelope.ts'
import { appendOwn, receiptEnvelope, userOfKey } from './own-envelopes.ts'
import type { Ports } from './ports.ts'
import type { Row } from './row.ts'

/** Is it too late to deliver this row at unix time `nowMs`? Its seq is the time at which it was accepted. */
export function isExpired(row: Pick<Row, 'seq' | 'expiresMs'>, nowMs: number): boolean {
  return (row.expiresMs !== 0 && row.expiresMs < nowMs) || seqToUnixMs(row.seq) + limits.inboxTtlMs < nowMs
}

/**
 * Ends expired rows of one device of the user `by`. Senders are told first, one entry for each conversation, then the
 * rows leave: a crash between the two tells them once more, never not at all. A row that another device of the user
 * has acknowledged leaves in silence. Idempotent. Rejects with an IntakeFault; the rows are still there then.
 */
export async function expireRows(ports: Ports, by: string, device: string, rows: readonly Row[]): Promise<void> {
  const untold = new Map<string, number[]>()
  for (const { peer, seq } of rows) {
    if (peer === '' || (await ports.inbox.markOf(by, peer)) >= seq) continue
    const seqs = untold.get(peer)
    if (seqs === undefined) untold.set(peer, [seq])
    else seqs.push(seq)
  }
  const envelopes: Envelope[] = []
  for (const [peer, seqs] of untold) {
    const account = await ports.directory.account(userOfKey(peer))
    for (let at = 0; at < seqs.length; at += limits.seqsPerListMax) {
      const expired = seqs.slice(at, at + limits.seqsPerListMax)
      envelopes.push(receiptEnvelope(ports.intake.shards, { by, peer }, account?.devices ?? [], { expired }))
    }
  }
  if (envelopes.length > 0) await appendOwn(ports, envelopes)
  ports.inbox.acknowledge(device, rows, [], [])
}
