/** Conformance: what every adapter of the links port owes (core/ports.ts). */
import assert from 'node:assert/strict'
import type { Links } from '../../core/ports.ts'
import { limits } from '../../topics/limits.ts'
import type { Opener, Opening } from './opener.ts'

const MINUTE_MS = 60_000
const SEALED = new Uint8Array([1, 2, 3])
const HASH = new Uint8Array(32).fill(7)
const USER = new Uint8Array(16).fill(9)

/** Begun in order and not waited for one by one: a store on a disk would take long. */
const fill = (count: number, one: (n: number) => Promise<void>): Promise<void>[] =>
  Array.from({ length: count }, (_, n) => one(n))

/** Links of core/ports.ts: every sentence of its comments. */
export function linksSuite(open: Opener): void {
  describe('Links', () => {
    let opening: Opening
    const links = (): Links => opening.ports.links
    const inAMinute = (): number => Date.now() + opening.clock.offsetMs + MINUTE_MS
    const bytes = async (id: string, waitMs = 0): Promise<number[] | null | undefined> => {
      const sealed = await links().read(id, waitMs)
      return sealed && [...sealed]
    }
    beforeEach(async () => {
      opening = await open()
    })
    afterEach(() => opening.close())

    it('carry one message, which may be read again', async () => {
      await links().open('box', inAMinute())
      assert.equal(await bytes('box'), null)
      assert.equal(await links().put('box', SEALED), true)
      assert.equal(await links().put('box', new Uint8Array([4])), false)
      for (let i = 0; i < 2; i++) assert.deepEqual(await bytes('box'), [1, 2, 3])
    })

    it('are read as soon as there is something', async () => {
      await links().open('box', inAMinute())
      const waiting = [bytes('box', MINUTE_MS), bytes('box', MINUTE_MS)]
      assert.equal(await links().put('box', SEALED), true)
      assert.deepEqual(await Promise.all(waiting), [
        [1, 2, 3],
        [1, 2, 3],
      ])
    })

    it('are waited for so long and no longer', async () => {
      await links().open('box', inAMinute())
      const since = performance.now()
      assert.equal(await bytes('box', 30), null)
      assert.ok(performance.now() - since >= 25)
    })

    it('know no mailbox that was not opened', async () => {
      assert.equal(await links().put('box', SEALED), false)
      assert.equal(await bytes('box', MINUTE_MS), undefined)
    })

    it('end with their time', async () => {
      await links().open('box', inAMinute())
      await links().open('full', inAMinute())
      await links().put('full', SEALED)
      opening.clock.offsetMs += MINUTE_MS
      assert.equal(await links().put('box', SEALED), false)
      assert.deepEqual([await bytes('box'), await bytes('full')], [undefined, undefined])
    })

    it(`are ${limits.linksOpenMax} at most: the oldest goes, and who waits for it hears so`, async () => {
      await links().open('oldest', inAMinute())
      const waiting = bytes('oldest', MINUTE_MS)
      await links().open('second', inAMinute())
      await Promise.all(fill(limits.linksOpenMax - 2, (i) => links().open(`box ${i}`, inAMinute())))
      assert.equal(await links().put('second', SEALED), true)
      await links().open('one more', inAMinute())
      assert.equal(await waiting, undefined)
      assert.equal(await links().put('oldest', SEALED), false)
      assert.deepEqual(await bytes('second'), [1, 2, 3])
      assert.equal(await bytes('one more'), null)
    })

    it('keep a token for a user, once and for its time', async () => {
      await links().grant(HASH, USER, inAMinute())
      assert.equal(await links().redeem(new Uint8Array(32)), undefined)
      assert.deepEqual(await links().redeem(HASH), USER)
      assert.equal(await links().redeem(HASH), undefined)
      await links().grant(HASH, USER, inAMinute())
      opening.clock.offsetMs += MINUTE_MS
      assert.equal(await links().redeem(HASH), undefined)
    })

    it(`keep ${limits.linksOpenMax} tokens at most: the oldest goes`, async () => {
      const hash = (n: number) => new Uint8Array(32).fill(n & 255).fill(n >> 8, 16)
      await Promise.all(fill(limits.linksOpenMax + 1, (n) => links().grant(hash(n), USER, inAMinute())))
      assert.equal(await links().redeem(hash(0)), undefined)
      assert.deepEqual(await links().redeem(hash(1)), USER)
      assert.deepEqual(await links().redeem(hash(limits.linksOpenMax)), USER)
    })
  })
}
