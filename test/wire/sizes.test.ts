import assert from 'node:assert/strict'
import {
  type BodyField,
  type DeliveryHead,
  deliverySize,
  encodeDelivery,
  encodeNow,
  encodeSendRequest,
  type Receipt,
  receiptsSize,
} from '../../topics/codec.ts'
import { errors } from '../../topics/errors.ts'
import { seqFromMs } from '../../topics/ids.ts'
import { fromTopic, inboxTopicOf, topicOf } from '../../topics/topic.ts'

// A day in 2026: stamp and seq have as many bytes until they run out.
const STAMP = Date.UTC(2026, 10, 24)
const SEQ = seqFromMs(STAMP) + 7
const device = 'abcdefghijkl'
const peer = new Uint8Array(16).fill(1)
const group = new Uint8Array(16).fill(2)
/** libsignal's bodies of a text of 100 characters, measured: whisper, first message, sender key. */
const WHISPER_BYTES = 250
const PREKEY_BYTES = 2_023
const SENDER_KEY_BYTES = 254
const whisper = new Uint8Array(WHISPER_BYTES)

/** A whole PUBLISH as MQTT 3.1.1 section 3.3 has it; QoS 0 has no packet id. */
function publishSize(topic: string, payloadBytes: number, qos: 0 | 1): number {
  const remaining = 2 + topic.length + (qos === 0 ? 0 : 2) + payloadBytes
  return 1 + (remaining < 128 ? 1 : remaining < 16_384 ? 2 : 3) + remaining
}

function down(payloadBytes: number, qos: 0 | 1 = 1): number {
  return publishSize(inboxTopicOf(device), payloadBytes, qos)
}
function up(payloadBytes: number): number {
  return publishSize(topicOf('out', { device }), payloadBytes, 1)
}

function head(field: BodyField, bodyBytes: number, more: Partial<DeliveryHead>): DeliveryHead {
  const nothing = { peer: undefined, group: undefined, device: 1, seq: SEQ, member: 0, own: false }
  return { ...nothing, field, source: new Uint8Array(bodyBytes), start: 0, end: bodyBytes, ...more }
}

const receipt = (said: Partial<Receipt>): Receipt => ({
  peer,
  group: undefined,
  delivered: 0,
  read: 0,
  played: [],
  expired: [],
  accepted: [],
  member: 0,
  count: 0,
  own: false,
  ...said,
})

describe('on the wire of MQTT, with a device id of 12 characters,', () => {
  it('a text of 100 characters is 306 bytes, 56 over its ciphertext; 308 for the own other device', () => {
    assert.equal(down(deliverySize(head(2, WHISPER_BYTES, { peer }))), 306)
    assert.equal(down(deliverySize(head(2, WHISPER_BYTES, { peer, own: true }))), 308)
  })

  it('a first message is 2,079 bytes, 56 over its ciphertext', () => {
    assert.equal(down(deliverySize(head(3, PREKEY_BYTES, { peer }))), 2_079)
  })

  it('a group body is 312 bytes for member 7, 313 for member 900, 568 with a key distribution', () => {
    assert.equal(down(deliverySize(head(7, SENDER_KEY_BYTES, { group, member: 7 }))), 312)
    assert.equal(down(deliverySize(head(7, SENDER_KEY_BYTES, { group, member: 900 }))), 313)
    const shared = { senderKey: new Uint8Array(SENDER_KEY_BYTES), group, device: 1, seq: SEQ, member: 7 }
    assert.equal(down(encodeDelivery({ ...shared, distribution: { whisper } }).length), 568)
  })

  it('a SendRequest is 323 bytes for one device, 845 for three, 322 for a group of whatever size', () => {
    const to = (number: number) => ({ whisper, device: number, registrationId: 16_000 })
    const request = { stamp: STAMP, afterSeq: SEQ }
    assert.equal(up(encodeSendRequest({ ...request, pair: { peer, devices: [to(1)] } }).length), 323)
    assert.equal(
      up(encodeSendRequest({ ...request, pair: { peer, devices: [to(1), to(2)], own: [to(3)] } }).length),
      845,
    )
    const senderKey = new Uint8Array(SENDER_KEY_BYTES)
    assert.equal(up(encodeSendRequest({ ...request, group: { group, roster: 300, senderKey } }).length), 322)
  })

  it('a mark is 54 bytes down and 55 up; accepted and delivered of one message together are 70', () => {
    assert.equal(down(receiptsSize([receipt({ delivered: SEQ })])), 54)
    assert.equal(down(receiptsSize([receipt({ read: SEQ })])), 54)
    assert.equal(up(encodeSendRequest({ receipts: { items: [{ peer, read: SEQ }] } }).length), 55)
    assert.equal(down(receiptsSize([receipt({ delivered: SEQ, accepted: [STAMP, SEQ] })])), 70)
  })

  it('sixteen requests of one second accepted together are under 9 bytes each', () => {
    const accepted: number[] = []
    for (let i = 0; i < 16; i += 1) accepted.push(STAMP + i * 60, SEQ + i * 60 * 16_384)
    const one = receiptsSize([receipt({ delivered: SEQ, accepted: accepted.slice(0, 2) })])
    const all = receiptsSize([receipt({ delivered: SEQ, accepted })])
    assert.ok(all - one < 15 * 9, `${all - one} bytes for 15 more`)
  })

  it('caughtUp is 33 bytes as it is sent, with QoS 0, and 35 with a packet id', () => {
    const payload = encodeDelivery({ caughtUp: { serverMs: STAMP, wire: 1 } })
    assert.deepEqual([down(payload.length, 0), down(payload.length)], [33, 35])
  })

  it('the error for one stale device is 44 bytes with a packet id, 42 as it is sent', () => {
    const { number: code, retry } = errors.devices_stale
    const payload = encodeDelivery({
      error: { stamp: STAMP, code, retry, stale: [{ device: 2, registrationId: 16_000 }] },
    })
    assert.deepEqual([down(payload.length), down(payload.length, 0)], [44, 42])
  })

  it('typing is 42 bytes up and 43 down, presence 50', () => {
    const typing = encodeNow({ typing: 1, peer })
    assert.equal(publishSize(topicOf('now', { device }), typing.length, 0), 42)
    assert.equal(publishSize(topicOf('live', { device }), typing.length, 0), 43)
    const presence = encodeNow({ presence: { state: 1, lastSeen: 1_764_000_000 }, peer })
    assert.equal(publishSize(topicOf('live', { device }), presence.length, 0), 50)
  })

  it('a reading of 24 raw bytes is 53 bytes up, 60 with a number of six digits, 71 down', () => {
    assert.equal(publishSize(topicOf('raw', { device, to: 'home' }), 24, 1), 53)
    assert.equal(publishSize(topicOf('rawNumbered', { device, to: 'home', n: '123456' }), 24, 1), 60)
    assert.equal(publishSize(fromTopic(device, 'd-abcdefghijkl', 'direct'), 24, 1), 71)
  })
})
