/** Conformance: what every adapter of the claims port owes (core/ports.ts). */
import assert from 'node:assert/strict'
import type { ClaimHolder, Ports } from '../../core/ports.ts'
import { type Row, unknownRow } from '../../core/row.ts'
import type { Opener, Opening } from './opener.ts'

type Given = Pick<Ports, 'claims'>

const row = (device: string, seq: number): Row => ({ ...unknownRow(device), seq })

/** Claims of core/ports.ts: every sentence of its comments. */
export function claimsSuite(open: Opener<Given>): void {
  describe('Claims', () => {
    let opening: Opening<Given>
    const claims = () => opening.ports.claims
    const heard: string[] = []
    const holder = (name: string): ClaimHolder => ({
      onWake({ seq }) {
        heard.push(`${name} woken ${seq}`)
        return true
      },
      onLost: (reason) => void heard.push(`${name} lost ${reason}`),
    })
    beforeEach(async () => {
      heard.length = 0
      opening = await open()
    })
    afterEach(() => opening.close())

    it('wakes the holder of the device and no other, and says whether it has sent the row', () => {
      claims().claim('a', holder('one'))
      claims().claim('b', holder('two'))
      assert.equal(claims().wake('b', row('b', 5)), 'sent')
      assert.equal(claims().wake('c', row('c', 6)), 'away')
      assert.deepEqual(heard, ['two woken 5'])
      claims().claim('d', { onWake: () => false, onLost: () => undefined })
      assert.equal(claims().wake('d', row('d', 7)), 'woken')
    })

    it('tells the previous holder before the new one has the claim, and gives a higher epoch', () => {
      const first = claims().claim('a', holder('old'))
      assert.deepEqual(heard, [])
      const second = claims().claim('a', holder('new'))
      assert.deepEqual(heard, ['old lost takeover'])
      assert.ok(second > first)
      claims().wake('a', row('a', 1))
      assert.deepEqual(heard, ['old lost takeover', 'new woken 1'])
    })

    it('takes back a claim of this epoch only', () => {
      const old = claims().claim('a', holder('old'))
      const now = claims().claim('a', holder('new'))
      claims().release('a', old)
      assert.equal(claims().wake('a', row('a', 1)), 'sent')
      claims().release('a', now)
      assert.equal(claims().wake('a', row('a', 2)), 'away')
      claims().release('a', now)
      assert.deepEqual(heard, ['old lost takeover', 'new woken 1'])
    })

    it('gives higher epochs after a claim was given back', () => {
      const first = claims().claim('a', holder('one'))
      claims().release('a', first)
      assert.ok(claims().claim('a', holder('two')) > first)
      assert.deepEqual(heard, [])
    })

    it('says which devices are served now', async () => {
      const here = async () => [...(await claims().locate(['a', 'b', 'c']))].sort()
      assert.deepEqual(await here(), [])
      const [a, b] = [claims().claim('a', holder('one')), claims().claim('b', holder('two'))]
      await Promise.all([claims().known('a', a), claims().known('b', b)])
      assert.deepEqual(await here(), ['a', 'b'])
      claims().release('a', a)
      assert.deepEqual(await here(), ['b'])
      assert.deepEqual([...(await claims().locate([]))], [])
    })

    it('evicts with a reason, once', () => {
      claims().claim('a', holder('one'))
      claims().evict('a', 'revoked')
      claims().evict('a', 'revoked')
      claims().evict('nobody', 'revoked')
      assert.equal(claims().wake('a', row('a', 1)), 'away')
      assert.deepEqual(heard, ['one lost revoked'])
    })
  })
}
