import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { byShard, pairShard, shardOf } from '../../core/shards.ts'

const SHARDS = 8
const key = (n: number): Buffer => createHash('sha256').update(`${n}`).digest().subarray(0, 16)

describe('shards', () => {
  it('are the same for bytes and their latin1 string, and for ever', () => {
    for (let n = 0; n < 100; n++) assert.equal(shardOf(key(n), SHARDS), shardOf(key(n).toString('latin1'), SHARDS))
    // Conversations stay where they are: these numbers never change.
    assert.deepEqual(
      [0, 1, 2, 3, 4, 5].map((n) => [shardOf(key(n), SHARDS), pairShard(`user ${n}`, 'peer', SHARDS)]),
      [
        [3, 1],
        [1, 4],
        [6, 5],
        [2, 1],
        [1, 2],
        [6, 3],
      ],
    )
  })

  it('are one for both sides of a pair', () => {
    for (let n = 0; n < 100; n++) {
      const [a, b] = [key(n).toString('latin1'), key(n + 1).toString('latin1')]
      assert.equal(pairShard(a, b, SHARDS), pairShard(b, a, SHARDS))
    }
  })

  it('get an even share each', () => {
    const counts = { ofKeys: new Array(SHARDS).fill(0), ofPairs: new Array(SHARDS).fill(0) }
    for (let n = 0; n < 8_000; n++) {
      counts.ofKeys[shardOf(key(n), SHARDS)]++
      counts.ofPairs[pairShard(`user ${n}`, 'the same peer', SHARDS)]++
    }
    for (const count of [...counts.ofKeys, ...counts.ofPairs]) assert.ok(count > 800 && count < 1_200, `${count}`)
  })

  it('are all one when there is one', () => {
    assert.deepEqual([shardOf(key(1), 1), pairShard('a', 'b', 1)], [0, 0])
  })

  it('part a batch without changing the order within a shard', () => {
    const batch = [2, 0, 2, 1, 0, 2].map((shard, n) => ({ shard, n }))
    const parts = [...byShard(batch)].map(([shard, part]) => [shard, part.map(({ n }) => n)])
    assert.deepEqual(parts, [
      [2, [0, 2, 5]],
      [0, [1, 4]],
      [1, [3]],
    ])
    assert.equal(byShard([]).size, 0)
  })
})
