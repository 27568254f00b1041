import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type Account, type Fleet, plainFleet } from '../../bench/generator/fleet.ts'
import { createHistogram, percentileMs, record } from '../../bench/generator/histogram.ts'
import { closeLoad, createLoad, openRecipients, openSenders, wantEach } from '../../bench/generator/load.ts'
import { outcome, unackedSlots } from '../../bench/generator/outcome.ts'
import { BODY_BYTES, personFleet } from '../../bench/generator/person-fleet.ts'
import { type Traffic, waitFor } from '../../bench/generator/traffic.ts'
import { resend } from '../../bench/generator/turn.ts'
import { decodeSendRequest, encodeDelivery, type SendRequest } from '../../topics/codec.ts'
import { type Message, type Responder, startResponder } from './responder.ts'

const PAIRS = 2
const EACH = 200
const TOTAL = PAIRS * EACH
const QUIET_MS = 5000
const VICTIM = { pair: 1, counter: 50 }

const NOTHING_WRONG = { lost: 0, unacked: 0, duplicated: 0, misordered: 0, stray: 0 }

/** Whether it is the one message of the load on which the broker goes wrong. */
function isVictim({ payload }: Message): boolean {
  return payload.readUInt32BE(4) === VICTIM.pair && payload.readUInt32BE(8) === VICTIM.counter
}

/** Sends EACH messages per pair through a broker that routes like this; the caller says how many will arrive. */
async function sendThrough(route: (message: Message) => Message[], arriving: number): Promise<Traffic> {
  const responder = await startResponder({ route })
  const load = createLoad(plainFleet({ pairs: PAIRS, recipients: PAIRS }, 0), { slots: 10 })
  await openRecipients(load, responder.port)
  await openSenders(load, responder.port)
  wantEach(load, EACH)
  const reached = await waitFor(load.traffic, TOTAL, arriving, QUIET_MS)
  assert.equal(reached, true, `${load.traffic.acked} acknowledged, ${load.traffic.arrived} arrived`)
  await closeLoad(load)
  await responder.kill()
  return load.traffic
}

describe('the load generator', () => {
  it('counts nothing when the broker does everything right', async () => {
    const traffic = await sendThrough((message) => [message], TOTAL)
    assert.deepEqual(outcome(traffic), NOTHING_WRONG)
    assert.deepEqual([traffic.sent, traffic.acked, traffic.arrived], [TOTAL, TOTAL, TOTAL])
  })

  it('counts the one message that was acknowledged and dropped as lost', async () => {
    const traffic = await sendThrough((message) => (isVictim(message) ? [] : [message]), TOTAL - 1)
    assert.deepEqual(outcome(traffic), { ...NOTHING_WRONG, lost: 1 })
  })

  it('counts the one message that came twice as duplicated', async () => {
    const traffic = await sendThrough((message) => (isVictim(message) ? [message, message] : [message]), TOTAL)
    assert.deepEqual(outcome(traffic), { ...NOTHING_WRONG, duplicated: 1 })
  })

  it('counts a duplicate that comes long after its slot was used again', async () => {
    let kept: Message | undefined
    const late = (message: Message): Message[] => {
      if (isVictim(message)) kept = message
      const isLast = message.payload.readUInt32BE(4) === VICTIM.pair && message.payload.readUInt32BE(8) === EACH - 2
      return isLast && kept !== undefined ? [kept, message] : [message]
    }
    assert.deepEqual(outcome(await sendThrough(late, TOTAL)), { ...NOTHING_WRONG, duplicated: 1 })
  })

  it('counts the one message that was overtaken as misordered', async () => {
    let held: Message | undefined
    const swap = (message: Message): Message[] => {
      if (isVictim(message)) {
        held = message
        return []
      }
      if (held === undefined || held.topic !== message.topic) return [message]
      const both = [message, held]
      held = undefined
      return both
    }
    assert.deepEqual(outcome(await sendThrough(swap, TOTAL)), { ...NOTHING_WRONG, misordered: 1 })
  })

  it('counts what another load left behind, and what is for another recipient, as stray', async () => {
    const foreign = (message: Message): Message[] => {
      if (!isVictim(message)) return [message]
      const otherRun = Buffer.from(message.payload)
      otherRun.writeUInt16BE((otherRun.readUInt16BE(0) + 1) % 65536, 0)
      const otherPair = Buffer.from(message.payload)
      otherPair.writeUInt32BE(0, 4)
      return [{ ...message, payload: otherRun }, { ...message, payload: otherPair }, message]
    }
    assert.deepEqual(outcome(await sendThrough(foreign, TOTAL)), { ...NOTHING_WRONG, stray: 2 })
  })

  it('gives percentiles within one per cent', () => {
    const histogram = createHistogram()
    for (let us = 1; us <= 100_000; us++) record(histogram, us / 1000)
    for (const share of [0.001, 0.5, 0.99, 0.999, 1]) {
      const exactMs = (share * 100_000) / 1000
      assert.ok(Math.abs(percentileMs(histogram, share) / exactMs - 1) < 0.01, `p${share * 100}`)
    }
    assert.ok(Number.isNaN(percentileMs(createHistogram(), 0.5)))
  })
})

