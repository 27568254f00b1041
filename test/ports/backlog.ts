/** Conformance: what every adapter of the backlog port owes (core/ports.ts). */
import assert from 'node:assert/strict'
import type { Ports } from '../../core/ports.ts'
import { append, envelope } from './envelopes.ts'
import type { Opener, Opening } from './opener.ts'

type Given = Pick<Ports, 'backlog' | 'inbox' | 'intake'>

/**
 * Backlog of core/ports.ts: every sentence of its comments. `isExact`: more than the port asks for, devices come in the
 * order of their ids and none is named that has nothing.
 */
export function backlogSuite(open: Opener<Given>, isExact = false): void {
  describe('Backlog', () => {
    let opening: Opening<Given>
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

    it('names each device with waiting rows once, in an order that is always the same', async () => {
      for (const device of ['m', 'a', 'z', 'm', 'b2', 'b']) await append(opening.ports.intake, envelope(device, 'x'))
      await opening.age()
      const first = await walk()
      const wanted = ['a', 'b', 'b2', 'm', 'z']
      assert.deepEqual(isExact ? first : [...first].sort(), wanted)
      await opening.crash()
      assert.deepEqual(await walk(), first)
    })

    it('is done with a device when its rows are acknowledged', async () => {
      for (const device of ['a', 'b', 'c']) await append(opening.ports.intake, envelope(device, 'x'))
      await opening.age()
      opening.ports.inbox.acknowledge('b', await opening.ports.inbox.page('b', 0, 0, 9), [], [])
      await opening.commit()
      const named = await walk()
      assert.deepEqual(isExact ? named : named.filter((device) => device !== 'b').sort(), ['a', 'c'])
    })

    it('has nobody in front of it when nothing waits', async () => assert.deepEqual(await walk(), []))
  })
}
