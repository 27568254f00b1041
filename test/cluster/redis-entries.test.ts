/** What workers read on Redis (D1-D3): entries, cursors, watermarks; and the bytes of an entry. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { ANSWER_BYTES } from '../../adapters/redis/append-script.ts'
import { applyAnswers, decodeEntry, encodeBatch } from '../../adapters/redis/entry.ts'
import type { OpenedRedis } from '../../adapters/redis/index.ts'
import {
  BODY_DELIVERY,
  BODY_FRAME,
  BODY_MARK,
  DEDUPE_RECORD,
  type Envelope,
  type Target,
  VERDICT_BEHIND,
  VERDICT_NEW,
} from '../../core/envelope.ts'
import { rowBytesMax, writeRow } from '../../core/plan.ts'
import { type Entry, ROW_FRAME } from '../../core/ports.ts'
import { seqFromMs, seqToUnixMs } from '../../topics/ids.ts'
import { append, envelope, target } from '../ports/envelopes.ts'
import { allTexts, bodyText, openScene, type Scene, until } from './redis-scene.ts'

const HOUR_MS = 3_600_000

function rowsOf(one: Envelope): Buffer[] {
  return one.targets.map((_, i) => {
    const bytes = Buffer.alloc(rowBytesMax(one, i))
    return bytes.subarray(0, writeRow(bytes, 0, one, i))
  })
}

const latin1 = (maxLength: number) => fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes).toString('latin1'))

const someTarget: fc.Arbitrary<Target> = fc.record({
  device: fc.stringMatching(/^[a-z0-9]{1,12}$/),
  body: fc.constantFrom(BODY_FRAME, BODY_DELIVERY, BODY_MARK),
  topic: fc.uint8Array({ minLength: 1, maxLength: 256 }),
  numbered: fc.boolean(),
  own: fc.boolean(),
  peer: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  receiptTo: latin1(16),
})

const someEnvelope: fc.Arbitrary<Envelope> = fc
  .record({
    device: fc.stringMatching(/^[a-z0-9]{0,12}$/),
    deviceNumber: fc.nat(127),
    stamp: fc.maxSafeNat(),
    hash: fc.nat(2 ** 32 - 1),
    dedupe: fc.constantFrom(0 as const, 1 as const, 2 as const),
    afterSeq: fc.maxSafeNat(),
    expiresMs: fc.maxSafeNat(),
    peer: latin1(16),
    targets: fc.array(someTarget, { minLength: 1, maxLength: 4 }),
    mark: fc.option(fc.record({ by: latin1(16), peer: latin1(16), upTo: fc.maxSafeNat() }, { noNullPrototype: true }), {
      nil: undefined,
    }),
    before: fc.uint8Array({ maxLength: 20 }),
    texts: fc.array(fc.uint8Array({ maxLength: 40 }), { minLength: 4, maxLength: 4 }),
    isShared: fc.boolean(),
  })
  .map(({ before, texts, isShared, ...fields }) => {
    let at = before.length
    const bodies = texts.slice(0, isShared ? 1 : fields.targets.length).map((text) => {
      at += text.length
      return { field: 1, start: at - text.length, end: at }
    })
    return envelope('', '', { ...fields, source: Buffer.concat([before, ...texts]), bodies })
  })

describe('the bytes of an entry', () => {
  it('give the same rows as the envelopes that were appended', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(someEnvelope, fc.boolean()), { minLength: 1, maxLength: 5 }), (drafts) => {
        const batch = drafts.map(([one]) => one)
        const answers = Buffer.alloc(batch.length * ANSWER_BYTES)
        drafts.forEach(([, isNew], i) => {
          answers.writeUInt8(isNew ? VERDICT_NEW : VERDICT_BEHIND, i * ANSWER_BYTES)
          answers.writeDoubleLE(2 ** 52 + i, i * ANSWER_BYTES + 1)
          answers.writeDoubleLE(2 ** 51 + i, i * ANSWER_BYTES + 9)
        })
        const { heads, bodies } = encodeBatch(batch)
        applyAnswers(answers, batch)
        const decoded = decodeEntry(0, heads, bodies, answers)
        const expected = batch.filter(({ verdict }) => verdict === VERDICT_NEW)
        assert.equal(decoded.length, expected.length)
        decoded.forEach((one, i) => {
          const { source: _, bodies: __, targets, ...rest } = one
          const { source: ___, bodies: ____, targets: wanted, ...same } = expected[i] as Envelope
          assert.deepEqual(rest, same)
          assert.deepEqual(
            targets.map((each) => ({ ...each, topic: [...each.topic], peer: [...each.peer] })),
            wanted.map((each) => ({ ...each, topic: [...each.topic], peer: [...each.peer] })),
          )
          assert.deepEqual(rowsOf(one), rowsOf(expected[i] as Envelope))
        })
      }),
    )
  })

  it('that are cut, or of a newer version, are refused and not half read', () => {
    const { heads, bodies } = encodeBatch([envelope([target('b'), target('c')], 'text', { peer: 'p' })])
    const answers = Buffer.alloc(ANSWER_BYTES, 0)
    answers[0] = VERDICT_NEW
    assert.equal(decodeEntry(0, heads, bodies, answers).length, 1)
    for (let length = 0; length < bodies.length; length++) {
      assert.throws(() => decodeEntry(0, heads, bodies.subarray(0, length), answers), RangeError)
    }
    const newer = Buffer.from(bodies)
    newer[0] = 2
    assert.throws(() => decodeEntry(0, heads, newer, answers), /version 2: update/)
  })
})

describe('the entries of a shard on Redis', () => {
  let scene: Scene
  let node: OpenedRedis
  const put = (text: string, shard = 0) => node.intake.append(shard, [envelope('b', text)])
  const texts = async (limit: number) =>
    (await node.entries.read(0, limit)).map(({ envelopes }) => envelopes.map(bodyText).join())
  const key = (name: string) => `${scene.prefix}{s0}:${name}`
  beforeEach(async () => {
    scene = await openScene()
    node = await scene.node()
  })
  afterEach(() => scene.close())

  it('are read in order behind the done cursor, as many as asked for, and as often', async () => {
    for (let i = 0; i < 5; i++) await put(`${i}`)
    await put('of another shard', 1)
    assert.deepEqual(await texts(2), ['0', '1'])
    assert.deepEqual(await texts(9), ['0', '1', '2', '3', '4'])
    const [, second] = await node.entries.read(0, 9)
    await node.entries.done(0, second as Entry)
    assert.deepEqual(await texts(9), ['2', '3', '4'])
    assert.deepEqual([await node.entries.backlog(0), await node.entries.backlog(1)], [3, 1])
  })

  it('are done upwards only', async () => {
    for (let i = 0; i < 3; i++) await put(`${i}`)
    const [first, second] = await node.entries.read(0, 9)
    await node.entries.done(0, second as Entry)
    await node.entries.done(0, second as Entry)
    await node.entries.done(0, first as Entry)
    assert.deepEqual(await texts(9), ['2'])
    await assert.rejects(node.entries.done(0, { id: '1-99', envelopes: [] }), /no such entry/)
    assert.equal(await node.entries.backlog(0), 1)
  })

  it('count their attempts across workers, until they are done', async () => {
    const other = await scene.node()
    for (let i = 0; i < 2; i++) await put(`${i}`)
    const entries = await node.entries.read(0, 9)
    const [first, second] = entries.map(({ id }) => id)
    assert.ok(first && second)
    assert.equal(await node.entries.attempts(0, first), 1)
    assert.equal(await other.entries.attempts(0, first), 2)
    assert.equal(await node.entries.attempts(0, second), 1)
    assert.equal(await node.entries.attempts(0, first), 3)
    await node.entries.done(0, entries[0] as Entry)
    assert.equal(await other.entries.attempts(0, second), 2)
    assert.deepEqual(await scene.redis.hkeys(key('attempts')), [second])
    await node.entries.done(0, entries[1] as Entry)
    assert.equal(await node.entries.attempts(0, first), 0)
    assert.equal(await scene.redis.exists(key('attempts')), 0)
  })

  it('hold the watermark of all shards at what is done; when all are, it is the time of the store', async () => {
    for (let i = 0; i < 3; i++) await put(`${i}`)
    const entries = await node.entries.read(0, 9)
    const [first, second, third] = entries.map(({ envelopes }) => envelopes[0]?.seq ?? 0)
    assert.ok((await node.entries.publish()) < (first ?? 0))
    await put('of another shard', 1)
    const [elsewhere] = await node.entries.read(1, 9)
    await node.entries.done(1, elsewhere as Entry)
    assert.ok((await node.entries.publish()) < (first ?? 0))
    await node.entries.done(0, entries[1] as Entry)
    assert.equal(await node.entries.publish(), second)
    await node.entries.done(0, entries[2] as Entry)
    const drained = await node.entries.publish()
    assert.ok(drained >= (third ?? 0) && Math.abs(seqToUnixMs(drained) - Date.now()) < 1_000)
    await until(async () => (await node.entries.publish()) > drained, 'time goes on')
  })

  it('tell the watermark to all nodes, behind the rows up to it', async () => {
    const heard: string[] = []
    const row = {
      seq: 5,
      sub: 1,
      kind: ROW_FRAME,
      peer: '\u00ff',
      expiresMs: 9,
      source: Buffer.from('-row-'),
      start: 1,
    } as const
    const other = await scene.node({
      node: 'n2',
      hears: {
        onRows: (rows) =>
          void heard.push(
            ...rows.map(({ source, start, end, ...rest }) =>
              JSON.stringify({
                ...rest,
                text: source === undefined ? '' : Buffer.from(source).toString('utf8', start, end),
              }),
            ),
          ),
        onWatermark: () => void heard.push('watermark'),
        onLost: () => undefined,
        onGap: () => undefined,
      },
    })
    const holder = { onWake: () => true, onLost: () => undefined }
    await other.claims.known('b', other.claims.claim('b', holder))
    heard.length = 0
    await put('x')
    const [entry] = await node.entries.read(0, 9)
    const large = { ...row, source: Buffer.alloc(20_000), start: 0, end: 20_000, seq: 6 }
    await node.wakes.hand([
      { ...row, device: 'b', end: 4 },
      { ...large, device: 'b' },
      { ...row, device: 'nobody', end: 4 },
    ])
    await node.entries.done(0, entry as Entry)
    await until(async () => heard.at(-1) === 'watermark', 'the watermark')
    const same = { device: 'b', sub: 1, kind: 0, peer: '\u00ff', expiresMs: 9 }
    const said = heard.filter((each) => each !== 'watermark').map((each) => JSON.parse(each) as object)
    // A body that is too long is read instead.
    assert.deepEqual(said, [
      { ...same, seq: 5, text: 'row' },
      { ...same, seq: 6, text: '' },
    ])
    assert.ok(heard.lastIndexOf('watermark') > heard.findLastIndex((each) => each.startsWith('{')))
  })

  it('are never numbered at or below a published watermark, nor does it fall, when the clock steps back', async () => {
    const ahead = seqFromMs(Date.now() + HOUR_MS)
    await scene.redis.hset(key('state'), 'last', String(ahead))
    assert.equal(await node.entries.publish(), ahead)
    const next = await append(node.intake, envelope('b', 'x'))
    assert.equal(next.seq, ahead + 1)
    const elsewhere = envelope('b', 'z')
    await node.intake.append(1, [elsewhere])
    assert.equal(elsewhere.seq, ahead + 1)
    assert.equal(await node.entries.publish(), ahead)
    for (const shard of [0, 1]) {
      const [entry] = await node.entries.read(shard, 1)
      await node.entries.done(shard, entry as Entry)
    }
    assert.equal(await node.entries.publish(), ahead + 1)
    assert.equal((await append((await scene.node()).intake, envelope('b', 'y'))).seq, ahead + 2)
  })

  it('go at least 60 s after they are done, and none that is not', async () => {
    for (let i = 0; i < 4; i++) await put(`${i}`)
    const entries = await node.entries.read(0, 9)
    await node.entries.done(0, entries[1] as Entry)
    await node.entries.trim(0)
    await node.entries.trim(0)
    assert.equal(await scene.redis.xlen(key('stream')), 4)
    const [checkpoint = '', ...more] = await scene.redis.lrange(key('checkpoints'), 0, -1)
    assert.deepEqual([checkpoint.split(' ')[1], more.length], [entries[1]?.id, 0])
    await node.entries.done(0, entries[2] as Entry)
    const setBack = async (ms: number): Promise<void> => {
      await scene.redis.lset(key('checkpoints'), 0, `${Date.now() - ms} ${entries[1]?.id}`)
      await node.entries.trim(0)
    }
    await setBack(59_000)
    assert.equal(await scene.redis.xlen(key('stream')), 4)
    await setBack(60_001)
    assert.equal(await scene.redis.xlen(key('stream')), 2)
    assert.deepEqual(await texts(9), ['3'])
    assert.equal(await node.entries.backlog(0), 1)
  })

  it('are whole for a worker that comes later, with everything a row is made of', async () => {
    const sent = envelope([target('b', { numbered: true }), target('c', { receiptTo: '\u00ffuser' })], 'text', {
      device: 'a',
      dedupe: DEDUPE_RECORD,
      stamp: 9,
      peer: '\u00fe',
      expiresMs: 123,
    })
    await append(node.intake, sent)
    const [entry] = await (await scene.node()).entries.read(0, 9)
    const [found] = entry?.envelopes ?? []
    assert.ok(found)
    assert.deepEqual([found.seq, found.device, found.stamp, found.expiresMs], [sent.seq, 'a', 9, 123])
    assert.deepEqual(rowsOf(found), rowsOf(sent))
    assert.deepEqual(await allTexts(node), ['text'])
  })
})
