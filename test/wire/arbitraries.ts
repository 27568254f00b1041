/**
 * Messages that the codec has to take, for property tests. A key is left out where the value would be 0, false or
 * empty.
 */
import fc from 'fast-check'
import { limits } from '../../topics/limits.ts'

export const some = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined })

/** A record whose `undefined` keys are absent. */
export function record(model: { [key: string]: fc.Arbitrary<unknown> }): fc.Arbitrary<Record<string, unknown>> {
  return fc
    .record(model)
    .map((all) => Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)))
}

export const bytes = (min: number, max: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: min, maxLength: max })
export const id = bytes(16, 16)
export const uint32 = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 0xffffffff }))
/** Every length of a varint, with its edges. */
export const uint64 = fc
  .oneof(
    fc.maxSafeNat(),
    fc.integer({ min: 1, max: 20_000 }),
    fc.integer({ min: 0, max: 53 }).map((bits) => Math.max(1, 2 ** bits - 1)),
    fc.integer({ min: 0, max: 52 }).map((bits) => 2 ** bits),
  )
  .map((value) => Math.max(1, value))
const seqs = fc.array(uint64, { minLength: 1, maxLength: 12 })

/** Absolute pairs that rise. */
export const pairs = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 2 ** 40 }), fc.integer({ min: 1, max: 2 ** 48 })), {
    minLength: 1,
    maxLength: 8,
  })
  .map((steps) => {
    const list: number[] = []
    for (const [stamp, seq] of steps) list.push(stamp + (list.at(-2) ?? 0), seq + (list.at(-1) ?? 0))
    return list
  })

const bodyName = fc.constantFrom('whisper', 'prekey')
/** Bodies around each length of their length, and empty ones. */
const content = fc.oneof(bytes(0, 20), bytes(120, 140), bytes(250, 300))
const devicePart = record({ device: some(uint32), registrationId: some(uint32) })

function deviceBodies(name: fc.Arbitrary<string>): fc.Arbitrary<object[] | undefined> {
  const one = fc.tuple(devicePart, some(fc.tuple(name, content))).map(([part, body]) => ({
    ...part,
    ...(body === undefined ? {} : { [body[0]]: body[1] }),
  }))
  return some(fc.array(one, { minLength: 1, maxLength: 4 }))
}

const pair = record({
  peer: id,
  devices: deviceBodies(bodyName),
  own: deviceBodies(bodyName),
  scope: some(fc.constantFrom(1, 2)),
})
const plaintextPair = record({
  peer: id,
  group: some(id),
  devices: fc.array(fc.record({ plaintext: content, device: uint32 }), { minLength: 1, maxLength: 3 }),
  scope: fc.constant(2),
})
const group = record({
  group: id,
  roster: some(uint64),
  senderKey: some(bytes(1, 300)),
  devices: deviceBodies(bodyName),
  scope: some(fc.constantFrom(1, 2)),
})
/** Exactly one of peer and group, and the rest. */
function party(model: { [key: string]: fc.Arbitrary<unknown> }): fc.Arbitrary<Record<string, unknown>> {
  return fc
    .tuple(fc.constantFrom('peer', 'group'), id, record(model))
    .map(([name, value, rest]) => ({ [name]: value, ...rest }))
}
const upReceipt = party({ read: some(uint64), played: some(seqs) })
const receipt = party({
  delivered: some(uint64),
  read: some(uint64),
  played: some(seqs),
  expired: some(seqs),
  accepted: some(pairs),
  member: some(uint32),
  count: some(uint32),
  own: some(fc.constant(true)),
})

const kinds: { [kind: string]: fc.Arbitrary<unknown> } = {
  pair: fc.oneof(pair, plaintextPair),
  group,
  raw: party({ raw: some(bytes(1, 300)) }),
  receipts: fc.record({ items: fc.array(upReceipt, { minLength: 1, maxLength: 4 }) }),
  sync: party({ afterSeq: some(uint64), limit: some(fc.integer({ min: 1, max: limits.syncRowsMax })) }),
  groupLog: record({ group: id, fromEpoch: some(uint64) }),
  groupChange: fc.record({ entry: bytes(1, 200), signature: bytes(64, 64) }),
  withdraw: party({ seqs }),
}

const urgency = fc.oneof(
  record({ urgency: some(fc.constantFrom(1, 2)), expiresInS: some(fc.integer({ min: 1, max: limits.expiresInSMax })) }),
  fc.record({ urgency: fc.constant(3), expiresInS: fc.integer({ min: 1, max: limits.callExpiresInSMax }) }),
)

