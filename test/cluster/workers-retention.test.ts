/**
 * Retention as a deployment does it: its own job walks, in BullMQ. Nobody here takes a step of the walk; what is moved
 * is the clock, and the round that is due in an hour is brought forward.
 */
import assert from 'node:assert/strict'
import { Queue } from 'bullmq'
import { accepted, acknowledged, expiredSeqs, inOf, send } from '../data-plane/scene.ts'
import { startWorld, type World } from '../world/world.ts'
import { until } from './redis-scene.ts'

const DAY_MS = 86_400_000
/** From one run of a walk to the next it is less, and from one round to the next more. */
const SOON_MS = 60_000

describe('the retention job of a deployment', function () {
  this.timeout(60_000)
  let world: World
  let queue: Queue
  before(async () => {
    world = await startWorld()
    const { redisUrl, redisPrefix } = world.server.config
    const { hostname, port } = new URL(redisUrl?.reveal() ?? '')
    queue = new Queue('retention', {
      connection: { host: hostname, port: Number(port) },
      prefix: `${redisPrefix}bull`,
    })
    queue.on('error', () => undefined)
  })
  after(async () => {
    await queue.close()
    await world.stop()
  })

  /** The job of the next round, when the one before is over. */
  async function nextRound() {
    let found: Awaited<ReturnType<Queue['getDelayed']>>[number] | undefined
    await until(async () => {
      found = (await queue.getDelayed()).find((job) => job !== undefined && job.delay > SOON_MS)
      return found !== undefined
    }, 'a round that is over')
    assert.ok(found)
    return found
  }

  it('ends a row that is older than 30 days, and its sender gets expired', async () => {
    const [alice, bob] = [await world.person('alice'), await world.person('bob')]
    const from = await world.connect(alice)
    await from.subscribe(inOf(alice))
    const stamp = await send(from, alice, [bob])
    await from.until(() => accepted(from).has(stamp), 'accepted')
    await acknowledged(world, from)
    const { inbox } = world.server.opened.ports
    await until(async () => (await inbox.page('bob', 0, 0, 9)).length === 1, 'the row')
    // A round before its time leaves it alone.
    await (await nextRound()).promote()
    await nextRound()
    assert.deepEqual(expiredSeqs(from), [])
    world.clock.offsetMs += 31 * DAY_MS
    await (await nextRound()).promote()
    await from.until(() => expiredSeqs(from).length > 0, 'expired')
    assert.deepEqual(expiredSeqs(from), [accepted(from).get(stamp)])
    await until(async () => (await inbox.page('bob', 0, 0, 9)).length === 0, 'the end of the row')
    await nextRound()
  })
})
