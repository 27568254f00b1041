/**
 * The intake on Redis (A1, A3, A6), beside what test/cluster/joined.test.ts says of it: exact numbers, verdicts as core/dedupe
 * has them, group commit, and a batch whose answer was lost.
 */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { OpenedRedis } from '../../adapters/redis/index.ts'
import { judgeRequest, judgeRising } from '../../core/dedupe.ts'
import {
  DEDUPE_NONE,
  DEDUPE_RECORD,
  DEDUPE_RISING,
  type Envelope,
  IntakeFault,
  VERDICT_AGAIN,
  VERDICT_AHEAD,
  VERDICT_NEW,
} from '../../core/envelope.ts'
import type { Entry } from '../../core/ports.ts'
import { isSeqAhead } from '../../core/sequence.ts'
import { SEQ_PER_MS, seqFromMs } from '../../topics/ids.ts'
import { limits } from '../../topics/limits.ts'
import { append, envelope, markEnvelope } from '../ports/envelopes.ts'
import { allEntries, allTexts, type LossyProxy, openScene, type Scene, startProxy, until } from './redis-scene.ts'

const HOUR_MS = 3_600_000
const WAITING_MAX = 3

const request = (stamp: number, more: Partial<Envelope> = {}): Envelope =>
  envelope('b', `request ${stamp}`, {
    device: 'a',
    dedupe: DEDUPE_RECORD,
    stamp,
    hash: stamp * 7,
    peer: '\u00ffpeer\u0000',
    ...more,
  })
const rising = (numbers: readonly number[]): boolean => numbers.every((n, i) => i === 0 || n > (numbers[i - 1] ?? 0))
const isFault = (code: string) => (error: unknown) => error instanceof IntakeFault && error.code === code

