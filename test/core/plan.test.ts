import assert from 'node:assert/strict'
import fc from 'fast-check'
import mqtt, { type IPublishPacket } from 'mqtt-packet'
import {
  BODY_DELIVERY,
  BODY_FRAME,
  BODY_MARK,
  DEDUPE_NONE,
  type Envelope,
  type Target,
  VERDICT_NEW,
} from '../../core/envelope.ts'
import { rowBytesMax, rowKind, writeRow } from '../../core/plan.ts'
import { ROW_FRAME, ROW_MARK } from '../../core/row.ts'
import { decodeDelivery } from '../../topics/codec.ts'

const bytes = (minLength: number, maxLength: number) => fc.uint8Array({ minLength, maxLength })
const target: fc.Arbitrary<Target> = fc
  .record({
    body: fc.constantFrom(BODY_FRAME, BODY_DELIVERY, BODY_MARK),
    device: fc.stringMatching(/^[a-z0-9]{1,12}$/),
    numbered: fc.boolean(),
    own: fc.boolean(),
    peer: bytes(16, 16),
  })
  .map(({ device, ...rest }) => ({ ...rest, device, topic: Buffer.from(`d/${device}/in`), receiptTo: '' }))

const envelope: fc.Arbitrary<Envelope> = fc
  .record({
    targets: fc.array(target, { minLength: 1, maxLength: 4 }),
    source: bytes(1, 400),
    cuts: fc.array(fc.integer({ min: 0, max: 400 }), { minLength: 8, maxLength: 8 }),
    shared: fc.boolean(),
    field: fc.constantFrom(1, 2, 3, 8),
    deviceNumber: fc.integer({ min: 1, max: 127 }),
    seq: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  })
  .map(({ targets, source, cuts, shared, field, deviceNumber, seq }) => ({
    shard: 0,
    device: 'a',
    deviceNumber,
    stamp: 1,
    hash: 1,
    dedupe: DEDUPE_NONE,
    afterSeq: 0,
    expiresMs: 0,
    peer: '',
    source,
    targets,
    bodies: targets.slice(0, shared ? 1 : undefined).map((_, i) => {
      const [one, two] = [cuts[i * 2] as number, cuts[i * 2 + 1] as number].map((at) => at % (source.length + 1))
      return { field, start: Math.min(one as number, two as number), end: Math.max(one as number, two as number) }
    }),
    mark: undefined,
    verdict: VERDICT_NEW,
    seq,
    lastStamp: 0,
    rows: [],
  }))

function rowOf(of: Envelope, i: number, at = 0): Buffer {
  const into = Buffer.alloc(at + rowBytesMax(of, i), 0xaa)
  const end = writeRow(into, at, of, i)
  assert.ok(end <= into.length)
  return into.subarray(at, end)
}

function parsed(frame: Buffer): IPublishPacket {
  let found: IPublishPacket | undefined
  const parser = mqtt.parser()
  parser.on('packet', (packet) => {
    found = packet as IPublishPacket
  })
  // A stored frame has no packet id yet, and 0 is not one.
  const patched = Buffer.from(frame)
  let at = 1
  while ((patched[at] as number) >= 128) at++
  at += 1 + 2 + patched.readUInt16BE(at + 1)
  assert.equal(patched.readUInt16BE(at), 0)
  patched.writeUInt16BE(7, at)
  assert.equal(parser.parse(patched), 0)
  assert.ok(found)
  return found
}

const bodyOf = (of: Envelope, i: number): Buffer => {
  const body = of.bodies.length === 1 ? of.bodies[0] : of.bodies[i]
  return Buffer.from(of.source.subarray(body?.start, body?.end))
}

/** The frame for `to`, as a parser that is not ours reads it. */
function assertPublish(row: Buffer, of: Envelope, i: number, to: Target): void {
  const { topic, qos, dup, retain, payload } = parsed(row)
  assert.equal(topic, `d/${to.device}/in${to.numbered ? `/${of.seq}` : ''}`)
  assert.deepEqual([qos, dup, retain], [1, false, false])
  if (to.body === BODY_FRAME) {
    assert.deepEqual(payload, bodyOf(of, i))
    return
  }
  const delivery = decodeDelivery(payload as Buffer)
  assert.ok(!delivery.fault)
  assert.deepEqual([delivery.seq, delivery.device, delivery.own], [of.seq, of.deviceNumber, to.own])
  assert.deepEqual(Buffer.from(delivery.peer ?? []), Buffer.from(to.peer))
  const body = delivery.raw ?? delivery.whisper ?? delivery.prekey ?? delivery.plaintext
  assert.deepEqual(Buffer.from(body ?? []), bodyOf(of, i))
}

describe('the plan of an envelope', () => {
  it('gives the same bytes whenever and wherever it is run', () => {
    fc.assert(
      fc.property(envelope, envelope, (of, between) => {
        for (let i = 0; i < of.targets.length; i++) {
          const first = rowOf(of, i)
          for (let j = 0; j < between.targets.length; j++) rowOf(between, j)
          assert.deepEqual(rowOf(of, i, 13), first)
        }
      }),
    )
  })

  it('is an exact number of bytes, but for the digits of a numbered topic', () => {
    fc.assert(
      fc.property(envelope, (of) => {
        of.targets.forEach((to, i) => {
          const slack = rowBytesMax(of, i) - rowOf(of, i).length
          assert.ok(to.numbered && to.body !== BODY_MARK ? slack >= 0 && slack <= 17 : slack === 0, `${slack}`)
        })
      }),
    )
  })

  it('is a QoS 1 PUBLISH that other people can read, with the body as it stood', () => {
    fc.assert(
      fc.property(envelope, (of) => {
        of.targets.forEach((to, i) => {
          const row = rowOf(of, i)
          assert.equal(rowKind(to), to.body === BODY_MARK ? ROW_MARK : ROW_FRAME)
          if (to.body === BODY_MARK) assert.deepEqual(row, bodyOf(of, i))
          else assertPublish(row, of, i, to)
        })
      }),
    )
  })
})
