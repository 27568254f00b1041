/** Conformance: what every adapter of the inbox port owes (core/ports.ts). */
import assert from 'node:assert/strict'
import { DEDUPE_RECORD } from '../../core/envelope.ts'
import type { Ports } from '../../core/ports.ts'
import { ROW_FRAME, ROW_MARK, type Row } from '../../core/row.ts'
import { allRows, append, envelope, markEnvelope, target, textOf } from './envelopes.ts'
import type { Opener, Opening } from './opener.ts'

type Given = Pick<Ports, 'inbox' | 'intake'>

const SLOTS = 63

/**
 * Inbox of core/ports.ts: every sentence of its comments. `hasRows`: the intake writes the rows itself, and knows how
 * many there are.
 */
export function inboxSuite(open: Opener<Given>, hasRows = false): void {
  describe('Inbox', () => {
    let opening: Opening<Given>
    const inbox = () => opening.ports.inbox
    const put = (text: string, device = 'b') => append(opening.ports.intake, envelope(device, text))
    const page = (device = 'b') => inbox().page(device, 0, 0, 1_000)
    const texts = async (device = 'b') => (await allRows(inbox(), device)).map(textOf)
    const commit = () => opening.commit()
    beforeEach(async () => {
      opening = await open({ inboxRowsMax: 1_000 })
    })
    afterEach(() => opening.close())

    it('knows nothing of a device that never was there', async () => {
      assert.deepEqual(await inbox().open('b'), { subscribed: false, sentSeq: 0, lastStamp: 0, records: [] })
      assert.deepEqual(await page(), [])
    })

    describe('a page', () => {
      for (const where of ['young', 'old', 'old and young', 'old, then crashed'] as const) {
        it(`has rows above a position, in order, at most as many as asked for: ${where}`, async () => {
          const seqs: number[] = []
          for (let i = 0; i < 10; i++) {
            if (i === 5 && where === 'old and young') await opening.age()
            seqs.push((await put(`${i}`)).seq)
            await put('not for it', 'c')
          }
          if (where.startsWith('old,') || where === 'old') await opening.age()
          if (where.endsWith('crashed')) await opening.crash()
          let rows: Row[] = []
          const got: Row[] = []
          do {
            const last = got.at(-1)
            rows = await inbox().page('b', last?.seq ?? 0, last?.sub ?? 0, 3)
            assert.ok(rows.length <= 3)
            got.push(...rows)
          } while (rows.length > 0)
          assert.deepEqual(
            got.map(({ seq }) => seq),
            seqs,
          )
          assert.deepEqual(got.map(textOf), ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
        })
      }

      for (const where of ['young', 'old'] as const) {
        it(`ends at 1 MiB, and not in the middle of it: ${where}`, async () => {
          const large = 'x'.repeat(100_000)
          for (let i = 0; i < 15; i++) await put(large)
          if (where === 'old') await opening.age()
          const rows = await page()
          assert.ok(rows.length >= 10 && rows.length <= 11, `${rows.length} rows`)
          const rest = await inbox().page('b', rows.at(-1)?.seq ?? 0, 0, 1_000)
          assert.equal(rows.length + rest.length, 15)
        })
      }

      it('keeps of each row what delivering it needs', async () => {
        await append(
          opening.ports.intake,
          envelope([target('b', { receiptTo: 'sender' })], 'frame', { expiresMs: 4_102_444_800_000 }),
        )
        await append(opening.ports.intake, markEnvelope('b', 'mark'))
        for (const step of ['', 'crash', 'age'] as const) {
          if (step !== '') await opening[step]()
          const rows = await allRows(inbox(), 'b')
          assert.deepEqual(
            rows.map(({ device, kind, peer, expiresMs }) => ({ device, kind, peer, expiresMs })),
            [
              { device: 'b', kind: ROW_FRAME, peer: 'sender', expiresMs: 4_102_444_800_000 },
              { device: 'b', kind: ROW_MARK, peer: '', expiresMs: 0 },
            ],
          )
          const [, mark] = rows
          assert.equal(Buffer.from((mark?.source ?? []).slice(mark?.start, mark?.end)).toString(), 'mark')
        }
      })
    })

    describe('the subscription flag', () => {
      for (const again of ['reopen', 'crash'] as const) {
        it(`is durable when it resolves, set and cleared, and idempotent: ${again}`, async () => {
          for (const flag of [true, true, false, false, true]) {
            await inbox().setSubscribed('b', flag)
            await opening[again]()
            assert.equal((await inbox().open('b')).subscribed, flag)
          }
        })
      }

      it('outlives the sending of a device whose state was put away', async () => {
        await inbox().setSubscribed('b', true)
        const slot = await inbox().advanceSlot('b')
        await opening.age()
        await append(
          opening.ports.intake,
          envelope('c', 'x', { device: 'b', dedupe: DEDUPE_RECORD, stamp: 5, hash: 5, peer: 'p' }),
        )
        await opening.crash()
        await opening.age()
        await opening.crash()
        assert.equal((await inbox().open('b')).subscribed, true)
        assert.equal(await inbox().advanceSlot('b'), slot + 1)
      })
    })

    describe('the slot', () => {
      it('goes round through all 63 and is durable when it resolves', async () => {
        const slots: number[] = []
        for (let i = 0; i < SLOTS; i++) slots.push(await inbox().advanceSlot('b'))
        assert.deepEqual(
          [...slots].sort((a, b) => a - b),
          Array.from({ length: SLOTS }, (_, i) => i),
        )
        const first = slots[0]
        await opening.crash()
        assert.equal(await inbox().advanceSlot('b'), first)
        await opening.reopen()
        assert.equal(await inbox().advanceSlot('b'), slots[1])
        await opening.age()
        await opening.crash()
        assert.equal(await inbox().advanceSlot('b'), slots[2])
      })
    })

    describe('an acknowledgement', () => {
      for (const where of ['young', 'old'] as const) {
        it(`takes rows out, here and on the disk, and no others: ${where}`, async () => {
          for (let i = 0; i < 6; i++) await put(`${i}`)
          if (where === 'old') await opening.age()
          const rows = await page()
          inbox().acknowledge('b', [rows[1], rows[2], rows[5]] as Row[], [], [])
          assert.deepEqual(await texts(), ['0', '3', '4'])
          await commit()
          assert.deepEqual(await texts(), ['0', '3', '4'])
          await opening.crash()
          assert.deepEqual(await texts(), ['0', '3', '4'])
        })

        it(`counts once when it comes twice, from two pages: ${where}`, async () => {
          await put('1')
          if (where === 'old') await opening.age()
          const [one] = await page()
          const [other] = await page()
          assert.ok(one && other)
          inbox().acknowledge('b', [one], [], [])
          inbox().acknowledge('b', [other], [], [])
          await commit()
          assert.deepEqual(await texts(), [])
          if (!hasRows) return
          for (let i = 0; i < 999; i++) await put('x')
          assert.equal(opening.ports.intake.isFull('b'), false)
          await put('x')
          assert.equal(opening.ports.intake.isFull('b'), true)
        })
      }

      it('while its row is being put away does not let the row come back', async () => {
        for (let i = 0; i < 50; i++) await put(`${i}`)
        const rows = await page()
        const aging = opening.age()
        for (const row of rows) {
          inbox().acknowledge('b', [row], [], [])
          await new Promise((resolve) => setImmediate(resolve))
        }
        assert.deepEqual(await texts(), [])
        await aging
        assert.deepEqual(await texts(), [])
        await commit()
        await opening.crash()
        assert.deepEqual(await texts(), [])
      })

      it('settles records, and what waits is told oldest first', async () => {
        for (const stamp of [3, 5, 9]) {
          const more = { device: 'a', dedupe: DEDUPE_RECORD, stamp, hash: stamp, peer: 'p' } as const
          await append(opening.ports.intake, envelope('b', 'x', more))
        }
        const stamps = async () => (await inbox().open('a')).records.map(({ stamp }) => stamp)
        assert.deepEqual(await stamps(), [3, 5, 9])
        inbox().acknowledge('a', [], [5], [])
        for (const again of ['', 'age', 'crash', 'reopen'] as const) {
          if (again === '') await commit()
          else await opening[again]()
          assert.deepEqual(await stamps(), [3, 9])
          assert.equal((await inbox().open('a')).lastStamp, 9)
        }
        inbox().acknowledge('a', [], [3, 9], [])
        await commit()
        await opening.crash()
        assert.deepEqual(await stamps(), [])
      })

      it('is one with its marks: after a crash both are there or neither', async () => {
        const { seq } = await put('1')
        inbox().acknowledge('b', await page(), [], [{ by: 'me', peer: 'you', upTo: seq }])
        await commit()
        await opening.crash()
        const isGone = (await texts()).length === 0
        assert.deepEqual(
          opening.pendingMarks.map(({ by, peer, upTo }) => ({ by, peer, upTo })),
          isGone ? [{ by: 'me', peer: 'you', upTo: seq }] : [],
        )
        const mark = { by: 'me', peer: 'you', upTo: seq }
        await append(opening.ports.intake, markEnvelope('c', 'said', { mark }))
        inbox().acknowledge('b', await page(), [], [mark])
        await commit()
        await opening.crash()
        assert.deepEqual(await texts(), [])
        assert.deepEqual(opening.pendingMarks, [])
      })
    })

    describe('a mark', () => {
      it('is the one that was appended last, and no longer pending', async () => {
        assert.equal(await inbox().markOf('me', 'you'), 0)
        for (const upTo of [100, 200]) {
          const mark = { by: 'me', peer: 'you', upTo }
          inbox().acknowledge('b', [], [], [mark])
          await append(opening.ports.intake, markEnvelope('c', 'said', { mark }))
          for (const again of ['', 'age', 'crash', 'reopen'] as const) {
            if (again !== '') await opening[again]()
            assert.equal(await inbox().markOf('me', 'you'), upTo)
            assert.equal(await inbox().markOf('you', 'me'), 0)
            assert.deepEqual(opening.pendingMarks, [])
          }
        }
      })

      it('below what was said is nothing that waits, and keeps nothing from being put away', async () => {
        const mark = { by: 'me', peer: 'you', upTo: 200 }
        await append(opening.ports.intake, markEnvelope('c', 'said', { mark }))
        inbox().acknowledge('b', [], [], [{ ...mark, upTo: 150 }])
        await put('behind it')
        await opening.age()
        await opening.crash()
        assert.deepEqual(opening.pendingMarks, [])
      })
    })

    describe('the end of a connection', () => {
      for (const again of ['reopen', 'crash'] as const) {
        it(`leaves what was sent as the border of DUP: ${again}`, async () => {
          await put('1')
          await inbox().open('b')
          await inbox().advanceSlot('b')
          const { seq } = await put('2')
          await put('3')
          inbox().close('b', seq)
          assert.equal((await inbox().open('b')).sentSeq, seq)
          await commit()
          await opening[again]()
          assert.equal((await inbox().open('b')).sentSeq, seq)
        })
      }

      it('that nobody saw makes everything that there was look sent', async () => {
        await inbox().open('b')
        await inbox().advanceSlot('b')
        const { seq } = await put('1')
        await opening.crash()
        assert.ok((await inbox().open('b')).sentSeq >= seq)
      })

      it('never lowers the border', async () => {
        await inbox().advanceSlot('b')
        inbox().close('b', 500)
        await inbox().advanceSlot('b')
        inbox().close('b', 400)
        assert.equal((await inbox().open('b')).sentSeq, 500)
      })
    })

    it('drops rows and records of a device, durably, and those of no other; twice is once', async () => {
      const more = { device: 'b', dedupe: DEDUPE_RECORD, stamp: 5, hash: 5, peer: 'p' } as const
      await put('old')
      await opening.age()
      await append(opening.ports.intake, envelope([target('b'), target('c')], 'x', more))
      await inbox().drop('b')
      await inbox().drop('b')
      for (const again of ['', 'crash', 'age'] as const) {
        if (again !== '') await opening[again]()
        assert.deepEqual(await texts('b'), [])
        assert.deepEqual((await inbox().open('b')).records, [])
        assert.deepEqual(await texts('c'), ['x'])
      }
    })
  })
}
