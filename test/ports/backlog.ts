/** Conformance: what every adapter of the backlog port owes (core/ports.ts). */
import assert from 'node:assert/strict'
import { append, envelope } from './envelopes.ts'
import type { Opener, Opening } from './opener.ts'

/** Backlog of core/ports.ts: every sentence of its comments. */
export function backlogSuite(open: Opener): void {
  describe('Backlog', () => {
    let opening: Opening
    beforeEach(async () => {
      opening = await open()
    })
    afterEach(() => opening.close())

    async function walk(): Promise<string[]> {
      const devices: string[] = []
      for (;;) {
        const next = await opening.ports.backlog.deviceAfter(devices.at(-1) ?? '')
        if (next === undefined) return devices
        devices.push(next)
      }
    }

    it('names each device with waiting rows once, in the order of ids', async () => {
      for (const device of ['m', 'a', 'z', 'm', 'b2', 'b']) await append(opening.ports.intake, envelope(device, 'x'))
      await opening.age()
      assert.deepEqual(await walk(), ['a', 'b', 'b2', 'm', 'z'])
      await opening.crash()
      assert.deepEqual(await walk(), ['a', 'b', 'b2', 'm', 'z'])
    })

    it('is done with a device when its rows are acknowledged', async () => {
      for (const device of ['a', 'b', 'c']) await append(opening.ports.intake, envelope(device, 'x'))
      await opening.age()
      opening.ports.inbox.acknowledge('b', await opening.ports.inbox.page('b', 0, 0, 9), [], [])
      await opening.ports.inbox.setSubscribed('b', true)
      assert.deepEqual(await walk(), ['a', 'c'])
    })

    it('has nobody in front of it when nothing waits', async () => assert.deepEqual(await walk(), []))
  })
}
