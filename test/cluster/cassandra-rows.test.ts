/** Inbox rows in a real Cassandra: every sentence of InboxRows in core/ports.ts that one node can show. */
import assert from 'node:assert/strict'
import { types } from 'cassandra-driver'
import { ROW_MARK, type Row } from '../../core/row.ts'
import { seqToUnixMs } from '../../topics/ids.ts'
import { limits } from '../../topics/limits.ts'
import { openScene, row, type Scene, seqOnDay, statementsOf, textOfRow } from './cassandra-scene.ts'

const NEVER = Number.MAX_SAFE_INTEGER
const SETUP_MS_MAX = 60_000

describe('inbox rows in Cassandra', () => {
  let scene: Scene
  let devices = 0
  /** A device that no other test has. */
  let device = ''
  const rows = () => scene.store.rows
  const page = (limit = 1_000, upTo = NEVER) => rows().page(device, 0, 0, upTo, limit)
  const texts = async () => (await page()).map(textOfRow)
  const stored = async () => {
    const columns = 'day, seq, sub, kind, peer, expires_ms, body, writetime(kind) AS k, writetime(peer) AS p'
    const more = 'writetime(expires_ms) AS e, writetime(body) AS b'
    const query = `SELECT ${columns}, ${more} FROM ${scene.keyspace}.inbox_rows WHERE device = ? ALLOW FILTERING`
    const found = await scene.client.execute(query, [device])
    const days = await scene.client.execute(`SELECT * FROM ${scene.keyspace}.inboxes WHERE device = ?`, [device])
    return JSON.stringify([found.rows.sort((a, b) => a['seq'] - b['seq'] || a['sub'] - b['sub']), days.rows])
  }

  before(async function () {
    this.timeout(SETUP_MS_MAX)
    scene = await openScene('rows')
  })
  after(async function () {
    this.timeout(SETUP_MS_MAX)
    await scene.close()
  })
  beforeEach(() => {
    device = `d${++devices}`
  })

  it('keeps of each row what delivering it needs', async () => {
    const seq = seqOnDay(0) + 5
    const peer = String.fromCharCode(...Array.from({ length: 16 }, (_, i) => i * 17))
    await rows().apply([
      row(device, seq, 'frame', { sub: 3, peer, expiresMs: 4_102_444_800_000 }),
      row(device, seq + 1, 'mark', { kind: ROW_MARK }),
      row(device, seq + 2, ''),
    ])
    const found = await page()
    assert.deepEqual(
      found.map(({ device: of, seq: at, sub, kind, peer: who, expiresMs }) => ({ of, at, sub, kind, who, expiresMs })),
      [
        { of: device, at: seq, sub: 3, kind: 0, who: peer, expiresMs: 4_102_444_800_000 },
        { of: device, at: seq + 1, sub: 0, kind: 1, who: '', expiresMs: 0 },
        { of: device, at: seq + 2, sub: 0, kind: 0, who: '', expiresMs: 0 },
      ],
    )
    assert.deepEqual(found.map(textOfRow), ['frame', 'mark', ''])
  })

  it('writes the time of its entry to the microsecond, and a life of 33 days', async () => {
    const seq = seqOnDay(0) + 16_384 * 7 + 8_192
    await rows().apply([row(device, seq)])
    const query = `SELECT writetime(body) AS us, ttl(body) AS s FROM ${scene.keyspace}.inbox_rows WHERE device = ? ALLOW FILTERING`
    const found = (await scene.client.execute(query, [device])).first()
    assert.equal(Number(found['us']), seqToUnixMs(seq) * 1_000 + 500)
    assert.ok(found['s'] <= 33 * 86_400 && found['s'] > 33 * 86_400 - 60, `${found['s']} s`)
  })

  it('is what it is, however often, in whatever order and by how many at once it is applied', async () => {
    const all: Row[] = []
    for (const daysAgo of [2, 1, 0]) {
      for (let i = 0; i < 60; i++) all.push(row(device, seqOnDay(daysAgo) + i, `${daysAgo} ${i}`, { sub: i % 3 }))
    }
    await rows().apply(all)
    const once = await stored()
    assert.ok(once.includes('"sub":2'))
    // What another process is: it knows nothing of what was written.
    const other = await openScene('other', { keyspace: scene.keyspace })
    try {
      const theirs = other.store.rows
      await theirs.apply([...all].reverse())
      await Promise.all([rows().apply(all.slice(50)), theirs.apply(all), theirs.apply(all.slice(0, 90).reverse())])
      for (const each of all.slice(0, 20)) await rows().apply([each])
      assert.equal(await stored(), once)
    } finally {
      await other.leave()
    }
  })

  it('fails as itself when a row has no bytes, and does not look like a store that is down', async () => {
    const broken = row(device, seqOnDay(0), 'x', { source: undefined })
    await assert.rejects(rows().apply([broken]), RangeError)
  })

  it('is given in order over the borders of days and shards, page by page', async () => {
    const wanted: string[] = []
    const all: Row[] = []
    for (const daysAgo of [33, 31, 30, 3, 1, 0]) {
      // The last number of the day before and the first of this one are neighbours.
      for (const seq of [seqOnDay(daysAgo) - 1, seqOnDay(daysAgo), seqOnDay(daysAgo) + 16_384]) {
        for (const sub of [0, 1, 7]) {
          wanted.push(`${seq} ${sub}`)
          all.push(row(device, seq, `${seq} ${sub}`, { sub }))
        }
      }
    }
    await rows().apply([...all].sort((a, b) => textOfRow(a).localeCompare(textOfRow(b))))
    for (const limit of [1, 2, 3, 1_000]) {
      const got: Row[] = []
      for (;;) {
        const last = got.at(-1)
        const next = await rows().page(device, last?.seq ?? 0, last?.sub ?? 0, NEVER, limit)
        assert.ok(next.length <= limit)
        if (next.length === 0) break
        got.push(...next)
      }
      assert.deepEqual(got.map(textOfRow), wanted)
    }
  })

  it('is not given above the watermark', async () => {
    const seqs = [seqOnDay(2), seqOnDay(1), seqOnDay(0), seqOnDay(0) + 1]
    await rows().apply(seqs.map((seq) => row(device, seq, `${seq}`, { sub: 7 })))
    for (const [i, upTo] of seqs.entries()) {
      assert.equal((await page(1_000, upTo)).length, i + 1)
      assert.equal((await page(1_000, upTo - 1)).length, i)
    }
    assert.deepEqual(await page(1_000, 0), [])
  })

  it('comes in pages that end with the row that goes beyond 1 MiB', async () => {
    const text = 'x'.repeat(100_000)
    await rows().apply(Array.from({ length: 25 }, (_, i) => row(device, seqOnDay(0) + i, text)))
    const sizes: number[] = []
    for (let seq = 0; ; ) {
      const found = await rows().page(device, seq, 0, NEVER, 1_000)
      if (found.length === 0) break
      sizes.push(found.length)
      seq = found.at(-1)?.seq ?? 0
    }
    assert.deepEqual(sizes, [11, 11, 3])
  })

  it('lets the largest row through, alone and in a crowd', async () => {
    const text = 'x'.repeat(limits.frameBytesMax)
    await rows().apply(Array.from({ length: 12 }, (_, i) => row(device, seqOnDay(0) + i, text)))
    assert.equal((await page())[0]?.end, limits.frameBytesMax)
  })

  describe('a page costs', () => {
    const reads = (work: () => Promise<unknown>) => statementsOf(work).then((all) => all.length)

    it('one read for a device that has nothing, and one more when all is in one day', async () => {
      assert.equal(await reads(() => page()), 1)
      await rows().apply([row(device, seqOnDay(0))])
      assert.equal(await reads(() => page()), 2)
    })

    it('one more for each day with rows, after a month away too', async () => {
      await rows().apply([29, 20, 4, 0].map((daysAgo) => row(device, seqOnDay(daysAgo))))
      assert.equal(await reads(() => page()), 5)
      assert.equal(await reads(() => rows().page(device, seqOnDay(20), 0, NEVER, 1_000)), 4)
      assert.equal(await reads(() => page(1)), 2)
      assert.equal(await reads(() => page(1_000, seqOnDay(4))), 4)
      await rows().saveCursor(device, { seq: seqOnDay(4) + 1, sub: 0, above: [] })
      assert.equal(await reads(() => page()), 3)
      await rows().saveCursor(device, { seq: seqOnDay(0) + 1, sub: 0, above: [] })
      assert.equal(await reads(() => page()), 2)
    })

    it('two reads of one day with many small rows: the size of rows is learned with the first', async () => {
      await rows().apply(Array.from({ length: 1_100 }, (_, i) => row(device, seqOnDay(0) + i)))
      assert.equal(await reads(() => page(1_024)), 3)
      assert.equal((await page(1_024)).length, 1_024)
    })
  })

  it('is found behind 100,000 acknowledged ones of the same day as quickly as behind none', async () => {
    const acknowledged = 100_000
    const seq = seqOnDay(0)
    const text = 'x'.repeat(300)
    for (let i = 0; i < acknowledged; i += 2_000) {
      await rows().apply(Array.from({ length: 2_000 }, (_, k) => row(device, seq + i + k, text)))
    }
    const waiting = Array.from({ length: 10 }, (_, i) => row(device, seq + acknowledged + i, `${i}`))
    await rows().apply(waiting)
    await rows().saveCursor(device, { seq: seq + acknowledged - 1, sub: 0, above: [] })
    const statements = await statementsOf(async () => {
      assert.deepEqual((await page()).map(textOfRow), waiting.map(textOfRow))
    })
    assert.equal(statements.length, 2)
    // What the node itself says that it read.
    const params = [
      device,
      Math.floor(seqToUnixMs(seq) / 86_400_000),
      seq + acknowledged - 1,
      0,
      NEVER,
      2 ** 31 - 1,
      64,
    ]
    const traced = await scene.client.execute(statements[1] as string, params, { traceQuery: true })
    const trace = await scene.client.metadata.getTrace(traced.info.traceId, types.consistencies.one)
    const said = trace.events.map(({ activity }) => activity).filter((text) => text?.startsWith('Read '))
    assert.deepEqual(said, ['Read 10 live rows and 0 tombstone cells'])
  }).timeout(SETUP_MS_MAX)

  describe('the cursor', () => {
    it('is (0, 0) at first, and then where it was saved', async () => {
      assert.deepEqual(await rows().cursor(device), { seq: 0, sub: 0, above: [] })
      const cursor = { seq: seqOnDay(0), sub: 7, above: [{ seq: seqOnDay(0) + 3, sub: 1 }] }
      await rows().saveCursor(device, cursor)
      assert.deepEqual(await rows().cursor(device), cursor)
      assert.deepEqual(await page(), [])
    })

    it('is the highest, whatever the order of arrival', async () => {
      const base = seqOnDay(0)
      const above = (...of: number[]) => of.map((n) => ({ seq: base + 1_000 + n, sub: 0 }))
      // The first ones have one microsecond, and so one timestamp; 255 and 256 are in another order as text.
      const rising = [
        { seq: base + 1, sub: 0, above: above(1, 2, 3) },
        { seq: base + 2, sub: 0, above: [] },
        { seq: base + 2, sub: 1, above: [] },
        { seq: base + 2, sub: 1, above: above(9) },
        { seq: base + 2, sub: 1, above: above(1, 9) },
        { seq: base + 255, sub: 0, above: [] },
        { seq: base + 256, sub: 0, above: [] },
        { seq: base + 16_384 * 1_000, sub: 0, above: [] },
      ]
      const orders = [
        [...rising].reverse(),
        rising,
        [3, 0, 7, 2, 5, 1, 6, 4].map((i) => rising[i] as (typeof rising)[0]),
      ]
      for (const [i, order] of orders.entries()) {
        const of = `${device}x${i}`
        for (const cursor of order) await rows().saveCursor(of, cursor)
        assert.deepEqual(await rows().cursor(of), rising.at(-1))
      }
      for (let n = 1; n < rising.length; n++) {
        const of = `${device}y${n}`
        for (const cursor of [rising[n], rising[n - 1]]) await rows().saveCursor(of, cursor as (typeof rising)[0])
        assert.deepEqual(await rows().cursor(of), rising[n], `${n}`)
      }
    })

    it('hides what is at or below it and what it names above it, and nothing else', async () => {
      const seq = seqOnDay(1)
      await rows().apply(Array.from({ length: 10 }, (_, i) => row(device, seq + i, `${i}`, { sub: i % 2 })))
      const position = (i: number) => ({ seq: seq + i, sub: i % 2 })
      await rows().saveCursor(device, { ...position(2), above: [position(4), position(5), position(9)] })
      assert.deepEqual(await texts(), ['3', '6', '7', '8'])
      assert.deepEqual((await page(2)).map(textOfRow), ['3', '6'])
      assert.deepEqual((await rows().page(device, seq + 3, 1, NEVER, 2)).map(textOfRow), ['6', '7'])
      // The same number in another shard is another row.
      await rows().apply([row(device, seq + 4, 'other', { sub: 6 })])
      assert.deepEqual(await texts(), ['3', 'other', '6', '7', '8'])
    })

    it('keeps the lowest 1,024 above it: what is left out comes again', async () => {
      const seq = seqOnDay(0)
      await rows().apply(Array.from({ length: 1_030 }, (_, i) => row(device, seq + i, `${i}`)))
      const above = Array.from({ length: 1_028 }, (_, i) => ({ seq: seq + 1_029 - i, sub: 0 }))
      await rows().saveCursor(device, { seq, sub: 0, above })
      assert.equal((await rows().cursor(device)).above.length, 1_024)
      assert.deepEqual(await texts(), ['1', '1026', '1027', '1028', '1029'])
    })
  })

  describe('a purge', () => {
    it('takes what is at or below the cursor from the disk, and nothing of it comes back', async () => {
      const all = [3, 1, 0].flatMap((ago) => [0, 1, 2].map((i) => row(device, seqOnDay(ago) + i, `${ago} ${i}`)))
      await rows().apply(all)
      await rows().purge(device)
      assert.equal((await page()).length, 9)
      await rows().saveCursor(device, { seq: seqOnDay(1) + 1, sub: 0, above: [] })
      for (const again of [false, true]) {
        if (again) await rows().apply(all)
        await rows().purge(device)
        assert.deepEqual(await texts(), ['1 2', '0 0', '0 1', '0 2'])
        const left = JSON.parse(await stored())[0] as unknown[]
        assert.equal(left.length, 4)
      }
    })
  })

  describe('a drop', () => {
    it('takes rows, days and the cursor of one device, and twice is once', async () => {
      const all = [33, 12, 0].map((ago) => row(device, seqOnDay(ago)))
      const neighbour = `${device}n`
      await rows().apply([...all, row(neighbour, seqOnDay(0), 'stays')])
      await rows().saveCursor(device, { seq: seqOnDay(12), sub: 0, above: [] })
      for (let times = 0; times < 2; times++) {
        await rows().drop(device, seqOnDay(0) + 5)
        assert.equal(await stored(), '[[],[]]')
      }
      assert.deepEqual(await rows().cursor(device), { seq: 0, sub: 0, above: [] })
      assert.equal((await rows().page(neighbour, 0, 0, NEVER, 9)).length, 1)
    })

    it('stays true for rows and cursors that come late, numbered up to a minute behind it', async () => {
      const at = seqOnDay(0)
      const late = [0, 1, 59_000].map((ms) => row(device, at + ms * 16_384))
      await rows().apply(late.slice(0, 1))
      await rows().drop(device, at)
      await rows().apply(late)
      await rows().apply([row(device, seqOnDay(1))])
      await rows().saveCursor(device, { seq: at + 16_384, sub: 0, above: [] })
      assert.deepEqual(await page(), [])
      assert.equal(await stored(), '[[],[]]')
    })
  })

  describe('the backlog', () => {
    async function walk(backlog = scene.store.backlog): Promise<string[]> {
      const named: string[] = []
      for (;;) {
        const next = await backlog.deviceAfter(named.at(-1) ?? '')
        if (next === undefined) return named
        named.push(next)
      }
    }

    it('names each device with rows once, in an order that stays, and not who has all of it behind the cursor', async function () {
      this.timeout(SETUP_MS_MAX)
      const other = await openScene('backlog')
      try {
        assert.deepEqual(await walk(other.store.backlog), [])
        const names = Array.from({ length: 450 }, (_, i) => `w${i}`)
        await other.store.rows.apply(names.map((name) => row(name, seqOnDay(2))))
        const first = await walk(other.store.backlog)
        assert.deepEqual([...first].sort(), [...names].sort())
        assert.deepEqual(await walk(other.store.backlog), first)
        const done = new Set(first.slice(0, 301))
        for (const name of done) await other.store.rows.saveCursor(name, { seq: seqOnDay(1), sub: 0, above: [] })
        await other.store.rows.saveCursor('never', { seq: seqOnDay(1), sub: 0, above: [] })
        await other.store.rows.drop('w449', seqOnDay(0))
        const left = first.filter((name) => !done.has(name) && name !== 'w449')
        assert.deepEqual((await walkFresh(other)).sort(), [...left].sort())
      } finally {
        await other.close()
      }
    })

    /** Without what a walk before has read ahead. */
    async function walkFresh({ keyspace }: Scene): Promise<string[]> {
      const again = await openScene('again', { keyspace })
      try {
        return await walk(again.store.backlog)
      } finally {
        await again.leave()
      }
    }
  })
})
