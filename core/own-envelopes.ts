/**
 * Envelopes that the server makes itself (A7): delivered marks, `expired`, notices. No stamp, no record, no PUBACK;
 * acknowledging what comes of them makes no entry, so there is no loop.
 */
import {
  encodeDelivery,
  type Fields,
  type Notice,
  type Receipt,
  receiptsSize,
  writeReceiptsDelivery,
} from '../topics/codec.ts'
import { type ErrorCode, errorOf } from '../topics/errors.ts'
import { errorTopic, inboxTopicOf } from '../topics/topic.ts'
import { BODY_FRAME, BODY_MARK, DEDUPE_NONE, type Envelope, type Target, VERDICT_PENDING } from './envelope.ts'
import type { Device, Ports } from './ports.ts'
import type { Mark } from './row.ts'
import { byShard, pairShard, shardOf } from './shards.ts'

const NOTHING = new Uint8Array(0)

/** The 16 bytes of a user from its key. */
export const userOfKey = (key: string): Uint8Array => Uint8Array.from(Buffer.from(key, 'latin1'))

function ownEnvelope(shard: number, source: Uint8Array, targets: readonly Target[], mark: Mark | undefined): Envelope {
  return {
    shard,
    device: '',
    deviceNumber: 0,
    stamp: 0,
    hash: 0,
    dedupe: DEDUPE_NONE,
    afterSeq: 0,
    expiresMs: 0,
    peer: '',
    source,
    targets,
    bodies: [{ field: 0, start: 0, end: source.length }],
    mark,
    verdict: VERDICT_PENDING,
    seq: 0,
    lastStamp: 0,
    rows: [],
  }
}

/** A row that is merged with others when it is sent, and says nothing when it is acknowledged. */
export function markTarget(device: string): Target {
  return { device, body: BODY_MARK, topic: NOTHING, numbered: false, own: false, peer: NOTHING, receiptTo: '' }
}

/**
 * What the user `by` is said to have reached in the conversation with `peer`, for all `devices` of that one; `mark` is
 * what that makes known. Numbered where the conversation is.
 */
export function receiptEnvelope(
  shards: number,
  { by, peer }: Pick<Mark, 'by' | 'peer'>,
  devices: readonly Device[],
  said: Partial<Receipt>,
  mark?: Mark,
): Envelope {
  const targets = devices.map(({ id }) => markTarget(id))
  return ownEnvelope(pairShard(by, peer, shards), receiptBytes({ peer: userOfKey(by), ...said }), targets, mark)
}

/** A notice for persons' devices, at least one. Numbered where the first one's id is. */
export function noticeEnvelope(shards: number, devices: readonly string[], notice: Fields<Notice>): Envelope {
  const targets = devices.map((device): Target => {
    return { ...markTarget(device), body: BODY_FRAME, topic: Buffer.from(inboxTopicOf(device)) }
  })
  return ownEnvelope(shardOf(devices[0] ?? '', shards), encodeDelivery({ notice }), targets, undefined)
}

/** The notice that about so many messages for a person's device were not kept (B6). */
export function gapEnvelope(shards: number, device: string, count: number): Envelope {
  return noticeEnvelope(shards, [device], { gap: count })
}

/**
 * What became of an envelope that was accepted, for the device that sent it: a row, since nobody waits for an answer
 * any more. Numbered where the envelope was.
 */
export function errorEnvelope(
  { shard, device, stamp, targets }: Envelope,
  isPerson: boolean,
  code: ErrorCode,
): Envelope {
  const { number, retry, about } = errorOf(code)
  const line = { to: `d-${targets[0]?.device ?? ''}`, n: stamp === 0 ? '' : String(stamp), text: about }
  const payload = isPerson
    ? encodeDelivery({ error: { stamp, code: number, retry } })
    : Buffer.from(`${JSON.stringify(line)}\n`)
  const topic = Buffer.from(isPerson ? inboxTopicOf(device) : errorTopic(device, code))
  return ownEnvelope(shard, payload, [{ ...markTarget(device), body: BODY_FRAME, topic }], undefined)
}

/** One receipt as the bytes of a Delivery. */
export function receiptBytes(said: Partial<Receipt>): Uint8Array {
  const items = [newReceipt(said)]
  const bytes = new Uint8Array(receiptsSize(items))
  writeReceiptsDelivery(bytes, 0, items)
  return bytes
}

export function newReceipt(said: Partial<Receipt>): Receipt {
  return {
    peer: undefined,
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
  }
}

/** Appends envelopes and, once they are durable, wakes the devices of their rows. Rejects with an IntakeFault. */
export async function appendOwn(ports: Ports, envelopes: readonly Envelope[]): Promise<void> {
  await Promise.all([...byShard(envelopes)].map(([shard, batch]) => ports.intake.append(shard, batch)))
  for (const { rows } of envelopes) {
    for (const row of rows) if (ports.claims.wake(row.device, row) === 'away') row.source = undefined
  }
}