describe('the intake on Redis', () => {
  let scene: Scene
  beforeEach(async () => {
    scene = await openScene()
  })
  afterEach(() => scene.close())
  const stateKey = (shard = 0) => `${scene.prefix}{s${shard}}:state`

  describe('numbers', () => {
    it('go on one by one, exactly, when the clock has stepped back', async () => {
      const { intake } = await scene.node()
      // All low bits in use: what is rounded on the way shows.
      const last = seqFromMs(Date.now() + HOUR_MS) + SEQ_PER_MS - 3
      await scene.redis.hset(stateKey(), 'last', String(last))
      const batch = Array.from({ length: 5 }, () => envelope('b', 'x'))
      await intake.append(0, batch)
      const [again] = [await append(intake, envelope('b', 'x'))]
      assert.deepEqual(
        [...batch, again].map(({ seq }) => seq),
        [1, 2, 3, 4, 5, 6].map((n) => last + n),
      )
      assert.equal(await scene.redis.hget(stateKey(), 'last'), String(last + 6))
    })

    it('are exact up to the largest safe integer', async () => {
      const { intake, entries } = await scene.node()
      const last = Number.MAX_SAFE_INTEGER - 4
      await scene.redis.hset(stateKey(), 'last', String(last))
      const batch = [envelope('b', 'x'), envelope('b', 'y')]
      await intake.append(0, batch)
      assert.deepEqual(
        batch.map(({ seq }) => seq),
        [last + 1, last + 2],
      )
      assert.deepEqual(
        (await entries.read(0, 9)).flatMap(({ envelopes }) => envelopes.map(({ seq }) => seq)),
        [last + 1, last + 2],
      )
      assert.ok((await entries.publish()) <= last)
    })

    it('are above the highest watermark that the node has seen, when the store forgot its last number', async () => {
      const { intake, entries } = await scene.node()
      await append(intake, envelope('b', 'x'))
      const [entry] = await entries.read(0, 1)
      await entries.done(0, entry as Entry)
      await scene.redis.hset(stateKey(), 'last', String(seqFromMs(Date.now() + HOUR_MS)))
      const seen = await entries.publish()
      assert.ok(seen > seqFromMs(Date.now()))
      await scene.redis.hdel(stateKey(), 'last')
      await scene.redis.del(`${scene.prefix}floor`)
      const next = await append(intake, envelope('b', 'x'))
      assert.equal(next.seq, seen + 1)
    })

    it('are unique and rise when two nodes append to one shard at once', async () => {
      const nodes = [await scene.node(), await scene.node()]
      const sent = await Promise.all(
        nodes.map(async ({ intake }, n) => {
          const mine: Envelope[] = []
          for (let i = 0; i < 50; i++) {
            const batch = [envelope('b', `${n} ${i} first`), envelope('b', `${n} ${i} second`)]
            await intake.append(3, batch)
            mine.push(...batch)
          }
          return mine
        }),
      )
      for (const mine of sent) assert.ok(rising(mine.map(({ seq }) => seq)))
      const all = sent.flat().map(({ seq }) => seq)
      assert.equal(new Set(all).size, 200)
      const stored = (await allEntries(nodes[0] as OpenedRedis, 3)).flatMap(({ envelopes }) => envelopes)
      assert.ok(rising(stored.map(({ seq }) => seq)))
      assert.deepEqual(
        stored.map(({ seq }) => seq),
        all.sort((a, b) => a - b),
      )
    })
  })

  describe('verdicts', () => {
    it('are those of core/dedupe, whatever the history', async function () {
      this.timeout(120_000)
      const { intake, devices } = await scene.node({ intake: { waitingRecordsMax: WAITING_MAX } })
      const one = fc.record({
        device: fc.constantFrom('a', 'b', ''),
        dedupe: fc.constantFrom(DEDUPE_NONE, DEDUPE_RECORD, DEDUPE_RISING),
        stamp: fc.constantFrom(1, 2, 3, 4, 5, 6, 7, 2 ** 52 + 1, 2 ** 52 + 2),
        hash: fc.constantFrom(0, 1, 2 ** 32 - 1),
        aheadMs: fc.constantFrom(0, 0, 0, 50_000, 61_500, 130_000),
      })
      const step = fc.oneof(
        { weight: 4, arbitrary: fc.array(one, { minLength: 1, maxLength: 6 }) },
        { weight: 1, arbitrary: fc.record({ settled: fc.constantFrom(1, 2, 3, 4, 2 ** 52 + 1) }) },
      )
      let runs = 0
      const numbers = { last: 0 }
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (history) => {
          const run = ++runs
          const model = new Model(numbers)
          for (const now of history) {
            if ('settled' in now) {
              model.settle('a', now.settled)
              await devices.settle(`a${run}`, [now.settled])
              continue
            }
            const batch = now.map(({ aheadMs, device, ...each }) =>
              envelope('x', 'x', {
                ...each,
                device: device === '' ? '' : `${device}${run}`,
                afterSeq: aheadMs === 0 ? 0 : seqFromMs(Date.now() + aheadMs),
              }),
            )
            await intake.append(1, batch)
            now.forEach(({ device }, i) => {
              model.check(device, batch[i] as Envelope)
            })
          }
        }),
        { numRuns: 120 },
      )
    })

    it('leave no entry when nothing was new', async () => {
      const { intake, entries } = await scene.node()
      await intake.append(0, [request(1)])
      await intake.append(0, [request(1), request(1)])
      assert.equal(await entries.backlog(0), 1)
    })
  })

  it('resolves the calls of a shard in their order, empty ones too, and shares entries among them', async () => {
    const { intake, entries } = await scene.node()
    const order: number[] = []
    const calls = Array.from({ length: 200 }, (_, i) =>
      intake.append(0, i % 10 === 9 ? [] : [envelope('b', `${i}`)]).then(() => order.push(i)),
    )
    await Promise.all(calls)
    assert.deepEqual(
      order,
      Array.from({ length: 200 }, (_, i) => i),
    )
    assert.equal(await entries.backlog(0), 1)
  })

  it('never parts the batch of one call, and bounds what joins it', async () => {
    const { intake, entries } = await scene.node({ intake: { entryEnvelopesMax: 4 } })
    const batch = (n: number, text: string) => Array.from({ length: n }, () => envelope('b', text))
    await Promise.all([
      intake.append(0, batch(3, 'one')),
      intake.append(0, batch(2, 'two')),
      intake.append(0, batch(9, 'three')),
      intake.append(0, batch(1, 'four')),
    ])
    const sizes = (await entries.read(0, 9)).map(({ envelopes }) => envelopes.length)
    assert.deepEqual(sizes, [3, 2, 9, 1])
  })

  it('bounds what joins a batch by its bytes too', async () => {
    const { intake, entries } = await scene.node({ intake: { entryBytesMax: 1_500 } })
    const texts = ['a', 'b', 'c'].map((letter) => letter.repeat(600))
    await Promise.all(texts.map((text) => intake.append(0, [envelope('b', text)])))
    const sizes = (await entries.read(0, 9)).map(({ envelopes }) => envelopes.length)
    assert.deepEqual(sizes, [2, 1])
  })

  it('refuses new work while more than allowed wait for an answer', async () => {
    const { intake } = await scene.node({ intake: { waitingEnvelopesMax: 2 } })
    const two = intake.append(0, [envelope('b', '1'), envelope('b', '2')])
    assert.equal(intake.refusal(), undefined)
    const three = intake.append(1, [envelope('b', '3')])
    assert.equal(intake.refusal(), 'overloaded')
    await Promise.all([two, three])
    assert.equal(intake.refusal(), undefined)
  })

  it('takes nothing once it is closed', async () => {
    const node = await scene.node()
    node.close()
    await assert.rejects(node.intake.append(0, [envelope('b', 'x')]), isFault('storage_unavailable'))
    assert.equal(node.intake.refusal(), 'storage_unavailable')
  })

  it('keeps the delivered marks that entries carry, and they only grow', async () => {
    const { intake, devices } = await scene.node({ intake: { shards: 1 } })
    const mark = (upTo: number) => ({ by: '\u00ff\u0000user one', peer: 'user two', upTo })
    await intake.append(0, [
      markEnvelope('b', 'm', { mark: mark(2 ** 52 + 1) }),
      markEnvelope('b', 'm', { mark: mark(7) }),
    ])
    await append(intake, markEnvelope('b', 'm', { mark: mark(5) }))
    assert.equal(await devices.markOf(mark(0).by, mark(0).peer), 2 ** 52 + 1)
    assert.equal(await devices.markOf(mark(0).peer, mark(0).by), 0)
  })

  it('stores no delivered mark that says less than one before it, whichever node it comes from', async () => {
    const [one, other] = [await scene.node({ intake: { shards: 1 } }), await scene.node({ intake: { shards: 1 } })]
    const mark = (upTo: number) => markEnvelope('b', `up to ${upTo}`, { mark: { by: 'one', peer: 'two', upTo } })
    const verdicts = async (node: OpenedRedis, ...all: number[]) => {
      const batch = all.map(mark)
      await node.intake.append(0, batch)
      return batch.map(({ verdict }) => verdict)
    }
    assert.deepEqual(await verdicts(one, 5, 9, 7), [VERDICT_NEW, VERDICT_NEW, VERDICT_AGAIN])
    assert.deepEqual(await verdicts(other, 8, 9, 10), [VERDICT_AGAIN, VERDICT_AGAIN, VERDICT_NEW])
    assert.deepEqual(await allTexts(one), ['up to 5', 'up to 9', 'up to 10'])
  })

  it('refuses when too many entries of the shard are not done, and takes more once they are', async () => {
    const { intake, entries } = await scene.node({ intake: { shardBacklogMax: 2 } })
    await append(intake, request(1))
    await append(intake, request(2))
    await assert.rejects(intake.append(0, [request(3)]), isFault('overloaded'))
    await intake.append(1, [envelope('b', 'another shard')])
    const [first] = await entries.read(0, 1)
    await entries.done(0, first as Entry)
    assert.equal((await append(intake, request(3))).verdict, VERDICT_NEW)
  })

  it('knows which inboxes are full from whoever counts them', async () => {
    const [one, other] = [await scene.node(), await scene.node()]
    assert.equal(one.intake.isFull('b'), false)
    await one.counts.setFull('b', true)
    assert.equal(one.intake.isFull('b'), true)
    await until(() => other.intake.isFull('b'), 'the other node hears that it is full')
    await other.counts.setFull('b', false)
    await until(() => !one.intake.isFull('b'), 'the first node hears that it is not')
  })

  describe('a batch whose answer was lost', () => {
    let proxy: LossyProxy
    beforeEach(async () => {
      proxy = await startProxy(scene.url)
    })
    afterEach(() => proxy.close())

    for (const how of ['cut', 'mute'] as const) {
      it(`is appended once and answered the same, and what came behind it comes behind it: ${how}`, async () => {
        const node = await scene.node({ connection: { commandTimeoutMs: 300 } }, proxy.url)
        await append(node.intake, envelope('b', 'before'))
        proxy.loseAnswerTo('the lost one', how)
        const lost = [envelope('b', 'the lost one'), request(5)]
        const behind = [envelope('b', 'behind')]
        const order: string[] = []
        const first = node.intake.append(0, lost).then(() => order.push('lost'))
        await until(() => proxy.lost() > 0, 'the server has it')
        const second = node.intake.append(0, behind).then(() => order.push('behind'))
        await Promise.all([first, second])
        assert.deepEqual(order, ['lost', 'behind'])
        assert.deepEqual(
          lost.map(({ verdict }) => verdict),
          [VERDICT_NEW, VERDICT_NEW],
        )
        assert.ok(Number(node.facts()['resends']) >= 1)
        const stored = (await allEntries(node)).flatMap(({ envelopes }) => envelopes)
        assert.deepEqual(await allTexts(node), ['before', 'the lost one', 'request 5', 'behind'])
        assert.deepEqual(
          stored.slice(1).map(({ seq }) => seq),
          [...lost, ...behind].map(({ seq }) => seq),
        )
      })
    }

    it('is rejected at close as long as the answer is not known, with what waits behind it', async () => {
      const node = await scene.node({}, proxy.url)
      proxy.loseAnswerTo('the lost one', 'mute')
      const lost = assert.rejects(
        node.intake.append(0, [envelope('b', 'the lost one')]),
        isFault('storage_unavailable'),
      )
      await until(() => proxy.lost() > 0, 'the server has it')
      const behind = assert.rejects(node.intake.append(0, [envelope('b', 'behind')]), isFault('storage_unavailable'))
      node.close()
      await Promise.all([lost, behind])
      assert.deepEqual(await allTexts(await scene.node()), ['the lost one'])
    })

    it('is refused with what waits behind it when a later one of its name came before; the next one is taken', async () => {
      const node = await scene.node()
      await append(node.intake, request(1))
      const [key = ''] = await scene.redis.keys(`${scene.prefix}{s0}:node:*`)
      const kept = await scene.redis.getBuffer(key)
      assert.ok(kept)
      kept.writeDoubleLE(9, 0)
      await scene.redis.set(key, kept)
      const refused = assert.rejects(node.intake.append(0, [request(2)]), isFault('storage_unavailable'))
      await new Promise((resolve) => setImmediate(resolve))
      // It was handed over while the one before it was on its way.
      const behind = assert.rejects(node.intake.append(0, [request(3)]), isFault('storage_unavailable'))
      await Promise.all([refused, behind])
      assert.equal((await append(node.intake, request(2))).verdict, VERDICT_NEW)
      assert.deepEqual(await allTexts(node), ['request 1', 'request 2'])
    })

    it('takes a new name when the server has forgotten the node, and loses nothing', async () => {
      const { intake } = await scene.node()
      await append(intake, request(1))
      await scene.redis.del(await scene.redis.keys(`${scene.prefix}{s0}:node:*`))
      assert.equal((await append(intake, request(2))).verdict, VERDICT_NEW)
      assert.equal((await scene.redis.keys(`${scene.prefix}{s0}:node:*`)).length, 1)
    })
  })
})

