/**
 * One-time keys that the server keeps back: it works without them, on the last-resort key, and the device whose keys
 * they are tells its program, because the server says at the same time that many are left.
 */
import assert from 'node:assert/strict'
import { WITHHELD_SLACK_MS } from '../../client/devices/key-upkeep.ts'
import type { Events } from '../../client/index.ts'
import { limits } from '../../topics/limits.ts'
import { type Party, type Scene, startScene } from '../e2ee/scene.ts'

const COUNT = '/v1/keys/count'

describe('one-time keys that the server keeps back', () => {
  let scene: Scene
  let alice: Party
  let alarms: Events['keysWithheld'][]
  /** Answers to COUNT for Alice; who writes to her counts its own keys. */
  let counts: number
  let isWithheld: boolean
  /** What the server says is left; undefined: the truth. */
  let claimed: number | undefined

  beforeEach(async () => {
    scene = await startScene()
    alice = await scene.person()
    alarms = []
    alice.client.on('keysWithheld', (alarm) => void alarms.push(alarm))
    // What it does at its first connection is over.
    await alice.client.devices()
    await scene.quiet()
    counts = 0
    isWithheld = true
    claimed = undefined
    const ofAlice = scene.middle.tokens.get(alice.client.me()?.device ?? '')
    assert.ok(ofAlice)
    scene.middle.answer = ({ method, path, token }, { status, body }) => {
      if (path === COUNT && token === ofAlice) counts++
      if (path === COUNT && claimed !== undefined) return { status, body: { ec: claimed, kem: claimed } }
      if (!isWithheld || method !== 'GET' || !path.startsWith(`/v1/keys/${alice.user}`)) return undefined
      for (const device of (body?.['devices'] ?? []) as object[]) Reflect.deleteProperty(device, 'oneTimePrekey')
      return { status, body }
    }
  })
  afterEach(() => scene.stop())

  /** Somebody who writes to Alice for the first time. */
  async function writer(text: string): Promise<Party> {
    const party = await scene.person()
    const before = counts
    await party.send(alice, text)
    await alice.until(() => alice.texts(party).includes(text), text)
    if (isWithheld) await alice.until(() => counts > before, 'a look at the count')
    // Behind what Alice does with the answer.
    await alice.client.devices()
    await alice.client.setVerified(party.user, false)
    return party
  }

  it('are told once for each device that wrote, with how many are left as the server says', async () => {
    const bob = await writer('first')
    // The writer's own look may have been the one that was waited for.
    await alice.until(() => alarms.length > 0, 'the alarm')
    assert.deepEqual(alarms, [{ user: bob.user, left: limits.oneTimePrekeysMax - 1 }])
    // Before an answer every message is a first one.
    await bob.send(alice, 'second')
    await alice.until(() => alice.texts(bob).length === 2, 'the second')
    assert.equal(alarms.length, 1)
    const carol = await writer('also first')
    await alice.until(() => alarms.length > 1, 'the alarm')
    assert.deepEqual(alarms[1], { user: carol.user, left: limits.oneTimePrekeysMax - 2 })
  })

  it('are not told when the message used one, and nothing is asked for it', async () => {
    isWithheld = false
    const before = counts
    await writer('with a one-time key')
    await scene.quiet()
    assert.deepEqual(alarms, [])
    assert.equal(counts, before)
  })

  it('are not told while few are left, nor of what may have been begun then', async () => {
    claimed = limits.prekeysLow - 1
    await writer('while few are left')
    assert.deepEqual(alarms, [])
    // Alice sees it herself at her next connection.
    const before = counts
    await alice.reconnect()
    await alice.until(() => counts > before, 'her own look at the count')
    await alice.client.devices()
    await alice.client.setVerified(alice.user, false)
    claimed = undefined
    await writer('soon after')
    assert.deepEqual(alarms, [])
    scene.pass(2 * WITHHELD_SLACK_MS)
    const late = await writer('long after')
    await alice.until(() => alarms.length > 0, 'the alarm')
    assert.deepEqual(
      alarms.map(({ user }) => user),
      [late.user],
    )
  })
})
