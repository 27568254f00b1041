/** One device's messages and troubles are not another's. */
import assert from 'node:assert/strict'
import {
  collect,
  connect,
  join,
  numbered,
  type Pledge,
  pubackCount,
  publishAll,
  publishStored,
  subscribeAndLeave,
  textsOf,
} from './broker.ts'

const QUIET_MS = 700
const LARGE_BYTES = 60 * 1024

export const deniedFilter: Pledge = {
  says: 'a denied filter beside an allowed one is not stored',
  async keep(broker) {
    const [from, spy, victim] = [await broker.device('a'), await broker.device('b'), await broker.device('c')]
    await subscribeAndLeave(broker, victim)
    const greedy = await connect(broker, spy)
    const granted = await greedy.subscribe(broker.filters(spy)[0] as string, '#')
    assert.deepEqual(granted, [1, 128])
    await greedy.disconnect()
    const sender = await connect(broker, from)
    await publishAll(sender, broker.topic(from, victim), ['a secret for c'])
    await publishStored(broker, sender, from, spy, ['for b'])
    const back = await connect(broker, spy)
    // One too many is asked for, so that whatever else there is has its time.
    const foreign = textsOf(await collect(back, 2, QUIET_MS)).filter((text) => text !== 'for b')
    assert.equal(foreign.length, 0, `b was given "${foreign[0]}"`)
    assert.deepEqual(textsOf(back.received), ['for b'])
  },
}

export const afterRestart: Pledge = {
  says: 'after a restart nobody is given what was stored for another',
  async keep(broker) {
    const [from, alice, bob] = [await broker.device('a'), await broker.device('alice'), await broker.device('bob')]
    await subscribeAndLeave(broker, alice)
    await subscribeAndLeave(broker, bob)
    const before = await connect(broker, from)
    await publishStored(broker, before, from, alice, numbered('for alice', 100))
    await broker.kill()
    await broker.restart()
    const after = await connect(broker, from)
    await publishStored(broker, after, from, bob, numbered('a secret for bob', 100))
    const client = await connect(broker, alice)
    const arrived = textsOf(await collect(client, 100, QUIET_MS))
    const foreign = arrived.filter((text) => !text.startsWith('for alice'))
    assert.equal(foreign.length, 0, `alice was given ${foreign.length} times "${foreign[0]}" and the like`)
    assert.deepEqual(arrived, numbered('for alice', 100))
  },
}

export const slowReader: Pledge = {
  says: 'one reader that takes nothing stalls nobody else',
  async keep(broker) {
    const [flooder, deaf] = [await broker.device('a'), await broker.device('b')]
    const [from, to] = [await broker.device('c'), await broker.device('d')]
    const client = await join(broker, to)
    const sender = await connect(broker, from)
    const reader = await join(broker, deaf)
    reader.socket.pause()
    const flood = await connect(broker, flooder)
    const payload = 'x'.repeat(LARGE_BYTES)
    // More than the kernel's buffers and a hundred deliveries beyond them.
    for (let i = 0; i < 400; i++) flood.post(broker.topic(flooder, deaf), payload)
    let known = -1
    while (pubackCount(flood) > known) {
      known = pubackCount(flood)
      await flood.until((c) => pubackCount(c) > known, 'a PUBACK', QUIET_MS).catch(() => undefined)
    }
    for (const text of numbered('healthy', 20)) sender.post(broker.topic(from, to), text)
    const arrived = textsOf(await collect(client, 20, 2_000))
    assert.equal(arrived.length, 20, `${arrived.length} of 20 messages of another pair arrived`)
    assert.deepEqual(arrived, numbered('healthy', 20))
  },
}