/** What core/dedupe says, over a map. */
class Model {
  readonly #devices = new Map<string, { last: number; records: Map<number, { hash: number; seq: number }> }>()
  /** Of the shard: it outlives a history. */
  readonly #numbers: { last: number }

  constructor(numbers: { last: number }) {
    this.#numbers = numbers
  }

  #of(device: string) {
    const known = this.#devices.get(device) ?? { last: 0, records: new Map() }
    this.#devices.set(device, known)
    return known
  }

  settle(device: string, stamp: number): void {
    this.#of(device).records.delete(stamp)
  }

  check(device: string, envelope: Envelope): void {
    const { stamp, hash, dedupe, afterSeq } = envelope
    const sender = this.#of(device)
    const isNone = dedupe === DEDUPE_NONE || device === ''
    const waiting = sender.records.get(stamp)
    let verdict = isNone ? VERDICT_NEW : judgeRising(stamp, sender.last)
    if (!isNone && dedupe === DEDUPE_RECORD) {
      verdict = judgeRequest(stamp, hash, sender.last, waiting?.hash, sender.records.size, WAITING_MAX)
    }
    const isAhead = isSeqAhead(afterSeq, this.#numbers.last, Date.now(), limits.afterSeqAheadMsMax)
    if (verdict === VERDICT_NEW && afterSeq > 0 && isAhead) verdict = VERDICT_AHEAD
    assert.deepEqual([envelope.verdict, envelope.lastStamp], [verdict, isNone ? 0 : sender.last])
    if (verdict === VERDICT_AGAIN && dedupe === DEDUPE_RECORD) assert.equal(envelope.seq, waiting?.seq)
    if (verdict !== VERDICT_NEW) return
    assert.ok(envelope.seq > Math.max(this.#numbers.last, afterSeq))
    this.#numbers.last = envelope.seq
    if (isNone) return
    sender.last = stamp
    if (dedupe === DEDUPE_RECORD) sender.records.set(stamp, { hash, seq: envelope.seq })
  }
}
