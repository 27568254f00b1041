import assert from 'node:assert/strict'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { DatabaseSync } from 'node:sqlite'
import { PRAGMAS } from '../../adapters/sqlite/schema.ts'
import { startNode } from '../../broker/lifecycle.ts'
import { readConfig } from '../../core/config.ts'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import type { World } from '../world/world.ts'
import {
  acknowledged,
  attend,
  createGate,
  outOf,
  pairRequest,
  receiveMessages,
  send,
  startScene,
  stopScenes,
} from './scene.ts'

const BLOCKED_MS = 2_000
const LOOP_DELAY_MS_MAX = BLOCKED_MS / 2
const pubacks = (client: Client): number => client.packets.filter(({ cmd }) => cmd === 'puback').length

describe('C2: no fsync on the loop', () => {
  const gate = createGate()
  let world: World
  let alice: TestDevice
  let bob: TestDevice
  let from: Client
  before(async () => {
    world = await startScene({ gate })
    alice = await world.person('alice')
    bob = await world.person('bob')
    from = await attend(world, alice)
    await send(from, alice, [bob])
  })
  after(stopScenes)

  it('while a commit takes 2 s, new work is held and everything else goes on', async () => {
    const to = await attend(world, bob)
    await receiveMessages(to, 1)
    await acknowledged(world, to)
    const delay = monitorEventLoopDelay({ resolution: 5 })
    gate.close()
    const begun = performance.now()
    const before = pubacks(from)
    from.post(outOf(alice), pairRequest([bob]))
    delay.enable()
    let pings = 0
    for (; performance.now() - begun < BLOCKED_MS; pings++) {
      await from.ping()
      await new Promise((resolve) => setTimeout(resolve, 25))
    }
    // Who connects now is let in, and a wrong token is turned away.
    const again = await world.connect(bob)
    assert.deepEqual(again.connack, { returnCode: 0, sessionPresent: true })
    const wrong = await world.connect({ ...bob, token: 'x' })
    assert.equal(wrong.connack?.returnCode, 4)
    delay.disable()
    assert.ok(pings > 20, `${pings} pings`)
    assert.equal(pubacks(from), before)
    assert.ok(delay.max / 1e6 < LOOP_DELAY_MS_MAX, `the loop was held for ${delay.max / 1e6} ms`)
    gate.open()
    await from.until(() => pubacks(from) === before + 1, 'PUBACK')
    await receiveMessages(again, 1)
  })

  it('and the readings of operators answer: /livez, /readyz', async () => {
    const log = { info: () => undefined, warn: () => undefined, error: () => undefined }
    const folder = join(world.folder, 'node')
    const config = readConfig({ DATA_DIR: folder, MQTT_PORT: '0', HTTP_PORT: '0', DISK_RESERVE_MIB: '1' })
    const own = createGate()
    const node = await startNode(config, log, () => undefined, Date.now, { gate: own.words })
    try {
      own.close()
      const arrival = own.arrival()
      const flag = node.server.opened.ports.inbox.setSubscribed('somebody', true)
      await arrival
      for (const path of ['livez', 'readyz', 'metrics']) {
        const answer = await fetch(`http://127.0.0.1:${node.httpPort}/${path}`)
        assert.equal(answer.status, 200, path)
        await answer.text()
      }
      own.open()
      await flag
    } finally {
      own.open()
      await node.drain()
    }
  })

  it('a commit is in the log and synced when it is done', () => {
    const db = new DatabaseSync(join(world.folder, 'pragmas.db'))
    db.exec(PRAGMAS)
    assert.equal(db.prepare('PRAGMA journal_mode').get()?.['journal_mode'], 'wal')
    // 2 is FULL: the log is synced at every commit.
    assert.equal(db.prepare('PRAGMA synchronous').get()?.['synchronous'], 2)
    db.close()
  })
})