/** A SendRequest that the server understands, of any kind. */
export const sendRequest = fc
  .constantFrom(...Object.keys(kinds))
  .chain((kind) =>
    fc.tuple(record({ [kind]: kinds[kind] as fc.Arbitrary<unknown>, stamp: uint64, afterSeq: some(uint64) }), urgency),
  )
  .map(([request, how]) => ({ ...request, ...how }))

const deviceList = deviceBodies(fc.constant('whisper'))
const error = record({
  stamp: some(uint64),
  code: some(uint32),
  retry: some(fc.constantFrom(1, 2)),
  retryInS: some(uint32),
  missing: deviceList,
  extra: deviceList,
  stale: deviceList,
  own: some(fc.constant(true)),
  roster: some(uint64),
  epoch: some(uint64),
  lastStamp: some(uint64),
})
const number = fc.oneof(fc.constant(0), uint32)
const notice = fc.oneof(
  fc.record({ prekeysLow: record({ ec: some(uint32), kem: some(uint32) }) }),
  ...['devicesChanged', 'identityChanged', 'profileChanged', 'rosterChanged'].map((name) => fc.record({ [name]: id })),
  ...['revoked', 'reconnectInS', 'gap'].map((name) => fc.record({ [name]: number })),
)
const members: fc.Arbitrary<object>[] = [
  ...['raw', 'whisper', 'prekey', 'senderKey', 'plaintext'].map((name) => fc.record({ [name]: content })),
  fc.record({ receipts: fc.record({ items: fc.array(receipt, { maxLength: 4 }) }) }),
  fc.record({ entry: record({ entry: some(bytes(1, 99)), signature: some(bytes(64, 64)) }) }),
  fc.record({ notice }),
  fc.record({ error }),
  fc.record({ caughtUp: record({ serverMs: some(uint64), wire: some(uint32) }) }),
  fc.record({ gone: record({ seqs: some(seqs) }) }),
  fc.constant({}),
]

/** Any Delivery. */
export const delivery = fc
  .tuple(
    fc.oneof(...members),
    record({
      peer: some(id),
      group: some(id),
      device: some(uint32),
      seq: some(uint64),
      member: some(uint32),
      own: some(fc.constant(true)),
      distribution: some(fc.record({ whisper: content, device: uint32 })),
    }),
  )
  .map(([member, rest]) => ({ ...member, ...rest }))

/** Receipts that the server writes, whole: as `writeReceiptsDelivery` takes them. */
export const receipts = fc.array(receipt, { maxLength: 5 })

/** A Now that the server understands. */
export const now = fc
  .tuple(
    fc.oneof(
      fc.record({ typing: fc.integer({ min: 0, max: 3 }) }),
      fc.record({ presence: record({ state: some(uint32), lastSeen: some(uint32) }) }),
      fc.record({ watch: record({ users: some(fc.array(id, { minLength: 1, maxLength: 5 })) }) }),
      fc.record({
        signal: record({ call: some(fc.bigInt({ min: 1n, max: 2n ** 64n - 1n })), sealed: some(bytes(1, 99)) }),
      }),
    ),
    record({ peer: some(id), group: some(id), device: some(uint32), member: some(uint32) }),
  )
  .map(([kind, rest]) => ({ ...kind, ...rest }))

/** One small change to bytes: flipped, removed, inserted, repeated, cut. */
export type Mutation = (from: Uint8Array) => Uint8Array
const place = fc.double({ min: 0, max: 1, noNaN: true })
export const mutation: fc.Arbitrary<Mutation> = fc
  .tuple(
    fc.constantFrom('flip', 'set', 'remove', 'insert', 'repeat', 'cut'),
    place,
    place,
    fc.integer({ min: 0, max: 255 }),
  )
  .map(([kind, where, howFar, value]) => (from) => {
    const at = Math.floor(where * from.length)
    const end = Math.min(from.length, at + 1 + Math.floor(howFar * 8))
    const [head, part, tail] = [from.subarray(0, at), from.subarray(at, end), from.subarray(end)]
    if (kind === 'flip') return Uint8Array.from(from, (byte, i) => (i === at ? byte ^ (1 << (value & 7)) : byte))
    if (kind === 'set') return Uint8Array.from(from, (byte, i) => (i === at ? value : byte))
    if (kind === 'remove') return Buffer.concat([head, tail])
    if (kind === 'insert') return Buffer.concat([head, Uint8Array.of(value), part, tail])
    return kind === 'repeat' ? Buffer.concat([head, part, part, tail]) : Uint8Array.from(head)
  })
