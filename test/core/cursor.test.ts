import assert from 'node:assert/strict'
import { newTrack, noteAcknowledged, noteRead, takeCursor } from '../../core/cursor.ts'

const at = (...seqs: number[]) => seqs.map((seq) => ({ seq, sub: 0 }))
const START = { seq: 0, sub: 0 }

describe('a cursor', () => {
  it('stands below the first row that is open, and names those acknowledged above it', () => {
    const track = newTrack({ ...START, above: [] })
    noteRead(track, START, at(1, 2, 3, 4, 5))
    noteAcknowledged(track, at(1, 2, 4))
    assert.deepEqual(takeCursor(track), { seq: 2, sub: 0, above: at(4) })
    noteAcknowledged(track, at(3))
    assert.deepEqual(takeCursor(track), { seq: 4, sub: 0, above: [] })
  })

  it('stands at the last row that was read when none is open', () => {
    const track = newTrack({ ...START, above: [] })
    noteRead(track, START, at(1, 2))
    noteAcknowledged(track, at(2, 1, 1))
    assert.deepEqual(takeCursor(track), { seq: 2, sub: 0, above: [] })
  })

  it('goes by seq, then by shard', () => {
    const track = newTrack({ ...START, above: [] })
    noteRead(track, START, [
      { seq: 1, sub: 3 },
      { seq: 1, sub: 5 },
      { seq: 2, sub: 0 },
    ])
    noteAcknowledged(track, [{ seq: 1, sub: 3 }])
    assert.deepEqual(takeCursor(track), { seq: 1, sub: 3, above: [] })
  })

  it('goes on from where it was saved: what it names is not open again', () => {
    const track = newTrack({ seq: 4, sub: 0, above: at(6) })
    noteRead(track, { seq: 4, sub: 0 }, at(5, 6, 7))
    noteAcknowledged(track, at(5))
    assert.deepEqual(takeCursor(track), { seq: 6, sub: 0, above: [] })
  })

  it('does not pass a gap that nobody has read: what is acknowledged beyond it is named', () => {
    const track = newTrack({ ...START, above: [] })
    noteRead(track, { seq: 10, sub: 0 }, at(11, 12))
    noteAcknowledged(track, at(11, 12))
    assert.deepEqual(takeCursor(track), { ...START, above: at(11, 12) })
    noteRead(track, START, at(9, 11, 12))
    assert.deepEqual(takeCursor(track), { ...START, above: at(11, 12) })
    noteAcknowledged(track, at(9))
    assert.deepEqual(takeCursor(track), { seq: 12, sub: 0, above: [] })
  })
})
