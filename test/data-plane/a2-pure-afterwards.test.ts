import assert from 'node:assert/strict'
import type { Row } from '../../core/row.ts'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import type { World } from '../world/world.ts'
import {
  attend,
  copyFolder,
  deliveries,
  messages,
  receiveMessages,
  send,
  startScene,
  stopScenes,
  until,
} from './scene.ts'

describe('A2: everything after append is a pure function of the entry', () => {
  let world: World
  let alice: TestDevice
  let bob: TestDevice
  let from: Client
  beforeEach(async () => {
    world = await startScene()
    alice = await world.person('alice')
    bob = await world.person('bob')
    from = await attend(world, alice)
    await (await attend(world, bob)).disconnect()
  })
  afterEach(stopScenes)

  /** Opens what the disk holds now as another server. */
  const crashed = (of: World): Promise<World> => startScene({ folder: copyFolder(of) })

  it('so that entries applied again, twice and elsewhere, are the same rows byte by byte', async () => {
    for (let i = 0; i < 20; i++) await send(from, alice, [bob])
    const there = await world.connect(bob)
    const original = (await receiveMessages(there, 20)).map(({ packet }) => packet.payload)
    // The acknowledgements came after this copy was made, or are in it: so it is made with a device that says nothing.
    for (let i = 0; i < 20; i++) await send(from, alice, [await world.person(`p${i}`)])
    const once = await crashed(world)
    const twice = await crashed(once)
    for (let i = 0; i < 20; i++) {
      const pages = await Promise.all(
        [world, once, twice].map(async ({ server }) => {
          let rows: Row[] = []
          await until(async () => {
            rows = await server.opened.ports.inbox.page(`p${i}`, 0, 0, 9)
            return rows.length > 0
          }, 'the row')
          return rows.map((row) => [row.seq, row.sub, row.kind, row.peer, bytesOf(row)])
        }),
      )
      assert.equal(pages[0]?.length, 1)
      assert.deepEqual(pages[1], pages[0])
      assert.deepEqual(pages[2], pages[0])
    }
    assert.equal(original.length, 20)
  })

  it('so that a device which is linked after the append gets no row of it, and a revoked one changes nothing', async () => {
    await send(from, alice, [bob])
    const tablet = await world.sibling(bob, 'tablet')
    await world.server.opened.ports.directory.revoke(alice.id)
    const late = await attend(world, tablet)
    const there = await world.connect(bob)
    await receiveMessages(there, 1)
    await late.until(() => deliveries(late).some(({ caughtUp }) => caughtUp !== undefined), 'caught-up marker')
    assert.deepEqual(messages(late), [])
  })
})

const bytesOf = (row: { source: Uint8Array | undefined; start: number; end: number }): string =>
  Buffer.from((row.source as Uint8Array).subarray(row.start, row.end)).toString('base64')
