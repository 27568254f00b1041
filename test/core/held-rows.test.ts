/** Rows that wait for the watermark (D3), and when turns are asked for (D1). */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { createHeldRows } from '../../core/held-rows.ts'
import { createNudges } from '../../core/nudges.ts'
import { ROW_FRAME, type Row } from '../../core/row.ts'

const SOURCE = Buffer.alloc(10)
const row = (device: string, seq: number, sub: number, source: Buffer | undefined = SOURCE): Row => ({
  device,
  seq,
  sub,
  kind: ROW_FRAME,
  peer: '',
  expiresMs: 0,
  source,
  start: 0,
  end: source === undefined ? 0 : source.length,
})
const place = ({ device, seq, sub }: Row): string => `${device} ${seq}.${sub}`

describe('rows that nodes were told of', () => {
  const someRow = fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.nat(30), fc.nat(3))
  const steps = fc.array(fc.oneof(someRow, fc.nat(30)))

  it('are given when the watermark is past them, each once, in the order of their positions', () => {
    fc.assert(
      fc.property(steps, (script) => {
        const held = createHeldRows()
        let upTo = 0
        const told: Row[] = []
        const given: Row[] = []
        for (const each of script) {
          if (typeof each === 'number') upTo = Math.max(upTo, each)
          else {
            const one = row(each[0], each[1], each[2])
            told.push(one)
            held.hold(one)
          }
          const some = held.take(upTo)
          for (let i = 1; i < some.length; i++) {
            const [before, after] = [some[i - 1] as Row, some[i] as Row]
            assert.ok(before.seq < after.seq || (before.seq === after.seq && before.sub <= after.sub))
          }
          given.push(...some)
          assert.deepEqual(
            given.map(place).sort(),
            told
              .filter(({ seq }) => seq <= upTo)
              .map(place)
              .sort(),
          )
        }
      }),
    )
  })

  it('are bounded: of what does not fit only the device is kept, to be read', () => {
    const held = createHeldRows({ rowsMax: 2, bytesMax: 1_000 })
    for (let seq = 1; seq <= 4; seq++) held.hold(row('a', seq, 0))
    held.hold(row('b', 9, 0))
    assert.equal(held.count(), 4, 'two rows, and two devices with more')
    const first = held.take(5)
    assert.deepEqual(
      first.map((each) => [place(each), each.source === undefined]),
      [
        ['a 1.0', false],
        ['a 2.0', false],
        ['a 3.0', true],
      ],
    )
    assert.deepEqual(held.take(8), [])
    assert.deepEqual(held.take(9).map(place), ['b 9.0'])
    assert.equal(held.count(), 0)
    const narrow = createHeldRows({ rowsMax: 100, bytesMax: 15 })
    narrow.hold(row('a', 1, 0))
    narrow.hold(row('a', 2, 0))
    assert.deepEqual(
      narrow.take(2).map(({ source }) => source === undefined),
      [false, true],
    )
    narrow.hold(row('a', 3, 0))
    assert.equal(narrow.take(3)[0]?.source, SOURCE)
  })

  it('are forgotten when something was missed', () => {
    const held = createHeldRows({ rowsMax: 1, bytesMax: 100 })
    held.hold(row('a', 1, 0))
    held.hold(row('a', 2, 0))
    held.clear()
    assert.deepEqual(held.take(9), [])
    held.hold(row('a', 3, 0))
    assert.deepEqual(held.take(9).map(place), ['a 3.0'])
  })
})

describe('a turn is asked for', () => {
  it('at once when the shard was quiet, not while more follows, and again while it is not done', async () => {
    let watermark = 0
    const asked: number[] = []
    const nudges = createNudges({ nudge: (shard) => void asked.push(shard) }, { value: () => watermark })
    try {
      nudges.appended(3, 5)
      nudges.appended(3, 6)
      nudges.appended(4, 6)
      assert.deepEqual(asked, [3, 4])
      while (asked.filter((shard) => shard === 3).length < 3) await delay(5)
      watermark = 6
      await delay(130)
      const before = asked.length
      await delay(130)
      assert.equal(asked.length, before)
      nudges.appended(3, 7)
      assert.equal(asked.length, before + 1)
    } finally {
      nudges.stop()
    }
  })
})
