/** A Redis of the test's own: what is refused at start, a kill -9, a full memory, a server that is away. */
import assert from 'node:assert/strict'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { openRedis } from '../../adapters/redis/index.ts'
import { DEDUPE_RECORD, type Envelope, IntakeFault, VERDICT_AGAIN, VERDICT_NEW } from '../../core/envelope.ts'
import type { Entry } from '../../core/ports.ts'
import { append, envelope } from '../ports/envelopes.ts'
import {
  allEntries,
  allTexts,
  bodyText,
  connectPlain,
  type LossyProxy,
  type OwnRedis,
  openScene,
  type Scene,
  startOwnRedis,
  startProxy,
  until,
} from './redis-scene.ts'

const MIB = 1024 * 1024
const MINUTE_MS = 60_000
const request = (stamp: number, more: Partial<Envelope> = {}): Envelope =>
  envelope('b', `request ${stamp}`, { device: 'a', dedupe: DEDUPE_RECORD, stamp, hash: stamp, peer: 'peer', ...more })
const isFault = (code: string) => (error: unknown) => error instanceof IntakeFault && error.code === code

describe('a Redis of a cluster', () => {
  let own: OwnRedis
  let scene: Scene
  before(async () => {
    own = await startOwnRedis()
  })
  after(() => own.stop())
  beforeEach(async () => {
    scene = await openScene(own.url)
  })
  afterEach(async () => {
    await scene.redis.config('SET', 'maxmemory', '0')
    await scene.close()
  })

  describe('at start', () => {
    const refusals: [setting: string, wrong: string, right: string, says: RegExp][] = [
      [
        'maxmemory-policy',
        'allkeys-lru',
        'noeviction',
        /may evict .*set maxmemory-policy noeviction \(it is allkeys-lru\)/,
      ],
      ['appendfsync', 'everysec', 'always', /last second .*set appendfsync always \(it is everysec\)/],
      ['appendonly', 'no', 'yes', /lose everything .*set appendonly yes \(it is no\)/],
    ]
    for (const [setting, wrong, right, says] of refusals) {
      it(`is refused with ${setting} ${wrong}, and the refusal says what to set`, async () => {
        await scene.redis.config('SET', setting, wrong)
        await assert.rejects(scene.node(), says)
        await scene.redis.config('SET', setting, right)
        await scene.node()
      })
    }

    it('is refused while it is set otherwise under a node that runs, and used again when it is as it was', async () => {
      const node = await scene.node()
      await append(node.intake, request(1))
      for (const [setting, wrong, right] of refusals) {
        await scene.redis.config('SET', setting, wrong)
        await until(() => node.intake.refusal() === 'storage_unavailable', `that ${setting} ${wrong} is noticed`)
        await assert.rejects(append(node.intake, request(2)), isFault('storage_unavailable'))
        await scene.redis.config('SET', setting, right)
        await until(() => node.isUsable(), `that ${setting} ${right} is noticed`)
      }
      // Its file was off meanwhile: what is acknowledged now is in it all the same.
      await append(node.intake, request(2))
      await own.kill()
      await own.start()
      await until(() => node.isUsable(), 'the node is back')
      assert.deepEqual(await allTexts(node), ['request 1', 'request 2'])
    })

    it('is refused when its user may not ask who listens, and the refusal says what to allow', async () => {
      await scene.redis.acl('SETUSER', 'narrow', 'on', '>secret', '~*', '&*', '+@all', '-pubsub|numsub')
      const url = own.url.replace('//', '//narrow:secret@')
      await assert.rejects(
        openRedis(url, Date.now, () => undefined),
        /let this user run PUBSUB NUMSUB/,
      )
    })

    it('is refused with another number of shards than it was begun with', async () => {
      await scene.node({ intake: { shards: 4 } })
      await assert.rejects(scene.node({ intake: { shards: 8 } }), /begun with 4 shards, .*: set 4/)
      await scene.node({ intake: { shards: 4 } })
    })

    for (const [skewMs, says] of [
      [61_000, /clock of Redis is 61 s behind this machine's/],
      [-61_000, /clock of Redis is 61 s ahead of this machine's/],
    ] as const) {
      it(`is refused when the clocks are apart by ${skewMs} ms`, async () => {
        const { prefix } = scene
        await assert.rejects(
          openRedis(own.url, () => Date.now() + skewMs, assert.fail, { prefix }),
          says,
        )
        const node = await openRedis(own.url, () => Date.now() + skewMs * 0.95, assert.fail, { prefix })
        node.close()
      })
    }

    it('is refused when it is a replica', async () => {
      await scene.redis.replicaof('127.0.0.1', 1)
      await assert.rejects(scene.node(), /is a replica and takes no writes: give REDIS_URL of the one it follows/)
      await scene.redis.replicaof('NO', 'ONE')
      await scene.node()
    })

    it('says what a PUBACK rests on', async () => {
      assert.match(
        (await scene.node()).promise,
        /^(Redis 7|Valkey 8)\..*appendfsync always: .* after fsync, on this server alone$/,
      )
    })

    it('is refused when nothing listens there, by its place and without its password', async () => {
      const away = startOwnRedis()
      const { url } = await away
      await (await away).stop()
      const at = new URL(url)
      const refused = scene.node({}, `redis://user:secret@${at.host}`)
      await assert.rejects(refused, (error: Error) => {
        assert.match(
          error.message,
          new RegExp(`Redis at ${at.host} is not to be reached .*: start it, or correct REDIS_URL`),
        )
        return !error.message.includes('secret')
      })
    })
  })

  it('that no longer keeps the promise after a reconnect gets nothing, until it does', async () => {
    const node = await scene.node({ connection: { recheckMs: 20 } })
    await append(node.intake, request(1))
    await scene.redis.config('SET', 'appendfsync', 'everysec')
    await scene.redis.client('KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    await until(() => scene.warnings.some((text) => /set appendfsync always/.test(text)), 'it is said what is wrong')
    await assert.rejects(node.intake.append(0, [request(2)]), isFault('storage_unavailable'))
    assert.equal(node.intake.refusal(), 'storage_unavailable')
    await scene.redis.config('SET', 'appendfsync', 'always')
    await until(() => node.isUsable(), 'it is used again')
    assert.equal((await append(node.intake, request(2))).verdict, VERDICT_NEW)
  })

  it('that is killed has everything that was acknowledged, once, and what was in flight is answered after', async () => {
    const [one, other] = [await scene.node(), await scene.node()]
    const acknowledged = new Map<string, number>()
    const nowhere = new Set<string>()
    let isOver = false
    let n = 0
    const send = async (node: typeof one, shard: number, device: string): Promise<void> => {
      while (!isOver) {
        const stamp = ++n
        const text = `${device} ${stamp}`
        const sent = envelope('b', text, { device, dedupe: DEDUPE_RECORD, stamp, hash: 1 })
        try {
          await node.intake.append(shard, [sent])
          acknowledged.set(text, sent.seq)
        } catch (error) {
          assert.ok(isFault('storage_unavailable')(error), String(error))
          nowhere.add(text)
          await new Promise((resolve) => setTimeout(resolve, 10))
        }
      }
    }
    const senders = Array.from({ length: 16 }, (_, i) => send(i % 2 ? one : other, i % 4, `d${i}`))
    for (let round = 0; round < 3; round++) {
      const before = acknowledged.size
      await until(() => acknowledged.size > before + 200, 'they send')
      await own.kill()
      assert.equal(one.intake.refusal() ?? 'storage_unavailable', 'storage_unavailable')
      await own.start()
      await until(() => one.isUsable() && other.isUsable(), 'the nodes are back')
    }
    isOver = true
    await Promise.all(senders)
    const fresh = await scene.node()
    const stored = new Map<string, number>()
    for (let shard = 0; shard < 4; shard++) {
      let last = 0
      for (const found of (await allEntries(fresh, shard)).flatMap(({ envelopes }) => envelopes)) {
        assert.ok(found.seq > last)
        last = found.seq
        assert.ok(!stored.has(bodyText(found)), `${bodyText(found)} is stored twice`)
        stored.set(bodyText(found), found.seq)
      }
    }
    for (const [text, seq] of acknowledged) assert.equal(stored.get(text), seq, text)
    for (const text of nowhere) assert.ok(!stored.has(text), `${text} was refused`)
    assert.equal(stored.size, acknowledged.size)
  })

  describe('whose file ends in the middle of a write', () => {
    const restart = async (node: Awaited<ReturnType<Scene['node']>>): Promise<void> => {
      await own.kill()
      own.tear()
      await own.start()
      await until(() => node.isUsable(), 'the node is back')
    }

    it('has what is sent again once, and what is acknowledged after, after one more crash', async () => {
      const node = await scene.node()
      await append(node.intake, request(1))
      await append(node.intake, request(2))
      await restart(node)
      assert.deepEqual(await allTexts(node), ['request 1'])
      const fresh = await scene.node()
      await append(fresh.intake, request(2))
      await own.kill()
      await own.start()
      await until(() => fresh.isUsable(), 'the node is back')
      assert.deepEqual(await allTexts(fresh), ['request 1', 'request 2'])
    })

    it('does not lose single writes that are acknowledged after', async () => {
      const node = await scene.node()
      await append(node.intake, request(1))
      await restart(node)
      const plain = await connectPlain(own.url)
      await plain.set(`${scene.prefix}single`, 'acknowledged')
      await own.kill()
      await own.start()
      assert.equal(await plain.get(`${scene.prefix}single`), 'acknowledged')
      plain.disconnect()
    })

    it('is refused while it cannot rewrite that file, and used when it can', async () => {
      await own.kill()
      await own.start()
      await scene.redis.acl('SETUSER', 'nobody', 'on', '>secret', '~*', '&*', '+@all', '-bgrewriteaof')
      const as = own.url.replace('redis://', 'redis://nobody:secret@')
      await assert.rejects(scene.node({}, as), /does not rewrite its append-only file: let this user run BGREWRITEAOF/)
      await scene.redis.acl('SETUSER', 'nobody', '+bgrewriteaof')
      await scene.node({}, as)
    })
  })

  it('that is away is said to be so at once, and used again when it is back', async () => {
    const node = await scene.node()
    await own.kill()
    await until(() => node.intake.refusal() === 'storage_unavailable', 'the connection ends')
    const since = performance.now()
    await assert.rejects(node.intake.append(0, [request(1)]), isFault('storage_unavailable'))
    assert.ok(performance.now() - since < 1_000)
    // It keeps the place of refusals in the sender's order, and has nothing that could be refused.
    await node.intake.append(0, [])
    await assert.rejects(node.devices.open('a'))
    await own.start()
    await until(() => node.isUsable(), 'it is used again')
    assert.equal(node.intake.refusal(), undefined)
    assert.equal((await append(node.intake, request(1))).verdict, VERDICT_NEW)
    const [entry] = await node.entries.read(0, 1)
    assert.equal(await node.entries.attempts(0, entry?.id ?? ''), 1)
  })

  it('whose snapshots fail refuses writes, and takes them again once they do not, without a restart', async () => {
    const saving = await startOwnRedis({ save: '3600 1' })
    const at = await openScene(saving.url)
    const saved = async (status: string): Promise<void> => {
      await at.redis.bgsave()
      const isSaved = async () => {
        const info = await at.redis.info('persistence')
        return info.includes('rdb_bgsave_in_progress:0') && info.includes(`rdb_last_bgsave_status:${status}`)
      }
      await until(isSaved, `a snapshot that ends with ${status}`)
    }
    try {
      const node = await at.node()
      await append(node.intake, request(1))
      const [, folder = ''] = (await at.redis.config('GET', 'dir')) as string[]
      // The file is written beside it, and cannot take its place.
      const place = join(folder, 'dump.rdb')
      rmSync(place, { force: true })
      mkdirSync(place)
      await saved('err')
      await assert.rejects(at.redis.set('x', 'y'), /^ReplyError: MISCONF/)
      await assert.rejects(node.intake.append(0, [request(2)]), isFault('storage_unavailable'))
      await assert.rejects(node.intake.append(0, [envelope('b', 'not taken')]), isFault('storage_unavailable'))
      rmSync(place, { recursive: true })
      await saved('ok')
      await until(() => node.intake.refusal() === undefined && node.isUsable(), 'it is used again')
      assert.equal((await append(node.intake, request(2))).verdict, VERDICT_NEW)
      assert.deepEqual(await allTexts(node), ['request 1', 'request 2'])
    } finally {
      await at.close()
      await saving.stop()
    }
  })

  describe('whose memory is full', () => {
    let proxy: LossyProxy
    before(async () => {
      proxy = await startProxy(own.url)
    })
    after(() => proxy.close())
    const fill = async (): Promise<void> => {
      await scene.redis.setrange(`${scene.prefix}of another`, 8 * MIB, 'x')
      await scene.redis.config('SET', 'maxmemory', String(4 * MIB))
    }
    const free = async (): Promise<void> => {
      await scene.redis.config('SET', 'maxmemory', '0')
      await scene.redis.del(`${scene.prefix}of another`)
    }
    /** Everything that an append writes. */
    const state = async () => {
      const keys = (await scene.redis.keys(`${scene.prefix}*{s*`))
        .concat(await scene.redis.keys(`${scene.prefix}{s*`))
        .sort()
      return Promise.all(keys.map(async (key) => [key, (await scene.redis.dumpBuffer(key)).toString('hex')]))
    }

    it('refuses a batch whole, lets what waits be worked off, and takes the same batch when there is room', async () => {
      const node = await scene.node()
      await node.intake.append(0, [request(1)])
      await node.intake.append(0, [envelope('b', 'second')])
      await fill()
      const before = await state()
      const mark = { by: 'x', peer: 'y', upTo: 5 }
      const batch = [request(2), envelope('b', 'own', { mark }), request(3, { device: 'other' })]
      await assert.rejects(node.intake.append(0, batch), isFault('overloaded'))
      await assert.rejects(node.intake.append(5, [envelope('b', 'a shard that is new')]), isFault('overloaded'))
      assert.deepEqual(await state(), before)

      const [first, second] = await node.entries.read(0, 9)
      assert.equal(await node.entries.attempts(0, first?.id ?? ''), 1)
      await node.entries.done(0, first as Entry)
      await node.entries.done(0, second as Entry)
      assert.deepEqual(await node.entries.read(0, 9), [])
      const watermark = await node.entries.publish()
      assert.ok(watermark > (second?.envelopes[0]?.seq ?? 0))
      await node.entries.trim(0)
      await node.devices.setSubscribed('b', true)
      await node.devices.close('b', await node.devices.advanceSlot('b'), 7)
      await node.devices.settle('a', [1])
      const { appendedSeq: _, ...known } = await node.devices.open('b')
      assert.deepEqual(known, { subscribed: true, sentSeq: 7, lastStamp: 0, records: [] })

      await until(() => node.intake.refusal() === 'overloaded', 'the node sees that the memory is full')
      await free()
      await until(() => node.intake.refusal() === undefined, 'the node sees that there is room')
      await node.intake.append(0, batch)
      assert.deepEqual(
        batch.map(({ verdict }) => verdict),
        [VERDICT_NEW, VERDICT_NEW, VERDICT_NEW],
      )
      assert.ok(batch.every(({ seq }) => seq > watermark))
      assert.deepEqual(await allTexts(node), ['request 2', 'own', 'request 3'])
      assert.equal((await append(node.intake, request(2))).verdict, VERDICT_AGAIN)
    })

    it('up to seven tenths is refused before the server is full, but for what the server says itself', async () => {
      const node = await scene.node()
      const used = Number(/used_memory:(\d+)/.exec(await scene.redis.info('memory'))?.[1])
      await scene.redis.config('SET', 'maxmemory', String(Math.floor(used / 0.75)))
      await until(() => node.intake.refusal() === 'overloaded', 'the node sees it')
      await assert.rejects(node.intake.append(0, [request(1)]), isFault('overloaded'))
      await node.intake.append(0, [envelope('b', 'a mark')])
      assert.deepEqual(await allTexts(node), ['a mark'])
    })

    it('does not make a batch refused whose first try may still arrive: it is sent until it is taken', async () => {
      const node = await scene.node({}, proxy.url)
      await append(node.intake, request(1))
      await fill()
      proxy.loseAnswerTo('request 2', 'drop')
      let isSettled = false
      const sent = append(node.intake, request(2)).finally(() => {
        isSettled = true
      })
      await until(() => isSettled || Number(node.facts()['resends']) >= 2, 'it is sent again')
      assert.deepEqual([isSettled, proxy.lost()], [false, 1])
      await free()
      assert.equal((await sent).verdict, VERDICT_NEW)
      assert.deepEqual(await allTexts(node), ['request 1', 'request 2'])
    })

    it('answers a batch that it has, whose answer was lost, all the same', async () => {
      const node = await scene.node({ connection: { commandTimeoutMs: 300 } })
      const plain = await connectPlain(own.url)
      await append(node.intake, request(1))
      const [key = ''] = await plain.keys(`${scene.prefix}{s0}:node:*`)
      // As if the next batch had been taken and its answer had not come: number 2 is known.
      const kept = await plain.getBuffer(key)
      assert.ok(kept)
      kept.writeDoubleLE(2, 0)
      await plain.set(key, kept)
      await fill()
      const again = await append(node.intake, envelope('b', 'number 2'))
      assert.equal(again.verdict, VERDICT_NEW)
      assert.deepEqual(await allTexts(node), ['request 1'])
      await free()
      plain.disconnect()
    })
  })

  it('keeps nothing of a node for longer than a day, nor a mark for longer than rows can be old', async () => {
    const node = await scene.node({ intake: { shards: 1 } })
    await node.intake.append(0, [envelope('b', 'x', { mark: { by: 'one', peer: 'two', upTo: 9 } })])
    const [key = ''] = await scene.redis.keys(`${scene.prefix}{s0}:node:*`)
    const days = async (name: string) => (await scene.redis.pttl(name)) / (24 * 60 * MINUTE_MS)
    assert.ok((await days(key)) > 0.9 && (await days(key)) <= 1)
    const markDays = await days(`${scene.prefix}{s0}:mark:onetwo`)
    assert.ok(markDays > 30 && markDays <= 33, `${markDays}`)
  })
})
