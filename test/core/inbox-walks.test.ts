/** The inbox of a cluster when its rows are read by more than its connection: by walks, and on other nodes before. */
import assert from 'node:assert/strict'
import { isAbove } from '../../core/cursor.ts'
import { createInboxView } from '../../core/inbox-view.ts'
import type { LowWatermark } from '../../core/low-watermark.ts'
import type { DeviceStates, InboxCursor, InboxRows, Log, Row } from '../../core/ports.ts'
import { ROW_FRAME } from '../../core/row.ts'

const LAST = 1_000_000
const quiet: Log = { info: () => undefined, warn: () => undefined, error: () => undefined }
const watermark: LowWatermark = {
  value: () => LAST,
  hear: () => undefined,
  onceReadable(_seq, call) {
    call()
    return () => undefined
  },
  stop: () => undefined,
}
const states = {
  open: async () => ({ subscribed: true, sentSeq: 0, lastStamp: 0, records: [], appendedSeq: 0 }),
  advanceSlot: async () => 1,
  close: async () => undefined,
  markOf: async () => LAST,
} as unknown as DeviceStates

/** Rows 1 to `count` of one device, and a cursor, as several nodes share them. */
function createStore(count: number) {
  let cursor: InboxCursor = { seq: 0, sub: 0, above: [] }
  const row = (seq: number): Row => {
    return { device: 'b', seq, sub: 0, kind: ROW_FRAME, peer: '', expiresMs: 0, source: undefined, start: 0, end: 0 }
  }
  const all = Array.from({ length: count }, (_, i) => row(i + 1))
  const isNamed = ({ seq }: Row): boolean => cursor.above.some((position) => position.seq === seq)
  const rows = {
    async page(_device, seq, sub, _upTo, limit) {
      const after = isAbove({ seq, sub }, cursor) ? { seq, sub } : cursor
      return all.filter((each) => isAbove(each, after) && !isNamed(each)).slice(0, limit)
    },
    cursor: async () => cursor,
    async saveCursor(_device, next) {
      if (!isAbove(cursor, next)) cursor = next
    },
  } as Pick<InboxRows, 'page' | 'cursor' | 'saveCursor'> as InboxRows
  return {
    node: () => createInboxView(rows, states, watermark, quiet, () => undefined),
    cursor: () => cursor.seq,
    put: (seq: number) => void all.push(row(seq)),
  }
}

const seqsOf = (rows: readonly Row[]): number[] => rows.map(({ seq }) => seq)

describe('the inbox of a cluster', () => {
  it('gives a walk that begins in the middle what is behind it', async () => {
    const { inbox, stop } = createStore(9).node()
    const seqs = [4]
    for (;;) {
      const rows = await inbox.page('b', seqs.at(-1) as number, 0, 3)
      if (rows.length === 0) break
      seqs.push(...seqsOf(rows))
    }
    assert.deepEqual(seqs, [4, 5, 6, 7, 8, 9])
    await stop()
  })

  it('does not move its cursor over what a walk passed over and nobody acknowledged', async () => {
    const store = createStore(9)
    const { inbox, stop } = store.node()
    await inbox.open('b')
    await inbox.page('b', 5, 0, 2)
    const rows = await inbox.page('b', 0, 0, 9)
    assert.deepEqual(seqsOf(rows), [1, 2, 3, 4, 5, 6, 7, 8, 9])
    inbox.acknowledge('b', rows.slice(5), [], [])
    await stop()
    assert.equal(store.cursor(), 0)
  })

  it('goes on where another node has left it, whatever a walk has read here before', async () => {
    const store = createStore(6)
    const [here, there] = [store.node(), store.node()]
    await here.inbox.page('b', 0, 0, 9)
    await there.inbox.open('b')
    there.inbox.acknowledge('b', await there.inbox.page('b', 0, 0, 9), [], [])
    await there.stop()
    assert.equal(store.cursor(), 6)
    store.put(7)
    await here.inbox.open('b')
    const rows = await here.inbox.page('b', 0, 0, 9)
    assert.deepEqual(seqsOf(rows), [7])
    here.inbox.acknowledge('b', rows, [], [])
    await here.stop()
    assert.equal(store.cursor(), 7)
  })

  it('lets a walk end rows of a device that is connected nowhere', async () => {
    const store = createStore(4)
    const { inbox, stop } = store.node()
    const rows = await inbox.page('b', 0, 0, 2)
    inbox.acknowledge('b', rows, [], [])
    await stop()
    assert.equal(store.cursor(), 2)
  })
})
