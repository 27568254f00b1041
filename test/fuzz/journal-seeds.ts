/** Entries of the journal of every kind, as the store writes them. */
import {
  ackBytesMax,
  envelopeHeadBytesMax,
  writeAck,
  writeDrop,
  writeEnvelopeHead,
  writeMarked,
  writeState,
  writeText,
} from '../../adapters/sqlite/journal.ts'
import { BODY_FRAME, DEDUPE_NONE, DEDUPE_RECORD, type Envelope, type Target, VERDICT_NEW } from '../../core/envelope.ts'
import { join } from '../bad-input/bytes.ts'
import type { Seed } from './corpus.ts'
import { BOB, fuzzUser, THING, VICTIM } from './devices.ts'

const bob = fuzzUser(BOB, 'person')
const body = Buffer.from('a body of some bytes')
const seed = (name: string, bytes: Uint8Array): Seed => ({ name, bytes: Buffer.from(bytes) })

export function journalSeeds(): Seed[] {
  const target = (device: string): Target => ({
    device,
    body: BODY_FRAME,
    topic: Buffer.from(`d/${device}/from/d-f/direct`),
    numbered: false,
    own: false,
    peer: bob,
    receiptTo: 'r'.repeat(16),
  })
  const envelope = (dedupe: Envelope['dedupe'], targets: Target[]): Envelope => ({
    shard: 0,
    device: THING,
    deviceNumber: 1,
    stamp: 77,
    hash: 0xdeadbeef,
    dedupe,
    afterSeq: 0,
    expiresMs: 5,
    peer: 'p'.repeat(16),
    source: body,
    targets,
    bodies: [{ field: 1, start: 0, end: body.length }],
    mark: undefined,
    verdict: VERDICT_NEW,
    seq: 2 ** 50,
    lastStamp: 0,
    rows: [],
  })
  const written = (bytes: number, write: (into: Buffer) => number): Buffer => {
    const into = Buffer.alloc(bytes)
    return into.subarray(0, write(into))
  }
  const ofEnvelope = (made: Envelope) =>
    written(envelopeHeadBytesMax(made.targets.length) + 400, (into) => {
      let at = writeEnvelopeHead(into, 0, made)
      for (const { device, receiptTo } of made.targets) {
        at = writeText(into, at, device)
        into[at++] = 0
        at = writeText(into, at, receiptTo)
        at = into.writeUInt32LE(body.length, at)
        into.set(body, at)
        at += body.length
      }
      return at
    })
  const mark = { by: 'b'.repeat(16), peer: 'p'.repeat(16), upTo: 2 ** 50 }
  const row = {
    device: VICTIM,
    seq: 2 ** 50,
    sub: 0,
    kind: 0,
    peer: '',
    expiresMs: 0,
    source: undefined,
    start: 0,
    end: 0,
  } as const
  const ack = written(ackBytesMax(2, 2, 1), (into) => writeAck(into, 0, VICTIM, [row, row], [7, 8], [mark]))
  const flags = { subscribed: true, open: true, slot: 5, sentSeq: 2 ** 50 }
  const state = written(60, (into) => writeState(into, 0, VICTIM, flags))
  const one = ofEnvelope(envelope(DEDUPE_NONE, [target(VICTIM)]))
  const two = ofEnvelope(envelope(DEDUPE_RECORD, [target(VICTIM), target(BOB)]))
  const dropped = written(40, (into) => writeDrop(into, 0, VICTIM))
  const marked = written(60, (into) => writeMarked(into, 0, mark))
  return [
    seed('an envelope', one),
    seed('an envelope with two rows', two),
    seed('an acknowledgement', ack),
    seed('a state', state),
    seed('a drop and a mark', join(dropped, marked)),
    seed('an entry of all kinds', join(two, ack, state, one, marked, dropped)),
  ]
}
