/** An entry of the journal: read to its end, or refused with a RangeError; never a range outside of it. */
import { type JournalReader, readJournal } from '../../../adapters/sqlite/journal.ts'
import { check, type Target } from '../target.ts'

function checking(entry: Buffer): JournalReader {
  return {
    envelope(_device, _dedupe, _stamp, _hash, _seq, _peer, rows) {
      for (const { start, end } of rows)
        check(start <= end && end <= entry.length, `a row ${start}..${end} of ${entry.length}`)
    },
    ack: (_device, seqs, subs) => check(seqs.length === subs.length, 'seqs and subs differ'),
    state: (_device, { slot }) => check(slot >= -1 && slot < 255, `slot ${slot}`),
    drop: () => undefined,
    marked: () => undefined,
  }
}

export const journal: Target = {
  name: 'journal',
  run(input) {
    // Most inputs are refused, and a stack costs more than the reading.
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = 0
    try {
      readJournal(input, checking(input))
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
    } finally {
      Error.stackTraceLimit = stackTraceLimit
    }
  },
}
