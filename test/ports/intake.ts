/** Conformance: what every adapter of the intake port owes (core/ports.ts). */
import assert from 'node:assert/strict'
import {
  DEDUPE_RECORD,
  DEDUPE_RISING,
  type Envelope,
  VERDICT_AGAIN,
  VERDICT_AHEAD,
  VERDICT_BEHIND,
  VERDICT_FULL,
  VERDICT_NEW,
} from '../../core/envelope.ts'
import type { Ports } from '../../core/ports.ts'
import { SEQ_PER_MS, seqFromMs } from '../../topics/ids.ts'
import { allRows, append, envelope, target, textOf } from './envelopes.ts'
import type { Opener, Opening } from './opener.ts'

type Given = Pick<Ports, 'inbox' | 'intake'>

const HOUR_MS = 3_600_000
const request = (stamp: number, more: Partial<Envelope> = {}): Envelope =>
  envelope('b', `request ${stamp}`, {
    device: 'a',
    dedupe: DEDUPE_RECORD,
    stamp,
    hash: stamp * 7,
    peer: 'peer',
    ...more,
  })
const numbered = (stamp: number): Envelope => envelope('b', `n ${stamp}`, { device: 'a', dedupe: DEDUPE_RISING, stamp })

/**
 * Intake of core/ports.ts: every sentence of its comments. `hasRows`: the intake writes the rows itself, hands them back
 * and knows how many there are.
 */
