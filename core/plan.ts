/**
 * From a numbered envelope to inbox rows. A pure function of the envelope and its seq (A2): run again it gives the
 * same bytes. Step before: `adapters/…/intake` numbers. Step after: the adapter stores the rows and wakes their
 * devices.
 */
import { type DeliveryHead, deliverySize, writeDelivery } from '../topics/codec.ts'
import { publishBytes, writePublishHead } from '../topics/frames.ts'
import { BODY_FRAME, BODY_MARK, type Body, type Envelope, type Target } from './envelope.ts'
import { ROW_FRAME, ROW_MARK } from './row.ts'

const NOTHING = new Uint8Array(0)
/** Reused for every row: the codec copies from it at once. */
const head: DeliveryHead = {
  field: 1,
  source: NOTHING,
  start: 0,
  end: 0,
  peer: undefined,
  group: undefined,
  device: 0,
  seq: 0,
  member: 0,
  own: false,
}

function bodyOf(envelope: Envelope, i: number): Body {
  return (envelope.bodies.length === 1 ? envelope.bodies[0] : envelope.bodies[i]) as Body
}

function fillHead(envelope: Envelope, target: Target, body: Body): void {
  head.field = body.field as DeliveryHead['field']
  head.source = envelope.source
  head.start = body.start
  head.end = body.end
  head.peer = target.peer
  head.device = envelope.deviceNumber
  head.seq = envelope.seq
  head.own = target.own
}

function topicOf(target: Target, seq: number): Uint8Array {
  return target.numbered ? Buffer.concat([target.topic, Buffer.from(`/${seq}`)]) : target.topic
}

export function rowKind(target: Target): typeof ROW_FRAME | typeof ROW_MARK {
  return target.body === BODY_MARK ? ROW_MARK : ROW_FRAME
}

/** Upper bound of the bytes of row `i`: exact but for the digits of a numbered topic. */
export function rowBytesMax(envelope: Envelope, i: number): number {
  const target = envelope.targets[i] as Target
  const body = bodyOf(envelope, i)
  const bytes = body.end - body.start
  if (target.body === BODY_MARK) return bytes
  const topicBytes = target.topic.length + (target.numbered ? 17 : 0)
  if (target.body === BODY_FRAME) return publishBytes(topicBytes, bytes)
  fillHead(envelope, target, body)
  return publishBytes(topicBytes, deliverySize(head))
}

/** Writes row `i` at `at`; returns the offset behind it. The envelope has its seq. */
export function writeRow(into: Uint8Array, at: number, envelope: Envelope, i: number): number {
  const target = envelope.targets[i] as Target
  const body = bodyOf(envelope, i)
  const bytes = body.end - body.start
  if (target.body === BODY_FRAME || target.body === BODY_MARK) {
    const from = target.body === BODY_MARK ? at : writePublishHead(into, at, topicOf(target, envelope.seq), bytes)
    into.set(envelope.source.subarray(body.start, body.end), from)
    return from + bytes
  }
  fillHead(envelope, target, body)
  return writeDelivery(into, writePublishHead(into, at, topicOf(target, envelope.seq), deliverySize(head)), head)
}
