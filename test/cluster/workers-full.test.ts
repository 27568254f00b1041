/**
 * B6 in the cluster: rows are written by workers, counted by them, and refused by every broker. Two brokers, one of
 * them with the workers inside, and inboxes of fifty rows.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { errorOf } from '../../topics/errors.ts'
import { deliveries, errorsOf, inOf, messages, type PairOptions, send } from '../data-plane/scene.ts'
import { connect } from '../suites/broker.ts'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import { type ServerProcess, spawnServer } from '../world/process.ts'
import { makeDeployment } from '../world/profile.ts'

const ROWS_MAX = 50
/** Sent one after the other while the flag is on its way; that is a matter of seconds. */
const OVERSHOOT_MAX = 400
const BETWEEN_MS = 25
const SKIPPED = 3
const undeliverable = errorOf('undeliverable').number
const gaps = (client: Client): number[] => deliveries(client).flatMap(({ notice }) => notice?.gap ?? [])

describe('B6 in the cluster: an inbox of fifty rows', function () {
  this.timeout(60_000)
  let folder: string
  let one: ServerProcess
  let other: ServerProcess
  const clients: Client[] = []
  let persons = 0

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'heliograph-full-'))
    const env = { ...(await makeDeployment()), INBOX_ROWS_MAX: `${ROWS_MAX}` }
    one = await spawnServer(folder, { ...env, NODE_NAME: 'a' })
    other = await spawnServer(folder, { ...env, NODE_NAME: 'b', WORKERS_INLINE: 'no' })
  })
  after(async () => {
    for (const client of clients) client.destroy()
    await Promise.all([one.kill(), other.kill()])
    rmSync(folder, { recursive: true, force: true })
  })

  const person = () => one.devices.person(`p${++persons}`)

  async function attend(at: ServerProcess, device: TestDevice): Promise<Client> {
    const client = await connect({ port: at.port }, device)
    clients.push(client)
    if (client.connack?.sessionPresent !== true) await client.subscribe(inOf(device))
    return client
  }

  /** An inbox that is there, with nobody at it. */
  async function away(device: TestDevice): Promise<void> {
    const client = await attend(one, device)
    await client.disconnect()
    await client.closed()
  }

  /** Sends until it is refused; resolves with how many were stored. */
  async function fill(from: Client, sender: TestDevice, to: readonly TestDevice[], options: PairOptions = {}) {
    const before = errorsOf(from).length
    for (let stored = 0; ; stored++) {
      assert.ok(stored <= ROWS_MAX + OVERSHOOT_MAX, `${stored} were stored`)
      await send(from, sender, to, options)
      const error = errorsOf(from)[before]
      if (error !== undefined) {
        assert.equal(error.code, undeliverable)
        return stored
      }
      if (stored > ROWS_MAX) await delay(BETWEEN_MS)
    }
  }

  /** Sends until it is stored again. */
  async function untilTaken(from: Client, sender: TestDevice, to: readonly TestDevice[]): Promise<void> {
    for (;;) {
      const before = errorsOf(from).length
      await send(from, sender, to)
      if (errorsOf(from).length === before) return
      await delay(BETWEEN_MS)
    }
  }

  it('refuses what comes beyond, on every broker, and takes again when the device has drained it', async () => {
    const [alice, carol, bob] = [await person(), await person(), await person()]
    await away(bob)
    const from = await attend(one, alice)
    const elsewhere = await attend(other, carol)
    const stored = await fill(from, alice, [bob])
    assert.ok(stored >= ROWS_MAX, `${stored} were stored`)
    const more = await fill(elsewhere, carol, [bob])
    const to = await attend(other, bob)
    await to.until(() => messages(to).length === stored + more, 'what was stored')
    await untilTaken(from, alice, [bob])
    await untilTaken(elsewhere, carol, [bob])
    await to.until(() => messages(to).length === stored + more + 2, 'what was taken again')
    assert.deepEqual(gaps(to), [])
  })

  it('skips the full device of a person whose other device has room, and tells it of the gap', async () => {
    const [alice, bob] = [await person(), await person()]
    const tablet = await one.devices.sibling(bob, 'tablet')
    await away(bob)
    const from = await attend(one, alice)
    const here = await attend(other, tablet)
    const stored = await fill(from, alice, [bob], { scope: 2 })
    for (let i = 0; i < SKIPPED; i++) await send(from, alice, [bob, tablet])
    await here.until(() => messages(here).length === SKIPPED, 'all messages on the device with room')
    assert.equal(errorsOf(from).length, 1)
    const to = await attend(other, bob)
    await to.until(() => gaps(to).length > 0, 'a gap notice', 15_000)
    assert.deepEqual(gaps(to), [SKIPPED])
    assert.equal(messages(to).length, stored)
    await send(from, alice, [bob, tablet])
    await to.until(() => messages(to).length === stored + 1, 'a message behind the gap')
  })
})