describe('the SendRequest path of the generator', () => {
  const accounts: Account[] = ['pa', 'pb'].map((device, i) => ({
    device,
    user: randomUUID(),
    token: 'token',
    number: 1,
    registrationId: 4000 + i,
  }))
  const fleet = (): Fleet => personFleet({ pairs: 1, recipients: 1 }, accounts)

  function decode(payload: Buffer): SendRequest {
    const request = decodeSendRequest(payload, 0, payload.length)
    if (request.fault) assert.fail(request.text)
    return request
  }

  /** A message as the server would route it: the body to the peer, an accepted mark back to the sender. */
  function deliveries({ payload }: Message): Message[] {
    const { stamp, pair } = decode(payload)
    const [body] = pair?.devices ?? []
    const whisper = payload.subarray(body?.start, body?.end)
    const receipts = { items: [{ peer: pair?.peer, accepted: [stamp, stamp * 16] }] }
    return [
      { topic: 'd/pb/in', payload: Buffer.from(encodeDelivery({ whisper, peer: pair?.peer, seq: stamp * 16 })) },
      { topic: 'd/pa/in', payload: Buffer.from(encodeDelivery({ receipts })) },
    ]
  }

  it('patches every frame into a valid request with a rising stamp, for the right device', async () => {
    const responder = await startResponder({ route: deliveries })
    const load = createLoad(fleet(), { slots: 10 })
    await openRecipients(load, responder.port)
    await openSenders(load, responder.port)
    wantEach(load, EACH)
    assert.ok(await waitFor(load.traffic, EACH, EACH, QUIET_MS))
    await closeLoad(load)
    await responder.kill()
    const requests = responder.published.map(({ message }) => decode(message.payload))
    const [first] = requests
    requests.forEach(({ stamp, pair }, i) => {
      const [body] = pair?.devices ?? []
      assert.equal(stamp, (first?.stamp ?? 0) + i)
      assert.deepEqual([body?.device, body?.registrationId], [1, 4001])
      assert.equal((body?.end ?? 0) - (body?.start ?? 0), BODY_BYTES)
    })
    assert.deepEqual(outcome(load.traffic), NOTHING_WRONG)
  })

  it('counts the marks that the sender got and acknowledges their frames', async () => {
    const responder = await startResponder({ route: deliveries })
    const load = createLoad(fleet(), { slots: 10 })
    await openRecipients(load, responder.port)
    await openSenders(load, responder.port)
    wantEach(load, EACH)
    assert.ok(await waitFor(load.traffic, EACH, EACH, QUIET_MS))
    await emptied(responder, 'pa')
    await closeLoad(load)
    await responder.kill()
    assert.deepEqual([load.traffic.marks, load.traffic.receiptFrames], [EACH, EACH])
  })

  it('sends again what has no PUBACK in its old order, with DUP and the old stamps', async () => {
    const load = createLoad(fleet(), { slots: 10 })
    const silent = await startResponder({ route: () => [], pubackAfterMs: Number.POSITIVE_INFINITY })
    await openSenders(load, silent.port)
    wantEach(load, EACH)
    while (silent.published.length < 10) await silent.nextFrame()
    const stampsBefore = silent.published.map(({ message }) => decode(message.payload).stamp)
    await closeLoad(load)
    await silent.kill()
    const responder = await startResponder({ route: deliveries })
    await openRecipients(load, responder.port)
    load.traffic.wanted.fill(0)
    await openSenders(load, responder.port)
    const [sender] = load.senders
    assert.ok(sender !== undefined)
    resend(sender, load.traffic, unackedSlots(load.traffic, 0))
    assert.ok(await waitFor(load.traffic, 10, 10, QUIET_MS))
    await closeLoad(load)
    await responder.kill()
    assert.deepEqual(
      responder.published.map(({ head }) => head),
      Array(10).fill(0x3a),
    )
    assert.deepEqual(
      responder.published.map(({ message }) => decode(message.payload).stamp),
      stampsBefore,
    )
    assert.deepEqual(outcome(load.traffic), NOTHING_WRONG)
  })

  /** Resolves when the device has acknowledged everything that was handed to it. */
  async function emptied(responder: Responder, device: string): Promise<void> {
    const waiting = (): number => responder.sessions.get(device)?.waiting.size ?? 0
    while (waiting() > 0) await responder.nextFrame()
  }
})