export function intakeSuite(open: Opener<Given>, hasRows = false): void {
  describe('Intake', () => {
    let opening: Opening<Given>
    const intake = () => opening.ports.intake
    const waiting = async (device: string) => (await allRows(opening.ports.inbox, device)).map(textOf)
    beforeEach(async () => {
      opening = await open({ inboxRowsMax: 3, waitingRecordsMax: 4 })
    })
    afterEach(() => opening.close())

    describe('numbers', () => {
      it('rise within a batch and from call to call', async () => {
        const batches = Array.from({ length: 5 }, (_, i) => [envelope('b', `${i} first`), envelope('c', `${i} second`)])
        await Promise.all(batches.map((batch) => intake().append(0, batch)))
        const seqs = batches.flat().map(({ seq }) => seq)
        assert.deepEqual(
          seqs,
          [...new Set(seqs)].sort((a, b) => a - b),
        )
      })

      it('resolves calls in their order', async () => {
        const order: number[] = []
        const calls = Array.from({ length: 20 }, (_, i) =>
          intake()
            .append(0, [envelope(`d${i}`, 'x')])
            .then(() => order.push(i)),
        )
        await Promise.all(calls)
        assert.deepEqual(
          order,
          [...order].sort((a, b) => a - b),
        )
      })

      it('are the time of the store', async () => {
        const before = seqFromMs(Date.now())
        const { seq } = await append(intake(), envelope('b', 'x'))
        assert.ok(seq >= before && seq <= seqFromMs(Date.now() + 1), `${seq}`)
      })

      for (const again of ['reopen', 'crash'] as const) {
        it(`go on rising when the clock steps back, before and after ${again}`, async () => {
          opening.clock.offsetMs += HOUR_MS
          const first = await append(intake(), envelope('b', '1'))
          assert.ok(first.seq >= seqFromMs(Date.now() + HOUR_MS / 2), `${first.seq}`)
          opening.clock.offsetMs -= HOUR_MS
          const second = await append(intake(), envelope('b', '2'))
          assert.equal(second.seq, first.seq + 1)
          await opening[again]()
          const third = await append(intake(), envelope('b', '3'))
          assert.equal(third.seq, second.seq + 1)
        })
      }

      it('are not given again once everything with them is gone', async () => {
        opening.clock.offsetMs += HOUR_MS
        const last = await append(intake(), envelope('b', '1'))
        opening.ports.inbox.acknowledge('b', await opening.ports.inbox.page('b', 0, 0, 9), [], [])
        await opening.commit()
        await opening.age()
        assert.deepEqual(await waiting('b'), [])
        opening.clock.offsetMs -= HOUR_MS
        await opening.reopen()
        const next = await append(intake(), envelope('b', '2'))
        assert.ok(next.seq > last.seq)
      })

      it('are above what the sender holds, up to 60 s ahead of the store', async () => {
        const base = (await append(intake(), envelope('b', '1'))).seq
        const held = base + 50_000 * SEQ_PER_MS
        const next = await append(intake(), request(1, { afterSeq: held }))
        assert.equal(next.verdict, VERDICT_NEW)
        assert.equal(next.seq, held + 1)
        const ahead = await append(intake(), request(2, { afterSeq: held + 62_000 * SEQ_PER_MS }))
        assert.equal(ahead.verdict, VERDICT_AHEAD)
        assert.deepEqual(await waiting('b'), ['1', 'request 1'])
      })
    })

    describe('a request with a record', () => {
      it('is new above the last stamp, again while its record waits, else behind', async () => {
        const first = await append(intake(), request(10))
        assert.equal(first.verdict, VERDICT_NEW)
        const again = await append(intake(), request(10))
        assert.equal(again.verdict, VERDICT_AGAIN)
        assert.equal(again.seq, first.seq)
        const other = await append(intake(), request(10, { hash: 1 }))
        const lower = await append(intake(), request(9))
        for (const behind of [other, lower]) {
          assert.equal(behind.verdict, VERDICT_BEHIND)
          assert.equal(behind.lastStamp, 10)
        }
        assert.deepEqual(await waiting('b'), ['request 10'])
      })

      it('is judged within its batch as between batches', async () => {
        const batch = [request(1), request(1), request(3), request(2)]
        await intake().append(0, batch)
        assert.deepEqual(
          batch.map(({ verdict }) => verdict),
          [VERDICT_NEW, VERDICT_AGAIN, VERDICT_NEW, VERDICT_BEHIND],
        )
      })

      for (const again of ['reopen', 'crash', 'age'] as const) {
        it(`is again after ${again}`, async () => {
          const first = await append(intake(), request(10))
          await opening[again]()
          const second = await append(intake(), request(10))
          assert.equal(second.verdict, VERDICT_AGAIN)
          assert.equal(second.seq, first.seq)
          assert.equal((await append(intake(), request(9))).verdict, VERDICT_BEHIND)
          assert.deepEqual(await waiting('b'), ['request 10'])
        })

        it(`is behind once it is settled, after ${again} too`, async () => {
          await append(intake(), request(10))
          opening.ports.inbox.acknowledge('a', [], [10], [])
          await opening.commit()
          await opening[again]()
          const late = await append(intake(), request(10))
          assert.equal(late.verdict, VERDICT_BEHIND)
          assert.equal(late.lastStamp, 10)
        })
      }

      it('is refused, and its stamp not taken, while as many as allowed wait', async () => {
        for (let stamp = 1; stamp <= 4; stamp++) await append(intake(), request(stamp))
        assert.equal((await append(intake(), request(5))).verdict, VERDICT_FULL)
        assert.equal((await append(intake(), request(4))).verdict, VERDICT_AGAIN)
        opening.ports.inbox.acknowledge('a', [], [2], [])
        await opening.commit()
        assert.equal((await append(intake(), request(5))).verdict, VERDICT_NEW)
      })

      it('does not take its stamp when after_seq is ahead', async () => {
        const afterSeq = seqFromMs(Date.now() + HOUR_MS)
        assert.equal((await append(intake(), request(5, { afterSeq }))).verdict, VERDICT_AHEAD)
        assert.equal((await append(intake(), request(5))).verdict, VERDICT_NEW)
      })

      it('knows the stamps of each device apart', async () => {
        await append(intake(), request(10))
        assert.equal((await append(intake(), request(9, { device: 'other' }))).verdict, VERDICT_NEW)
      })
    })

    describe('a request with a rising number', () => {
      for (const again of ['reopen', 'crash', 'age'] as const) {
        it(`is stored once, after ${again} too`, async () => {
          assert.equal((await append(intake(), numbered(7))).verdict, VERDICT_NEW)
          await opening[again]()
          assert.equal((await append(intake(), numbered(7))).verdict, VERDICT_AGAIN)
          assert.equal((await append(intake(), numbered(3))).verdict, VERDICT_AGAIN)
          assert.equal((await append(intake(), numbered(8))).verdict, VERDICT_NEW)
          assert.deepEqual(await waiting('b'), ['n 7', 'n 8'])
        })
      }
    })

    it('stores every repeat of an envelope without a number', async () => {
      const seqs = [await append(intake(), envelope('b', 'x')), await append(intake(), envelope('b', 'x'))]
      assert.notEqual(seqs[0]?.seq, seqs[1]?.seq)
      assert.deepEqual(await waiting('b'), ['x', 'x'])
    })

    it('has a batch on disk, whole, when it resolves', async () => {
      const batch = Array.from({ length: 40 }, (_, i) => envelope(`d${i % 20}`, `${i}`))
      await intake().append(0, batch)
      await opening.crash()
      for (let i = 0; i < 20; i++) assert.deepEqual(await waiting(`d${i}`), [`${i}`, `${i + 20}`])
    })

    it('gives every target its own row of one entry, with its topic and its body', async () => {
      const source = Buffer.from('onetwo')
      const sent = envelope([target('b'), target('c', { numbered: true, receiptTo: 'sender' })], '', {
        source,
        bodies: [
          { field: 1, start: 0, end: 3 },
          { field: 1, start: 3, end: 6 },
        ],
        expiresMs: 123,
      })
      await append(intake(), sent)
      for (const again of ['', 'crash', 'age'] as const) {
        if (again !== '') await opening[again]()
        const [b] = await opening.ports.inbox.page('b', 0, 0, 9)
        const [c] = await opening.ports.inbox.page('c', 0, 0, 9)
        assert.ok(b && c)
        assert.deepEqual([textOf(b), textOf(c)], ['one', 'two'])
        assert.deepEqual([b.seq, c.seq], [sent.seq, sent.seq])
        assert.deepEqual([b.peer, c.peer], ['', 'sender'])
        assert.deepEqual([b.expiresMs, c.expiresMs], [123, 123])
        assert.ok(Buffer.from(c.source as Uint8Array).includes(`d/c/from/d-x/direct/${sent.seq}`))
      }
    })

    it('has nothing to refuse with when all is well', () => assert.equal(intake().refusal(), undefined))

    if (hasRows) {
      it('hands the rows back, to wake their devices with', async () => {
        const sent = await append(intake(), envelope([target('b'), target('c')], 'x'))
        assert.deepEqual(
          sent.rows.map((row) => [row.device, row.seq, textOf(row)]),
          [
            ['b', sent.seq, 'x'],
            ['c', sent.seq, 'x'],
          ],
        )
      })

      for (const where of ['young', 'old'] as const) {
        it(`says that an inbox is full at its bound, and when it is not any more, with ${where} rows`, async () => {
          for (let i = 0; i < 3; i++) {
            assert.equal(intake().isFull('b'), false)
            await append(intake(), envelope('b', `${i}`))
          }
          if (where === 'old') await opening.age()
          assert.equal(intake().isFull('b'), true)
          assert.equal(intake().isFull('c'), false)
          await opening.crash()
          assert.equal(intake().isFull('b'), true)
          const [first] = await opening.ports.inbox.page('b', 0, 0, 1)
          assert.ok(first)
          opening.ports.inbox.acknowledge('b', [first], [], [])
          await opening.commit()
          assert.equal(intake().isFull('b'), false)
        })
      }
    }
  })
}
