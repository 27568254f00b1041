/**
 * Turns, and the recovery of those that nobody has, on a Redis of their own: it is filled by a foreign key, and a worker
 * takes its turns all the same.
 */
import assert from 'node:assert/strict'
import { type OpenedTurns, openTurns } from '../../adapters/bullmq/turns.ts'
import { startRecovery } from '../../workers/recover.ts'
import { type RedisService, startRedis } from '../services/redis.ts'
import { askRedis, converse } from '../services/wire.ts'

const SHARDS = 2
const MEMORY_BYTES_MAX = 8 * 1024 * 1024

describe('turns', () => {
  let redis: RedisService
  let opened: OpenedTurns
  let stop: (() => Promise<void>) | undefined
  before(async () => {
    redis = await startRedis({ memoryBytesMax: MEMORY_BYTES_MAX })
    opened = openTurns({ url: redis.url, prefix: 'turns:', shards: SHARDS })
  })
  after(async () => {
    await stop?.()
    await opened.close()
    await redis.stop()
  })

  /** A worker as workers/index.ts starts it; gives how to stop. */
  function work(
    take: (shard: number) => Promise<boolean>,
    hasWork: (shard: number) => Promise<boolean>,
  ): () => Promise<void> {
    const { turns } = opened
    const entries = { backlog: async (shard: number) => ((await hasWork(shard)) ? 1 : 0) }
    const stopTurns = turns.work(take)
    const stopRecovery = startRecovery({ turns, entries, shards: SHARDS, take })
    return async () => {
      await stopRecovery()
      await stopTurns()
    }
  }

  /** Foreign bytes until the server takes no more; gives how to take them away. */
  async function fill(): Promise<() => Promise<void>> {
    const talk = await converse('127.0.0.1', redis.port)
    const write = () => askRedis(talk, 'APPEND', 'foreign', 'x'.repeat(64 * 1024))
    let said = await write()
    while (said.startsWith(':')) said = await write()
    assert.match(said, /^-OOM/)
    return async () => {
      assert.equal(await askRedis(talk, 'DEL', 'foreign'), ':1\r\n')
      talk.end()
    }
  }

  it('are taken while the server is full, and by jobs again when it is not', async () => {
    const waiting = new Set<number>()
    const taken: number[] = []
    let done = (): void => undefined
    const emptied = () =>
      new Promise<void>((resolve) => {
        done = resolve
      })
    stop = work(
      async (shard) => {
        if (waiting.delete(shard)) taken.push(shard)
        if (waiting.size === 0) done()
        return false
      },
      async (shard) => waiting.has(shard),
    )
    const free = await fill()
    for (let shard = 0; shard < SHARDS; shard++) waiting.add(shard)
    await emptied()
    assert.deepEqual(taken.toSorted(), [0, 1])
    await free()
    waiting.add(1)
    opened.turns.nudge(1)
    await emptied()
    assert.deepEqual(taken.toSorted(), [0, 1, 1])
  })

  it('of shards with a backlog are queued though nobody nudged', async () => {
    await stop?.()
    const waiting = new Set([0, 1])
    const { promise, resolve } = Promise.withResolvers<void>()
    const take = async (shard: number): Promise<boolean> => {
      waiting.delete(shard)
      if (waiting.size === 0) resolve()
      return false
    }
    const before = opened.nudges()
    stop = work(take, async (shard) => waiting.has(shard))
    await promise
    assert.ok(opened.nudges() >= before + SHARDS, 'they came by jobs')
  })

  it('of a job that nobody has are taken at once when the server was away', async () => {
    await stop?.()
    stop = undefined
    const talk = await converse('127.0.0.1', redis.port)
    // As a worker leaves it that has lost its connection: active, with its lock.
    const job = 'turns:bull:storage:shard-0'
    assert.match(await askRedis(talk, 'HSET', job, 'name', 'turn', 'data', '{"shard":0}'), /^:/)
    assert.match(await askRedis(talk, 'RPUSH', 'turns:bull:storage:active', 'shard-0'), /^:/)
    assert.match(await askRedis(talk, 'SET', `${job}:lock`, 'somebody', 'PX', '600000'), /^\+OK/)
    talk.end()
    let isAway = true
    await new Promise<void>((resolve) => {
      stop = work(
        async (shard) => {
          if (shard === 0) resolve()
          return false
        },
        async (shard) => {
          if (!isAway) return shard === 0
          isAway = false
          throw new Error('Redis is away')
        },
      )
    })
  })
})
