/**
 * The bytes of a batch: heads, which the append script reads, and bodies, which it stores as they are. With the
 * script's answers they are an entry of the stream, from which a worker builds rows. Pure. Numbers are little-endian;
 * strings are one length byte and latin1.
 *
 *   heads   per envelope: device, flags u8 (dedupe; 4: a mark follows), stamp f64, hash u32, after_seq f64, peer,
 *           then of a mark: by, peer, upTo f64
 *   bodies  version u8, then per envelope: bytes behind this number u32, device number u8, expires f64,
 *           targets u16 × (device, kind u8 (8: numbered, 16: own), topic bytes u16, topic, peer, receiptTo),
 *           bodies u16 × (field u8, bytes u32, bytes)
 *   answers per envelope: verdict u8, seq f64, last stamp f64
 */
import { type Body, type Envelope, NO_ROWS, type Target, VERDICT_NEW, VERDICT_PENDING } from '../../core/envelope.ts'
import type { Mark } from '../../core/row.ts'
import { ANSWER_BYTES } from './append-script.ts'

/** Entries wait over a restart with another version: a change of the format is a new number. */
export const ENTRY_VERSION = 1

const WITH_MARK = 4
const NUMBERED = 8
const OWN = 16

function writeText(into: Buffer, at: number, text: string): number {
  into[at++] = text.length
  return at + into.write(text, at, 'latin1')
}

function writeBytes(into: Buffer, at: number, bytes: Uint8Array): number {
  into[at++] = bytes.length
  into.set(bytes, at)
  return at + bytes.length
}

export function headBytes({ device, peer, mark }: Envelope): number {
  const ofMark = mark === undefined ? 0 : 10 + mark.by.length + mark.peer.length
  return 23 + device.length + peer.length + ofMark
}

function writeHead(into: Buffer, at: number, envelope: Envelope): number {
  const { mark } = envelope
  at = writeText(into, at, envelope.device)
  into[at++] = envelope.dedupe | (mark === undefined ? 0 : WITH_MARK)
  at = into.writeDoubleLE(envelope.stamp, at)
  at = into.writeUInt32LE(envelope.hash, at)
  at = into.writeDoubleLE(envelope.afterSeq, at)
  at = writeText(into, at, envelope.peer)
  return mark === undefined
    ? at
    : into.writeDoubleLE(mark.upTo, writeText(into, writeText(into, at, mark.by), mark.peer))
}

export function bodyBytes({ targets, bodies }: Envelope): number {
  let bytes = 4 + 9 + 4
  for (const { device, topic, peer, receiptTo } of targets) {
    bytes += 6 + device.length + topic.length + peer.length + receiptTo.length
  }
  for (const { start, end } of bodies) bytes += 5 + end - start
  return bytes
}

function writeTarget(into: Buffer, at: number, target: Target): number {
  at = writeText(into, at, target.device)
  into[at++] = target.body | (target.numbered ? NUMBERED : 0) | (target.own ? OWN : 0)
  at = into.writeUInt16LE(target.topic.length, at)
  into.set(target.topic, at)
  at = writeBytes(into, at + target.topic.length, target.peer)
  return writeText(into, at, target.receiptTo)
}

function writeBody(into: Buffer, at: number, envelope: Envelope): number {
  const { targets, bodies, source } = envelope
  const from = at
  into[from + 4] = envelope.deviceNumber
  at = into.writeDoubleLE(envelope.expiresMs, from + 5)
  at = into.writeUInt16LE(targets.length, at)
  for (const target of targets) at = writeTarget(into, at, target)
  at = into.writeUInt16LE(bodies.length, at)
  for (const { field, start, end } of bodies) {
    into[at++] = field
    at = into.writeUInt32LE(end - start, at)
    into.set(source.subarray(start, end), at)
    at += end - start
  }
  into.writeUInt32LE(at - from - 4, from)
  return at
}

/** Heads and bodies of a batch; the envelopes are not kept. */
export function encodeBatch(batch: readonly Envelope[]): { heads: Buffer; bodies: Buffer } {
  let ofHeads = 0
  let ofBodies = 1
  for (const envelope of batch) {
    ofHeads += headBytes(envelope)
    ofBodies += bodyBytes(envelope)
  }
  const bytes = Buffer.allocUnsafe(ofHeads + ofBodies)
  const heads = bytes.subarray(0, ofHeads)
  const bodies = bytes.subarray(ofHeads)
  bodies[0] = ENTRY_VERSION
  let head = 0
  let body = 1
  for (const envelope of batch) {
    head = writeHead(heads, head, envelope)
    body = writeBody(bodies, body, envelope)
  }
  return { heads, bodies }
}

