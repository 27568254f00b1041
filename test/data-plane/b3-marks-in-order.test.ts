/** B3, P7: delivered marks of a conversation are appended one after the other, however long a store takes for one. */
import assert from 'node:assert/strict'
import type { Envelope } from '../../core/envelope.ts'
import type { Mark, Ports } from '../../core/ports.ts'
import { createReceipts, noteMark } from '../../plugins/receipts.ts'
import type { Flow } from '../../plugins/window.ts'

const BY = 'b'.repeat(16)
const PEER = 'p'.repeat(16)
const mark = (upTo: number): Mark => ({ by: BY, peer: PEER, upTo })

describe('B3: delivered marks', () => {
  it('never come behind a higher one, also when the first is looked up for long', async () => {
    const appended: number[] = []
    let asked = 0
    let answer: () => void = () => undefined
    let isDone: () => void = () => undefined
    const done = new Promise<void>((resolve) => {
      isDone = resolve
    })
    const ports = {
      inbox: { markOf: async () => 0 },
      directory: {
        account() {
          if (++asked > 1) return Promise.resolve(undefined)
          return new Promise((resolve) => {
            answer = () => resolve(undefined)
          })
        },
      },
      claims: { wake: () => 'away' },
      intake: {
        shards: 1,
        async append(_shard: number, batch: readonly Envelope[]) {
          for (const envelope of batch) appended.push(envelope.mark?.upTo ?? 0)
          if (appended.includes(9)) isDone()
        },
      },
    } as unknown as Ports
    const receipts = createReceipts({ ports } as Flow)
    noteMark(receipts, mark(5))
    while (asked === 0) await new Promise((resolve) => setTimeout(resolve, 10))
    noteMark(receipts, mark(9))
    // The second one is due, too, before the first has its answer.
    await new Promise((resolve) => setTimeout(resolve, 300))
    assert.deepEqual(appended, [])
    answer()
    await done
    assert.deepEqual(appended, [5, 9])
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(receipts.appending.size, 0)
    receipts.marksDue.stop()
  })
})
