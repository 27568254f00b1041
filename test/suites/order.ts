/** What a device gets after it was away, and in which order; and the order of PUBACKs. */
import assert from 'node:assert/strict'
import mqtt, { type Packet } from 'mqtt-packet'
import {
  collect,
  connect,
  join,
  numbered,
  type Pledge,
  pubackCount,
  pubackIds,
  publishAll,
  publishStored,
  subscribeAndLeave,
  textsOf,
} from './broker.ts'

const QUIET_MS = 1_000
const BACKLOG = 2_500
const CROWD = 100

export const wholeBacklog: Pledge = {
  says: `a backlog of ${BACKLOG} messages arrives in one connection`,
  async keep(broker) {
    const [from, to] = [await broker.device('a'), await broker.device('b')]
    await subscribeAndLeave(broker, to)
    const sender = await connect(broker, from)
    await publishStored(broker, sender, from, to, numbered('waiting', BACKLOG))
    const client = await connect(broker, to)
    const texts = textsOf(await collect(client, BACKLOG, QUIET_MS))
    assert.equal(texts.length, BACKLOG, `${texts.length} of ${BACKLOG} arrived`)
    assert.deepEqual(texts, numbered('waiting', BACKLOG))
  },
}

export const backlogFirst: Pledge = {
  says: 'live traffic never overtakes the backlog',
  async keep(broker) {
    const [from, to] = [await broker.device('a'), await broker.device('b')]
    const topic = broker.topic(from, to)
    await subscribeAndLeave(broker, to)
    const sender = await connect(broker, from)
    const texts = numbered('message', 900)
    await publishStored(broker, sender, from, to, texts.slice(0, 500))
    const client = await connect(broker, to, { lazy: true })
    for (const text of texts.slice(500)) sender.post(topic, text)
    const arrived = textsOf(await collect(client, texts.length, QUIET_MS))
    const order = arrived.map((text) => texts.indexOf(text))
    const at = order.findIndex((n, i) => n < (order[i - 1] ?? -1))
    const early = order.filter((n, i) => n > Math.min(...order.slice(i + 1))).length
    const example = order.slice(Math.max(0, at - 1), at + 3).join(', ')
    assert.equal(early, 0, `${early} messages came before one that was sent earlier: ${example}`)
    assert.deepEqual(arrived, texts)
  },
}

export const overtaken: Pledge = {
  says: 'a message that is overtaken on the way to the store still arrives',
  async keep(broker) {
    const from = await broker.device('a')
    const crowd = await broker.crowd(CROWD)
    const [to, ...others] = crowd.members
    if (to === undefined) throw new Error('a crowd of nobody')
    for (const other of others) await subscribeAndLeave(broker, other)
    const client = await join(broker, to)
    const sender = await connect(broker, from)
    const texts: string[] = []
    for (let i = 0; i < 20; i++) {
      texts.push(`to all ${i}`, `to one ${i}`)
      sender.post(crowd.topic(from), `to all ${i}`)
      sender.post(broker.topic(from, to), `to one ${i}`)
    }
    const arrived = textsOf(await collect(client, texts.length, 2 * QUIET_MS))
    const dropped = texts.filter((text) => !arrived.includes(text))
    assert.equal(
      dropped.length,
      0,
      `${dropped.length} of ${texts.length} did not arrive: ${dropped.slice(0, 2).join(', ')}`,
    )
    assert.deepEqual(arrived, texts)
  },
}

export const pubackOrder: Pledge = {
  says: 'PUBACKs come in the order of the PUBLISHes, however long one takes',
  async keep(broker) {
    const [from, slow, quick] = [await broker.device('a'), await broker.device('b'), await broker.device('c')]
    await broker.slow(slow, 200)
    const sender = await connect(broker, from)
    const publish = (messageId: number, topic: string) =>
      mqtt.generate({ cmd: 'publish', topic, payload: 'x', qos: 1, messageId, dup: false, retain: false } as Packet)
    const [one, two, three] = [broker.topic(from, slow), broker.topic(from, quick), broker.topic(from, quick)]
    sender.sendBytes(Buffer.concat([publish(1, one), publish(2, two), publish(3, three)]))
    await sender.until((c) => pubackCount(c) === 3, 'three PUBACKs')
    const ids = pubackIds(sender)
    assert.deepEqual(ids, [1, 2, 3], `PUBACKs for ${ids.join(', ')}`)
  },
}

export const dupOnResend: Pledge = {
  says: 'what is sent again has DUP set',
  async keep(broker) {
    const [from, to] = [await broker.device('a'), await broker.device('b')]
    const sender = await connect(broker, from)
    const first = await join(broker, to, { autoAck: false })
    await publishAll(sender, broker.topic(from, to), ['again'])
    const [before] = await collect(first, 1, QUIET_MS)
    assert.equal(before?.dup, false)
    first.destroy()
    const second = await connect(broker, to)
    const [after] = await collect(second, 1, QUIET_MS)
    assert.equal(String(after?.payload), 'again')
    assert.equal(after?.dup, true, `sent again with DUP=${Number(after?.dup)}`)
  },
}

export const dupOfSender: Pledge = {
  says: "a sender's DUP is not passed on to whom it reaches first",
  async keep(broker) {
    const [from, to] = [await broker.device('a'), await broker.device('b')]
    const sender = await connect(broker, from)
    const client = await join(broker, to)
    await sender.publish(broker.topic(from, to), 'resent', { dup: true })
    const [got] = await collect(client, 1, QUIET_MS)
    assert.equal(String(got?.payload), 'resent')
    assert.equal(got?.dup, false, `first delivery with DUP=${Number(got?.dup)}`)
  },
}
