/** The primary device starts anew between a link and the arrival of the linked device, which gets the history anyway. */
import assert from 'node:assert/strict'
import { type Party, type Scene, startScene } from '../e2ee/scene.ts'

const SAID = ['first', 'second', 'third']
/** How long the history waits for a linked device. */
const WAITS_MS = 600_000

describe('the history of a device that is linked while the primary one starts anew', () => {
  let scene: Scene
  let alice: Party
  let bob: Party
  beforeEach(async () => {
    scene = await startScene()
    alice = await scene.person()
    bob = await scene.person()
    for (const text of SAID) {
      await bob.send(alice, text)
      await alice.until(() => alice.texts(bob).includes(text), text)
    }
  })
  afterEach(() => scene.stop())

  /** Links a device; Alice, who is not connected, ends as `how` says before it is there, and comes back `afterMs` later. */
  async function link(how: 'crash' | 'reopen', afterMs = 0): Promise<Party> {
    // Without a connection she hears nothing of the new device before she starts anew.
    await alice.reopen()
    const laptop = await scene.second({
      ...alice,
      client: {
        ...alice.client,
        async acceptLink(uri) {
          await alice.client.acceptLink(uri)
          if (how === 'crash') alice.crash()
          else await alice.reopen()
        },
      },
    })
    scene.pass(afterMs)
    assert.deepEqual(laptop.texts(bob), [])
    await alice.online()
    return laptop
  }

  for (const how of ['crash', 'reopen'] as const) {
    it(`comes when it ${how === 'crash' ? 'crashed' : 'was closed and opened'}`, async () => {
      const laptop = await link(how)
      await laptop.until(() => laptop.texts(bob).length === SAID.length, 'the history')
      assert.deepEqual(laptop.texts(bob), SAID)
    })
  }

  it('comes as long as the link is good, and not to a device that appears later', async () => {
    const soon = await link('crash', WAITS_MS - 60_000)
    await soon.until(() => soon.texts(bob).length === SAID.length, 'the history')
    const late = await link('crash', WAITS_MS + 60_000)
    await bob.send(alice, 'to all')
    await late.until(() => late.texts(bob).includes('to all'), 'a message')
    await scene.quiet()
    assert.deepEqual(late.texts(bob), ['to all'])
  })
})