/** Writes the script's answers into the batch. Throws RangeError when they are not those of this batch. */
export function applyAnswers(answers: Buffer, batch: readonly Envelope[]): void {
  if (answers.length !== batch.length * ANSWER_BYTES) throw new RangeError('these are not the answers of this batch')
  let at = 0
  for (const envelope of batch) {
    envelope.verdict = answers.readUInt8(at)
    envelope.seq = answers.readDoubleLE(at + 1)
    envelope.lastStamp = answers.readDoubleLE(at + 9)
    at += ANSWER_BYTES
  }
}

interface Reader {
  readonly bytes: Buffer
  at: number
}

/** Moves on by `bytes`; returns where it was. Reading past the end throws RangeError. */
function step(reader: Reader, bytes: number): number {
  const from = reader.at
  if (from + bytes > reader.bytes.length) throw new RangeError('the entry is cut')
  reader.at = from + bytes
  return from
}

const u8 = (reader: Reader): number => reader.bytes.readUInt8(step(reader, 1))
const u16 = (reader: Reader): number => reader.bytes.readUInt16LE(step(reader, 2))
const u32 = (reader: Reader): number => reader.bytes.readUInt32LE(step(reader, 4))
const f64 = (reader: Reader): number => reader.bytes.readDoubleLE(step(reader, 8))

function slice(reader: Reader, length: number): Buffer {
  const from = step(reader, length)
  return reader.bytes.subarray(from, from + length)
}

function text(reader: Reader): string {
  const length = u8(reader)
  const from = step(reader, length)
  return reader.bytes.toString('latin1', from, from + length)
}

function readTarget(reader: Reader): Target {
  const device = text(reader)
  const flags = u8(reader)
  const topic = slice(reader, u16(reader))
  const peer = slice(reader, u8(reader))
  return {
    device,
    body: (flags & 3) as Target['body'],
    topic,
    numbered: (flags & NUMBERED) !== 0,
    own: (flags & OWN) !== 0,
    peer,
    receiptTo: text(reader),
  }
}

function readBody(reader: Reader): Body {
  const field = u8(reader)
  const length = u32(reader)
  const start = step(reader, length)
  return { field, start, end: start + length }
}

type Head = Pick<Envelope, 'device' | 'dedupe' | 'stamp' | 'hash' | 'afterSeq' | 'peer' | 'mark'>

function readHead(heads: Reader): Head {
  const device = text(heads)
  const flags = u8(heads)
  const head = { device, stamp: f64(heads), hash: u32(heads), afterSeq: f64(heads), peer: text(heads) }
  const mark: Mark | undefined =
    (flags & WITH_MARK) === 0 ? undefined : { by: text(heads), peer: text(heads), upTo: f64(heads) }
  return { ...head, dedupe: (flags & 3) as Envelope['dedupe'], mark }
}

function readEnvelope(shard: number, head: Head, bodies: Reader): Envelope {
  const deviceNumber = u8(bodies)
  const expiresMs = f64(bodies)
  const targets = Array.from({ length: u16(bodies) }, () => readTarget(bodies))
  return {
    shard,
    ...head,
    deviceNumber,
    expiresMs,
    source: bodies.bytes,
    targets,
    bodies: Array.from({ length: u16(bodies) }, () => readBody(bodies)),
    verdict: VERDICT_PENDING,
    seq: 0,
    lastStamp: 0,
    rows: NO_ROWS,
  }
}

/** The envelopes of an entry that were new, with their seq. Throws RangeError when it is cut or of another version. */
export function decodeEntry(shard: number, heads: Buffer, bodies: Buffer, answers: Buffer): Envelope[] {
  const head: Reader = { bytes: heads, at: 0 }
  const body: Reader = { bytes: bodies, at: 0 }
  const version = u8(body)
  if (version !== ENTRY_VERSION) throw new RangeError(`an entry has version ${version}: update this worker`)
  const found: Envelope[] = []
  for (let at = 0; at < answers.length; at += ANSWER_BYTES) {
    const one = readHead(head)
    const length = u32(body)
    const next = step(body, length) + length
    const verdict = answers.readUInt8(at)
    if (verdict === VERDICT_NEW) {
      body.at = next - length
      const envelope = readEnvelope(shard, one, body)
      envelope.verdict = verdict
      envelope.seq = answers.readDoubleLE(at + 1)
      envelope.lastStamp = answers.readDoubleLE(at + 9)
      found.push(envelope)
    }
    body.at = next
  }
  return found
}
