import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { decodeDelivery, encodeSendRequest } from '../../topics/codec.ts'
import { connect } from '../suites/broker.ts'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import { type ServerProcess, spawnServer } from '../world/process.ts'
import { isCluster } from '../world/profile.ts'
import {
  ciphertext,
  connectRecipient,
  connectSender,
  createLane,
  type Lane,
  type Path,
  settled,
  startLoad,
} from './kill-lane.ts'

const ROUNDS = 6
const LOAD_MS_MIN = 40
const LOAD_MS_MAX = 400
const PENDING_TRIES_MAX = 10
const seed = Number(process.env['HELIOGRAPH_SEED'] ?? Date.now() % 1_000_000)

/** Numbers from 0 to 1 that depend on the seed alone (a linear congruence: the instant of a kill needs no better). */
function randomOf(start: number): () => number {
  let state = start >>> 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

describe('kill -9 of the server', () => {
  let folder: string
  let server: ServerProcess
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'heliograph-kill-'))
    server = await spawnServer(folder)
  })
  afterEach(async () => {
    await server.kill()
    rmSync(folder, { recursive: true, force: true })
  })

  async function killAndRestart(...clients: Client[]): Promise<void> {
    await server.kill()
    // What the kernel still holds for a client comes before its end.
    await Promise.all(clients.map((client) => client.closed()))
    server = await spawnServer(folder)
  }

  async function lanes(): Promise<Lane[]> {
    const all: Lane[] = []
    for (const path of ['raw', 'numbered', 'request'] as const satisfies readonly Path[]) {
      for (const isAway of [false, false, true]) {
        const make = path === 'request' ? server.devices.person : server.devices.thing
        all.push(createLane(path, await make(`s${all.length}`), await make(`r${all.length}`), isAway))
      }
    }
    return all
  }

  it(`loses nothing in ${ROUNDS} rounds at random instants (HELIOGRAPH_SEED=${seed})`, async function () {
    // In a cluster each start opens three engines.
    this.timeout(isCluster ? 180_000 : 60_000)
    const random = randomOf(seed)
    const all = await lanes()
    const clients = () =>
      all.flatMap(({ sender, recipient }) => [sender, recipient]).filter((client) => client !== undefined)
    const connectAll = async () => {
      for (const lane of all) await connectRecipient(lane, server.port)
      for (const lane of all) await connectSender(lane, server.port)
    }
    await connectAll()
    for (let round = 0; round < ROUNDS; round++) {
      for (const lane of all) {
        if (lane.isAway) await lane.recipient?.disconnect()
        startLoad(lane)
      }
      await delay(LOAD_MS_MIN + random() * (LOAD_MS_MAX - LOAD_MS_MIN))
      for (const lane of all) lane.isLoading = false
      await killAndRestart(...clients())
      await connectAll()
      await Promise.all(all.map(settled))
      assert.deepEqual(
        all.flatMap(({ faults }) => faults),
        [],
      )
    }
    for (const { path, sent } of all) assert.ok(sent > ROUNDS, `no load on ${path}: ${sent} messages`)
    for (const client of clients()) client.destroy()
  })

  it('marks with DUP what was sent before it, under packet ids that were not used then', async () => {
    const [from, to] = [await server.devices.thing('before'), await server.devices.thing('again')]
    const sender = await connect(server, from)
    const first = await connect(server, to, { autoAck: false })
    await first.subscribe('d/again/from/#')
    for (let i = 0; i < 5; i++) await sender.publish('d/before/raw/d-again', `message ${i}`)
    const before = await first.receive(5)
    await killAndRestart(sender, first)
    const second = await connect(server, to)
    const after = await second.receive(5)
    assert.deepEqual(
      after.map(({ payload }) => String(payload)),
      before.map(({ payload }) => String(payload)),
    )
    assert.ok(before.every(({ dup }) => !dup))
    assert.ok(after.every(({ dup }) => dup))
    const used = new Set(before.map(({ messageId }) => messageId))
    assert.ok(after.every(({ messageId }) => !used.has(messageId)))
    second.destroy()
  })

  it('keeps the record of a request whose accepted was not said, and says it then', async () => {
    const [ann, bob] = [await server.devices.person('ann'), await server.devices.person('bob')]
    const before = await connect(server, ann)
    await before.subscribe('d/ann/in')
    const stamp = Date.now()
    const request = requestTo(bob, stamp)
    await before.publish('d/ann/out', request)
    assert.deepEqual(receiptsOf(before), [], 'accepted came at once: nothing is left to be kept')
    await killAndRestart(before)
    const after = await connect(server, ann)
    // The same request again, as after a lost PUBACK: it is known.
    await after.publish('d/ann/out', request, { dup: true })
    await after.until((client) => receiptsOf(client).length > 0, 'accepted')
    const [receipt] = receiptsOf(after)
    assert.equal(receipt?.accepted[0], stamp)
    const recipient = await connect(server, bob)
    await recipient.subscribe('d/bob/in')
    await recipient.receive(1)
    await recipient.until((client) => client.received.some(({ qos }) => qos === 0), 'the caught-up marker')
    const messages = recipient.received.filter(({ qos }) => qos === 1)
    assert.equal(messages.length, 1, 'stored once')
    const message = decodeDelivery(messages[0]?.payload as Buffer)
    assert.equal(message.fault === false && message.seq, receipt?.accepted[1])
    for (const client of [after, recipient]) client.destroy()
  })

  it('keeps a delivered mark that was acknowledged and not yet told, and tells it then', async () => {
    const [ann, bob] = [await server.devices.person('annie'), await server.devices.person('bobby')]
    for (let tried = 1; ; tried++) {
      assert.ok(tried <= PENDING_TRIES_MAX, 'the mark was always told before the kill: nothing pending was tried')
      const sender = await connect(server, ann)
      const recipient = await connect(server, bob, { autoAck: false })
      if (tried === 1) await Promise.all([sender.subscribe('d/annie/in'), recipient.subscribe('d/bobby/in')])
      await recipient.until((client) => client.received.some(({ qos }) => qos === 0), 'the caught-up marker')
      const rows = await server.tailRows()
      await sender.publish('d/annie/out', requestTo(bob, Date.now()))
      const message = (await recipient.receive(1)).at(-1)
      const delivery = decodeDelivery(message?.payload as Buffer)
      const seq = delivery.fault ? 0 : delivery.seq
      recipient.puback(message?.messageId as number)
      // The acknowledgement is durable, and its mark with it, once the row is gone.
      while ((await server.tailRows()) > rows) await recipient.ping()
      await killAndRestart(sender, recipient)
      const wasTold = receiptsOf(sender).some(({ delivered }) => delivered >= seq)
      const back = await connect(server, ann)
      await back.until((client) => wasTold || receiptsOf(client).some(({ delivered }) => delivered >= seq), 'delivered')
      if (!wasTold) return back.destroy()
      await back.disconnect()
    }
  })
})

function requestTo(peer: TestDevice, stamp: number): Uint8Array {
  const devices = [{ whisper: ciphertext(), device: peer.number, registrationId: peer.registrationId }]
  return encodeSendRequest({ stamp, pair: { peer: peer.user, devices } })
}

/** What a client was told about its own messages so far. */
function receiptsOf(client: Client) {
  return client.received.flatMap(({ payload }) => {
    const delivery = decodeDelivery(payload)
    return delivery.fault ? [] : (delivery.receipts?.items ?? [])
  })
}
