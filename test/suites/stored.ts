/** What a PUBACK promises: that the message is stored, whatever happens next. */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import {
  type Broker,
  collect,
  connect,
  join,
  type Login,
  numbered,
  type Pledge,
  pubackCount,
  pubackIds,
  publishAll,
  subscribeAndLeave,
  textsOf,
} from './broker.ts'

/** How long a stopped store is watched for a PUBACK that must not come. */
const WATCH_MS = 1_000
const QUIET_MS = 700
const BURST = 2_000

/** Both must hold on every broker, or what else is seen there means nothing. */
export const control: Pledge = {
  says: 'a message reaches a device that is there, and waits for one that is not',
  async keep(broker) {
    const [from, to] = [await broker.device('a'), await broker.device('b')]
    const sender = await connect(broker, from)
    const first = await join(broker, to)
    await publishAll(sender, broker.topic(from, to), ['live'])
    assert.deepEqual(textsOf(await collect(first, 1, QUIET_MS)), ['live'])
    await first.ping()
    await first.disconnect()
    await publishAll(sender, broker.topic(from, to), ['waiting'])
    const second = await connect(broker, to)
    assert.deepEqual(textsOf(await collect(second, 1, QUIET_MS)), ['waiting'])
  },
}

export const storeFirst: Pledge = {
  says: 'no PUBACK comes while the store does not answer',
  async keep(broker) {
    const [from, to] = [await broker.device('a'), await broker.device('b')]
    await subscribeAndLeave(broker, to)
    const sender = await connect(broker, from)
    // Once before, so that everything that is looked up once has been.
    await publishAll(sender, broker.topic(from, to), ['before'])
    await broker.stopStore()
    sender.post(broker.topic(from, to), 'held')
    const isEarly = await sender
      .until((c) => pubackCount(c) > 1, 'PUBACK', WATCH_MS)
      .then(
        () => true,
        () => false,
      )
    if (isEarly) {
      await broker.kill()
      await broker.resumeStore()
      await broker.restart()
      const kept = (await drain(broker, to, ['before', 'held'])).includes('held')
      assert.fail(`PUBACK with the store stopped; after kill -9 the message was ${kept ? 'there' : 'lost'}`)
    }
    await sender.ping()
    await broker.resumeStore()
    await sender.until((c) => pubackCount(c) === 2, 'PUBACK once the store answers')
    assert.deepEqual(await drain(broker, to, ['before', 'held']), ['before', 'held'])
  },
}

export const throughKill: Pledge = {
  says: 'kill -9 loses nothing that was acknowledged',
  async keep(broker) {
    const [from, to] = [await broker.device('a'), await broker.device('b')]
    await subscribeAndLeave(broker, to)
    const sender = await connect(broker, from)
    const texts = numbered('message', BURST)
    const textById = new Map(texts.map((text) => [sender.post(broker.topic(from, to), text), text]))
    await sender.until((c) => pubackCount(c) >= BURST / 4, 'a quarter of the PUBACKs', 10_000)
    await broker.kill()
    // What the kernel still held for us arrives before the end of the connection.
    await sender.closed()
    const acknowledged = pubackIds(sender).map((id) => textById.get(id) as string)
    await broker.restart()
    const there = await drain(broker, to, acknowledged)
    const lost = acknowledged.filter((text) => !there.includes(text))
    assert.equal(lost.length, 0, `${lost.length} of ${acknowledged.length} acknowledged messages were lost`)
    assert.deepEqual(there, texts.slice(0, there.length), 'what was kept is not in order')
  },
}

/**
 * What waits for a device until all of `wanted` came, over as many connections as that takes: one is not always
 * enough.
 */
async function drain(broker: Broker, to: Login, wanted: readonly string[]): Promise<string[]> {
  const all: string[] = []
  for (;;) {
    const missing = wanted.filter((text) => !all.includes(text)).length
    const client = await connect(broker, to)
    const received = textsOf(await collect(client, missing, QUIET_MS))
    await client.ping()
    await client.disconnect()
    const fresh = received.filter((text) => !all.includes(text))
    all.push(...fresh)
    if (fresh.length === 0 || wanted.every((text) => all.includes(text))) return all
    // Whoever needs another connection gets the time to note what this one acknowledged.
    await delay(50)
  }
}
