/**
 * Golden bytes for clients in other languages: `golden.json` has one entry per message with its bytes in hex and its
 * proto3 JSON form. `node test/wire/golden.ts` writes the file; it changes only when the wire format does.
 */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { encodeDelivery, encodeNow, encodeSendRequest } from '../../topics/codec.ts'
import { type MessageType, oracleJson } from './oracle.ts'

export interface Golden {
  readonly name: string
  readonly message: MessageType
  readonly hex: string
  readonly json: unknown
}

export const STAMP = 1_764_000_000_123
export const SEQ = 463_906_078_720_007
/** A UUID that is easy to see in hex. */
export const id = (first: number, version: number): Uint8Array => {
  const bytes = Uint8Array.from({ length: 16 }, (_, i) => first + i)
  bytes[6] = version * 16
  bytes[8] = 0x80
  return bytes
}
export const peer = id(0x10, 4)
const thing = id(0x20, 8)
const group = id(0x30, 4)
export const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const body = { whisper: text('ciphertext'), device: 1, registrationId: 16_383 }
const pair = { peer, devices: [body], own: [{ ...body, device: 3, registrationId: 5 }] }

const requests = {
  'pair, two devices and one own': {
    stamp: STAMP,
    pair: { ...pair, devices: [body, { prekey: text('first'), device: 127, registrationId: 1 }] },
    afterSeq: SEQ,
  },
  'pair, signal, call': { stamp: STAMP, pair: { peer, devices: [body], scope: 1 }, urgency: 3, expiresInS: 60 },
  'pair, retry request for a group': {
    stamp: STAMP,
    pair: { peer, group, devices: [{ plaintext: text('retry'), device: 2 }], scope: 2 },
    urgency: 1,
  },
  'group with a distribution': {
    stamp: STAMP,
    group: { group, roster: 300, senderKey: text('shared'), devices: [{ ...body, member: 900 }] },
  },
  'raw to a thing': { raw: { peer: thing, raw: text('on') } },
  'read marks of two conversations': {
    receipts: {
      items: [
        { peer, read: SEQ, played: [SEQ - 5, SEQ] },
        { group, read: SEQ },
      ],
    },
  },
  'a page of what is waiting': { sync: { peer, afterSeq: SEQ, limit: 50 } },
  'group log': { groupLog: { group, fromEpoch: 12 } },
  'group change': { stamp: STAMP, groupChange: { entry: text('entry'), signature: new Uint8Array(64).fill(7) } },
  withdrawal: { stamp: STAMP, withdraw: { peer, seqs: [SEQ, SEQ + 1] } },
  'largest numbers': { stamp: Number.MAX_SAFE_INTEGER, sync: { peer }, expiresInS: 2_592_000, afterSeq: 2 ** 53 - 1 },
} as const

const said = { peer, device: 1, seq: SEQ }
const deliveries = {
  whisper: { whisper: text('ciphertext'), ...said },
  'own copy': { whisper: text('ciphertext'), ...said, device: 2, own: true },
  prekey: { prekey: text('first'), ...said },
  plaintext: { plaintext: text('retry'), ...said, group },
  raw: { raw: text('on'), peer: thing, device: 1, seq: SEQ },
  'empty body': { whisper: new Uint8Array(0), ...said },
  'group body with a distribution': {
    senderKey: text('shared'),
    group,
    device: 1,
    seq: SEQ,
    member: 900,
    distribution: { whisper: text('key'), device: 1 },
  },
  'accepted of three requests, delivered': {
    receipts: {
      items: [{ peer, delivered: SEQ, accepted: [STAMP, SEQ, STAMP + 1, SEQ + 1, STAMP + 700, SEQ + 16_384 * 700] }],
    },
  },
  'read by six of a group, expired, read by another device': {
    receipts: {
      items: [
        { group, read: SEQ, count: 6 },
        { peer, expired: [SEQ, SEQ + 2] },
        { peer, read: SEQ, own: true },
      ],
    },
  },
  'caught up': { caughtUp: { serverMs: STAMP, wire: 1 } },
  'stale devices': {
    error: {
      stamp: STAMP,
      code: 22,
      retry: 1,
      missing: [{ device: 4, registrationId: 99 }],
      extra: [{ device: 2 }],
      stale: [{ device: 1, registrationId: 16_000 }],
    },
  },
  'stamp behind': { error: { stamp: STAMP, code: 40, retry: 1, lastStamp: STAMP + 5 } },
  overloaded: { error: { stamp: STAMP, code: 60, retry: 2, retryInS: 30 } },
  'notice: gap of 12': { notice: { gap: 12 } },
  'notice: session ends': { notice: { revoked: 0 } },
  'notice: prekeys low': { notice: { prekeysLow: { ec: 3 } } },
  gone: { gone: { seqs: [SEQ, SEQ + 1] }, peer },
  'group entry': { entry: { entry: text('entry'), signature: new Uint8Array(64).fill(7) }, group, seq: SEQ },
} as const

const nows = {
  typing: { typing: 1, peer },
  'typing, unspecified': { typing: 0, peer },
  presence: { presence: { state: 3, lastSeen: 1_764_000_000 }, peer },
  watch: { watch: { users: [peer, thing] } },
  'call candidate': { signal: { call: 0xfedcba9876543210n, sealed: text('sealed') }, peer, device: 2 },
} as const

export function goldenOf<T>(
  message: MessageType,
  cases: Readonly<Record<string, T>>,
  encode: (fields: T) => Uint8Array,
): Golden[] {
  return Object.entries(cases).map(([name, fields]) => {
    const bytes = encode(fields)
    return { name, message, hex: Buffer.from(bytes).toString('hex'), json: oracleJson(message, bytes) }
  })
}

/** All messages, in the order of the file. */
export function goldens(): readonly Golden[] {
  return [
    ...goldenOf('SendRequest', requests, encodeSendRequest),
    ...goldenOf('Delivery', deliveries, encodeDelivery),
    ...goldenOf('Now', nows, encodeNow),
  ]
}

export const goldenFile = new URL('golden.json', import.meta.url)

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(goldenFile, `${JSON.stringify(goldens(), undefined, 2)}\n`)
}
