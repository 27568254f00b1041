/** Push in the embedded profile: who is woken, when, and what is said. */
import assert from 'node:assert/strict'
import type { Job, JobQueue } from '../../core/jobs.ts'
import { ROW_FRAME, ROW_MARK } from '../../core/row.ts'
import { createPushNotes, PUSH_COUNT_MAX, push } from '../../workers/push.ts'
import { acknowledged, attend, messages, receipts, send, startScene, stopScenes, until } from '../data-plane/scene.ts'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import type { World } from '../world/world.ts'

const PUSHED = 'a push was not sent but written here'
const pushes = (world: World): object[] => world.logged.filter(({ text }) => text === PUSHED).map(({ facts }) => facts)

describe('push', () => {
  let world: World
  let alice: TestDevice
  let bob: TestDevice
  let from: Client
  beforeEach(async () => {
    world = await startScene()
    alice = await world.person('alice')
    bob = await world.person('bob')
    from = await attend(world, alice)
    const gone = await attend(world, bob)
    await gone.disconnect()
    await gone.closed()
  })
  afterEach(stopScenes)

  it('says of a device that is away how much waits for it, and nothing of what it is', async () => {
    await send(from, alice, [bob])
    await until(() => pushes(world).length > 0, 'a push')
    assert.deepEqual(pushes(world), [{ device: 'bob', waiting: 1 }])
  })

  it('comes once for what is sent in a short time', async () => {
    for (let i = 0; i < 20; i++) await send(from, alice, [bob])
    await until(() => pushes(world).length > 0, 'a push')
    await from.ping()
    assert.equal(pushes(world).length, 1)
  })

  it('leaves alone who is connected, receipts of who is not, things, and copies of what one sent oneself', async () => {
    const desk = await world.sibling(alice, 'desk')
    const away = await attend(world, desk)
    await away.disconnect()
    await away.closed()
    const to = await world.connect(bob)
    await send(from, alice, [bob], { own: [desk] })
    await to.until(() => messages(to).length === 1, 'the message')
    await acknowledged(world, to)
    await from.until(() => receipts(from).some(({ delivered }) => delivered > 0), 'the receipt')
    const sensor = await world.thing('sensor')
    const thing = await world.connect(sensor)
    await thing.publish('d/sensor/raw/home', '21.5')
    // A push to somebody else comes behind all of these.
    const carol = await world.person('carol')
    await send(from, alice, [carol], { own: [desk] })
    await until(() => pushes(world).length > 0, 'a push')
    assert.deepEqual(pushes(world), [{ device: 'carol', waiting: 1 }])
  })

  it('comes for what a connection that was dead already was sent, when it ends', async () => {
    const carol = await world.person('carol')
    const will = { topic: 'd/carol/gone', payload: Buffer.from('gone'), qos: 1 as const, retain: false }
    const to = await attend(world, carol, { will, autoAck: false })
    await send(from, alice, [carol])
    await to.until(() => messages(to).length === 1, 'the message, not acknowledged')
    assert.deepEqual(pushes(world), [])
    to.destroy()
    await until(() => pushes(world).length > 0, 'a push')
    assert.deepEqual(pushes(world), [{ device: 'carol', waiting: 1 }])
  })

  it(`counts up to ${PUSH_COUNT_MAX}`, async () => {
    const rows = async (count: number) => {
      for (let i = 0; i < count; i++) await send(from, alice, [bob])
    }
    await rows(PUSH_COUNT_MAX + 1)
    const { directory, inbox } = world.server.opened.ports
    const told: number[] = []
    await push(
      { id: 'bob', data: {} },
      {
        directory,
        push: { send: async (_device, { waiting }) => void told.push(waiting) },
        waitingRows: (device, limit) => inbox.page(device, 0, 0, limit),
      },
    )
    assert.deepEqual(told, [PUSH_COUNT_MAX])
  })
})

describe('notes of devices that are to be pushed', () => {
  const added: Job[] = []
  const queue = { add: async (job: Job) => added.push(job) > 0 } as unknown as JobQueue
  beforeEach(() => void added.splice(0))

  it('add one job for each device, at once, and none for marks', () => {
    const notes = createPushNotes(queue)
    for (const device of ['a', 'b', 'a', 'a']) notes.note({ device, kind: ROW_FRAME })
    notes.note({ device: 'c', kind: ROW_MARK })
    notes.stop()
    assert.deepEqual(
      added.map(({ id }) => id),
      ['a', 'b'],
    )
  })

  it('are of so many devices at most: the one that was noted first is forgotten', () => {
    const notes = createPushNotes(queue)
    for (let i = 0; i <= 100_000; i++) notes.note({ device: `${i}`, kind: ROW_FRAME })
    assert.equal(added.length, 100_001)
    notes.note({ device: '1', kind: ROW_FRAME })
    assert.equal(added.length, 100_001)
    notes.note({ device: '0', kind: ROW_FRAME })
    assert.equal(added.length, 100_002)
    notes.stop()
  })
})
