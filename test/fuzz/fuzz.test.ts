import assert from 'node:assert/strict'
import { assertAllowed, leakIn } from './acl.ts'
import { readCorpus } from './corpus.ts'
import { firstMissing, openLive } from './live.ts'
import { createRandom } from './random.ts'
import {
  createConversations,
  createPool,
  type Found,
  fuzz,
  fuzzLive,
  pureTargets,
  replay,
  replayLive,
} from './runner.ts'

const SEED = 20_260_101
const PURE_EXECS = 20_000
const LIVE_ROUNDS = 100
const ACL_CASES = 20_000

function assertNothing(found: Found | undefined): void {
  if (found === undefined) return
  assert.fail(`${found.error.stack}\n${found.inputs.map((input) => input.toString('hex')).join('\n')}`)
}

describe('the short fuzz lane finds nothing in', () => {
  for (const target of pureTargets) {
    it(`${target.name}, by the corpus and ${PURE_EXECS} mutations of it`, () => {
      const random = createRandom(SEED)
      assertNothing(replay(target, random))
      assertNothing(fuzz(target, createPool(readCorpus(target.name)), random, PURE_EXECS))
    })
  }

  it(`the whole server, by the corpus and ${LIVE_ROUNDS} rounds of conversations`, async () => {
    const random = createRandom(SEED)
    const live = await openLive()
    try {
      assertNothing(await replayLive(live, random))
      assertNothing(await fuzzLive(live, createConversations(readCorpus(live.name)), random, LIVE_ROUNDS))
    } finally {
      await live.stop()
    }
  })

  it(`${ACL_CASES} random clients, filters and topics: nothing leaks, and what is to be allowed is`, () => {
    const random = createRandom(SEED)
    const leaks = new Set<string>()
    for (let i = 0; i < ACL_CASES; i++) {
      const leak = leakIn(random)
      if (leak !== undefined) leaks.add(leak)
    }
    assert.deepEqual([...leaks], [])
    assertAllowed((holds, what) => assert.ok(holds, what))
  })

  it('though what it looks for in the inbox is the end of another message', () => {
    const [empty, x, box] = ['', 'x', 'box'].map((text) => Buffer.from(text)) as [Buffer, Buffer, Buffer]
    assert.equal(firstMissing([empty, x, box], [box, x, Buffer.from('head')]), -1)
    assert.equal(firstMissing([empty, box, x], [x, x, empty]), 1)
    assert.equal(firstMissing([x, x], [box]), 1)
  })
})
