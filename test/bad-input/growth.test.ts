import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { OBSERVER_PASSWORD, type TestDevice } from '../world/world.ts'
import { connectBytes, join, packet, subscribeBytes } from './bytes.ts'
import * as connects from './connects.ts'
import * as envelopes from './envelopes.ts'
import * as frames from './frames.ts'
import { type Attack, inboxFilter, type Scene, startScene } from './scene.ts'
import * as topics from './topics.ts'

const LANES = 16
const ROUNDS = 200
const WARM_ROUNDS = 20
const MIB = 1024 * 1024

/** One of each kind of hostile input: those of one list that are counted and answered alike differ in bytes only. */
const kinds: readonly Attack[] = [connects, frames, topics, envelopes]
  .flatMap((lists): readonly (readonly Attack[])[] => Object.values(lists).filter(isAttacks))
  .flatMap((list) => [...new Map(list.map((attack) => [`${attack.as} ${attack.counted}`, attack])).values()])

function isAttacks(value: unknown): value is readonly Attack[] {
  return Array.isArray(value) && typeof (value[0] as Attack | undefined)?.bytes === 'function'
}

/** Everything in one write, DISCONNECT behind it; resolves when the server has closed. */
async function attackOnce(scene: Scene, { as, bytes }: Attack, me: TestDevice): Promise<void> {
  const { id, token } = me
  const device = () => connectBytes({ clientId: id, username: id, password: token })
  const observer = () => connectBytes({ clientId: id, username: 'observer', password: OBSERVER_PASSWORD, clean: true })
  const login = as === 'nobody' ? [] : as === 'observer' ? [observer()] : [device(), subscribeBytes([inboxFilter(me)])]
  const socket = connect({ port: scene.world.server.mqttPort, host: '127.0.0.1' })
  socket.on('error', () => undefined)
  socket.resume()
  socket.write(join(...login, bytes(scene.castOf(me)), packet(0xe0)))
  await once(socket, 'close')
}

function heapBytes(): number {
  setFlagsFromString('--expose-gc')
  ;(runInNewContext('gc') as () => void)()
  return process.memoryUsage().heapUsed
}

describe('after 200 times each kind of hostile input', () => {
  let scene: Scene
  before(async () => {
    // A place that is not given back is missed soon.
    scene = await startScene({
      CONNECTIONS_MAX: String(LANES * 2 + 4),
      CONNECTIONS_PER_ADDRESS_MAX: String(LANES * 2 + 4),
    })
  })
  after(() => scene.stop())

  it('no socket, no byte and no place is held, and the memory is what it was', async () => {
    const { world } = scene
    const things = await Promise.all(Array.from({ length: LANES }, (_, i) => world.thing(`m${i}`)))
    const persons = await Promise.all(Array.from({ length: LANES }, (_, i) => world.person(`e${i}`)))
    const { metrics, plugins } = world.server
    const before = { sockets: world.server.openSockets(), connections: metrics.connections }
    let heap = 0
    let taken = 0
    const from = ROUNDS * kinds.length
    const lane = async (i: number, until: number) => {
      while (taken < until) {
        const attack = kinds[taken++ % kinds.length] as Attack
        // Nobody connects more often than once in 80 s.
        world.clock.offsetMs += 5_000
        await attackOnce(scene, attack, (attack.as === 'person' ? persons : things)[i] as TestDevice)
      }
    }
    const run = (until: number) => Promise.all(Array.from({ length: LANES }, (_, i) => lane(i, until)))
    await run(WARM_ROUNDS * kinds.length)
    await scene.assertUntouched('after the warm-up')
    world.logged.length = 0
    heap = heapBytes()
    await run(from)
    await scene.assertUntouched('after all of it')
    world.logged.length = 0
    const grown = heapBytes() - heap
    assert.equal(world.server.openSockets(), before.sockets)
    assert.equal(metrics.connections, before.connections)
    assert.equal(metrics.heldBytes, 0)
    assert.equal(plugins.ingress.senders.size, 0)
    assert.equal(metrics.rejected['too_many_connections'] ?? metrics.rejected['too_many_of_address'], undefined)
    assert.ok(grown < 16 * MIB, `the heap has grown by ${Math.round(grown / MIB)} MiB`)
  }).timeout(60_000)
})
