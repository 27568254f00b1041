/** A device that is removed from its account while it is connected: what it hears, how soon, and what it does then. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import mqtt from 'mqtt-packet'
import { createWebSocketStream, WebSocketServer } from 'ws'
import { limits } from '../../topics/limits.ts'
import { startMiddle } from '../e2ee/hostile.ts'
import { codeOf } from '../world/person.ts'
import { type People, type Person, startPeople, userOf } from './people.ts'

interface Offline {
  readonly reason: string
  readonly text: string
  readonly retryInMs: number | undefined
}

const told = (person: Person, event: string): unknown[] =>
  person.events.filter((each) => each.event === event).map(({ value }) => value)
const offlines = (person: Person): Offline[] => told(person, 'offline') as Offline[]
const deviceOf = (person: Person): string => person.client.me()?.device ?? ''

describe('a linked device that the primary one removes', () => {
  let people: People
  let alice: Person
  let bob: Person
  let laptop: Person
  before(async () => {
    people = await startPeople()
    alice = await people.person('alice')
    bob = await people.person('bob')
  })
  after(() => people.stop())

  beforeEach(async () => {
    laptop = people.stranger()
    const { uri, linked } = await laptop.client.offerLink()
    await alice.client.acceptLink(uri)
    await linked
    laptop.client.connect()
    await laptop.until(() => told(laptop, 'caughtUp').length > 0, 'caught up')
    laptop.events.length = 0
  })

  /** How often somebody came and was let in or not. */
  const arrivals = (): number => {
    const { connects, rejected } = people.node.node.server.metrics
    return connects + Object.values(rejected).reduce((sum, count) => sum + (count ?? 0), 0)
  }

  it('loses its live connection within five seconds, and is told that it was removed', async () => {
    const ended = new Promise<number>((resolve) => {
      laptop.client.on('offline', () => resolve(performance.now()))
    })
    const asked = performance.now()
    await alice.client.removeDevice(deviceOf(laptop))
    const tookMs = (await ended) - asked
    assert.ok(tookMs <= limits.revokeDelayMsMax, `it took ${tookMs} ms`)
    assert.equal(laptop.client.isOnline(), false)
    await laptop.until(() => told(laptop, 'revoked').length > 0, 'revoked')
    assert.ok(performance.now() - asked <= limits.revokeDelayMsMax, 'told too late')
  })

  it('does not come back by itself, and says what to do', async () => {
    await alice.client.removeDevice(deviceOf(laptop))
    await laptop.until(() => told(laptop, 'revoked').length > 0, 'revoked')
    const last = offlines(laptop).at(-1)
    assert.equal(last?.reason, 'unauthorized')
    assert.equal(last?.retryInMs, undefined)
    assert.match(last?.text ?? '', /register or link it again/)
    const [before, heard] = [arrivals(), laptop.events.length]
    // Longer than the longest of the first waits.
    await delay(1_500)
    assert.equal(arrivals(), before)
    assert.equal(laptop.events.length, heard, JSON.stringify(laptop.events.slice(heard)))
    assert.equal(told(laptop, 'revoked').length, 1)
  })

  it('can only be told to try: then it hears the same again', async () => {
    await alice.client.removeDevice(deviceOf(laptop))
    await laptop.until(() => told(laptop, 'revoked').length === 1, 'revoked')
    laptop.client.retryNow()
    await laptop.until(() => told(laptop, 'revoked').length === 2, 'revoked again')
    await laptop.reopen()
    laptop.client.connect()
    await laptop.until(() => told(laptop, 'revoked').length === 3, 'revoked after it was opened anew')
    assert.ok(offlines(laptop).every(({ reason, retryInMs }) => reason !== 'unauthorized' || retryInMs === undefined))
    await assert.rejects(laptop.client.devices(), { code: 'unauthorized' })
  })

  it('keeps what it has, sends nothing any more, and the others go on', async () => {
    const peer = userOf(bob)
    await laptop.client.send(peer, 'from the laptop')
    await bob.until(() => bob.received.some(({ text }) => text === 'from the laptop'), 'it')
    await alice.client.removeDevice(deviceOf(laptop))
    await laptop.until(() => told(laptop, 'revoked').length > 0, 'revoked')
    await laptop.client.send(peer, 'from the removed one')
    await alice.client.send(peer, 'from the phone')
    await bob.until(() => bob.received.some(({ text }) => text === 'from the phone'), 'the primary device')
    assert.ok(!bob.received.some(({ text }) => text === 'from the removed one'))
    assert.equal(laptop.client.waiting(), 1)
    assert.ok(laptop.client.messages(peer).some(({ text }) => text === 'from the laptop'))
    assert.equal(told(alice, 'revoked').length + told(bob, 'revoked').length, 0)
    assert.ok(alice.client.isOnline() && bob.client.isOnline())
  })

  it('is found removed also when it was away, at its next connection', async () => {
    await laptop.client.close()
    const linked = (await alice.client.devices()).find(({ isPrimary }) => !isPrimary)
    await alice.client.removeDevice(linked?.device ?? '')
    await laptop.reopen()
    laptop.client.connect()
    await laptop.until(() => told(laptop, 'revoked').length > 0, 'revoked')
    assert.equal(told(laptop, 'online').length, 0)
  })
})

/** Lets nobody in: CONNACK 5, what a device hears also that came too often. */
async function startDoor(): Promise<{ url: string; stop(): Promise<void> }> {
  const door = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  door.on('connection', (socket) => {
    const stream = createWebSocketStream(socket)
    stream.on('error', () => undefined)
    stream.once('data', () => stream.write(mqtt.generate({ cmd: 'connack', returnCode: 5, sessionPresent: false })))
  })
  await once(door, 'listening')
  return {
    url: `ws://127.0.0.1:${(door.address() as AddressInfo).port}`,
    async stop() {
      for (const socket of door.clients) socket.terminate()
      door.close()
      await once(door, 'close')
    },
  }
}

describe('a device that MQTT does not let in and HTTP knows', () => {
  it('is not told that it was removed', async () => {
    const people = await startPeople()
    const door = await startDoor()
    const middle = await startMiddle(people.node)
    try {
      let asked = 0
      middle.answer = ({ path }, { status, body }) => {
        if (path === '/v1/devices') asked++
        return body?.['ws'] === undefined ? undefined : { status, body: { ...body, ws: door.url } }
      }
      const carol = people.stranger({ url: middle.url })
      const phone = '+447700900999'
      await carol.client.askCode(phone)
      await carol.client.register({ phone, code: codeOf(people.node.folder, phone) })
      carol.client.connect()
      await carol.until(() => offlines(carol).some(({ reason }) => reason === 'unauthorized'), 'the refusal')
      await carol.until(() => asked === 1, 'the question whether it was removed')
      // Behind the answer to it.
      await carol.client.devices()
      assert.deepEqual(told(carol, 'revoked'), [])
    } finally {
      await people.stop()
      await middle.stop()
      await door.stop()
    }
  })
})
