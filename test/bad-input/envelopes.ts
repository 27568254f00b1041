/** Hostile SendRequests (reliability rows: envelope level). */
import type { ErrorCode } from '../../topics/errors.ts'
import { seqFromMs } from '../../topics/ids.ts'
import { limits } from '../../topics/limits.ts'
import { oracleBytes } from '../wire/oracle.ts'
import { field, join, publishBytes, varint } from './bytes.ts'
import { type Attack, CANARY, type Cast } from './scene.ts'

const body = Buffer.from(CANARY)
const ids = (id: number): Uint8Array => new Uint8Array(16).fill(id)

function refused(error: ErrorCode, name: string, payload: (cast: Cast, stamp: number) => Uint8Array): Attack {
  return {
    as: 'person',
    name,
    bytes: (cast) => publishBytes(`d/${cast.me.id}/out`, payload(cast, cast.stamp())),
    answer: { error },
    counted: error,
  }
}

function closed(name: string, payload: (cast: Cast) => Uint8Array): Attack {
  return {
    as: 'person',
    name,
    bytes: (cast) => publishBytes(`d/${cast.me.id}/out`, payload(cast)),
    answer: 'close',
    counted: 'malformed_payload',
  }
}

/** A message to bob that would be taken, but for `change`. */
function toBob({ bob }: Cast, stamp: number, change: object = {}): Uint8Array {
  const devices = [{ whisper: body, device: bob.number, registrationId: bob.registrationId }]
  return oracleBytes('SendRequest', { stamp, pair: { peer: bob.user, devices, ...change } })
}

/** Messages inside each other, so deep that a reader that recurses falls over. */
function nested(depth: number): Buffer {
  let inner = field(2, Buffer.from(CANARY))
  for (let i = 0; i < depth; i++) inner = field(2, inner)
  return inner
}

export const unreadable: readonly Attack[] = [
  closed('a request without a byte', () => new Uint8Array(0)),
  closed('a request that is text', () => Buffer.from(CANARY)),
  closed('a request that is JSON', () => Buffer.from(JSON.stringify({ stamp: 1, text: CANARY }))),
  closed('a request of zeros', () => new Uint8Array(64)),
  closed('a request of ones', () => new Uint8Array(64).fill(255)),
  closed('a request without a stamp', (cast) => toBob(cast, 0)),
  closed('a request whose stamp has more than 53 bits', (cast) => join(field(1, 2n ** 53n), toBob(cast, 0))),
  closed('a request whose stamp has eleven bytes', () => join(8, Buffer.alloc(10, 0x80), 1)),
  closed('a request cut in its stamp', () => Buffer.of(8, 0x80)),
  closed('a query without a stamp', ({ bob }) => oracleBytes('SendRequest', { sync: { peer: bob.user } })),
  closed('nothing but a body of 100 kB', () => field(2, Buffer.alloc(100_000, CANARY))),
]

export const malformedRequests: readonly Attack[] = [
  refused('malformed', 'a request that is a stamp alone', (_, stamp) => field(1, stamp)),
  refused('malformed', 'a request that is cut', (cast, stamp) => toBob(cast, stamp).subarray(0, -1)),
  refused('malformed', 'a request with a byte behind its end', (cast, stamp) => join(toBob(cast, stamp), 0)),
  refused('malformed', 'a request with two kinds', (cast, stamp) =>
    join(toBob(cast, stamp), field(7, field(4, cast.bob.user))),
  ),
  refused('malformed', 'a request with two stamps', (cast, stamp) => join(toBob(cast, stamp), field(1, 5))),
  refused('malformed', 'a request whose length lies', (_, stamp) => join(field(1, stamp), 0x12, varint(5_000), body)),
  refused('malformed', 'a request whose length is 2^52', (_, stamp) =>
    join(field(1, stamp), 0x12, varint(2n ** 52n), body),
  ),
  refused('malformed', 'a group of protobuf', (_, stamp) => join(field(1, stamp), 0x13, 0x14)),
  refused('malformed', 'a peer of 15 bytes', (cast, stamp) =>
    join(field(1, stamp), field(2, join(field(4, cast.bob.user.subarray(1)), field(1, field(2, body))))),
  ),
  refused('malformed', 'messages nested 5,000 deep', (_, stamp) => join(field(1, stamp), nested(5_000))),
  refused('malformed', 'queries nested 5,000 deep', (_, stamp) => join(field(1, stamp), field(7, nested(5_000)))),
  refused('unknown_field', 'a field that nobody knows', (cast, stamp) => join(toBob(cast, stamp), field(126, body))),
  refused('unknown_field', 'a field that is reserved', (cast, stamp) => join(toBob(cast, stamp), field(6, body))),
  refused('unknown_field', 'a sender of its own choice', (cast, stamp) =>
    join(toBob(cast, stamp), field(16, cast.amy.user)),
  ),
  refused('malformed', 'a plaintext between people', ({ bob }, stamp) =>
    oracleBytes('SendRequest', {
      stamp,
      pair: { peer: bob.user, devices: [{ plaintext: body, device: 1, registrationId: 101 }] },
    }),
  ),
  refused('malformed', 'a call that never ends', (cast, stamp) => join(toBob(cast, stamp), field(11, 3))),
  refused('malformed', 'an urgency that nobody knows', (cast, stamp) => join(toBob(cast, stamp), field(11, 4))),
  refused('malformed', 'a scope that nobody knows', (cast, stamp) => toBob(cast, stamp, { scope: 3 })),
]

/** SendRequests with one more than the limit, of what is not covered by bytes of the packet. */
export const tooLarge: readonly Attack[] = [
  refused('too_large', 'a request of a byte more than an envelope may have', (cast, stamp) =>
    toBobOf(limits.envelopeBytesMax + 1, cast, stamp),
  ),
  refused('too_large', 'raw bytes of a byte more than is allowed', ({ victim }, stamp) =>
    oracleBytes('SendRequest', {
      stamp,
      raw: { peer: victim.user, raw: Buffer.alloc(limits.rawBytesMax + 1, CANARY) },
    }),
  ),
  refused('too_large', 'a device more than a list may have', ({ bob }, stamp) => {
    const devices = Array.from({ length: limits.devicesPerRequestMax + 1 }, () => ({ device: 1 }))
    return oracleBytes('SendRequest', { stamp, pair: { peer: bob.user, devices } })
  }),
  refused('too_large', 'a receipt more than a request may have', ({ bob }, stamp) => {
    const items = Array.from({ length: limits.receiptsPerRequestMax + 1 }, () => ({ peer: bob.user, read: 1 }))
    return oracleBytes('SendRequest', { stamp, receipts: { items } })
  }),
  refused('too_large', 'a played message more than a receipt may have', ({ bob }, stamp) => {
    const played = Array.from({ length: limits.seqsPerListMax + 1 }, (_, i) => i + 1)
    return oracleBytes('SendRequest', { stamp, receipts: { items: [{ peer: bob.user, played }] } })
  }),
  refused('too_large', 'a row more than a sync may ask for', ({ bob }, stamp) =>
    oracleBytes('SendRequest', { stamp, sync: { peer: bob.user, limit: limits.syncRowsMax + 1 } }),
  ),
  refused('too_large', 'a second more than a message may wait', (cast, stamp) =>
    join(toBob(cast, stamp), field(12, limits.expiresInSMax + 1)),
  ),
  refused('malformed', 'a second more than a call may wait', (cast, stamp) =>
    join(toBob(cast, stamp), field(11, 3), field(12, limits.callExpiresInSMax + 1)),
  ),
]

/** A message to bob that has so many bytes in all. */
export function toBobOf(bytes: number, cast: Cast, stamp: number): Uint8Array {
  const make = (size: number) =>
    toBob(cast, stamp, { devices: [{ ...whole(cast), whisper: Buffer.alloc(size, CANARY) }] })
  return make(bytes - (make(bytes).length - bytes))
}

function whole({ bob }: Cast): { device: number; registrationId: number } {
  return { device: bob.number, registrationId: bob.registrationId }
}

const pairTo = (peer: Uint8Array, stamp: number, devices: object[], rest: object = {}): Uint8Array =>
  oracleBytes('SendRequest', { stamp, pair: { peer, devices, ...rest } })

export const badRecipients: readonly Attack[] = [
  refused('unknown_recipient', 'a message to nobody', (_, stamp) =>
    pairTo(ids(7), stamp, [{ whisper: body, device: 1 }]),
  ),
  refused('peer_not_a_person', 'an encrypted message to a thing', ({ victim }, stamp) =>
    pairTo(victim.user, stamp, [{ whisper: body, device: 1, registrationId: 101 }]),
  ),
  refused('raw_not_allowed', 'raw bytes to a person', ({ bob }, stamp) =>
    oracleBytes('SendRequest', { stamp, raw: { peer: bob.user, raw: body } }),
  ),
  refused('not_allowed', 'raw bytes to a thing that does not list the sender', ({ victim }, stamp) =>
    oracleBytes('SendRequest', { stamp, raw: { peer: victim.user, raw: body } }),
  ),
  refused('unsupported', 'raw bytes to a group', (_, stamp) =>
    oracleBytes('SendRequest', { stamp, raw: { group: ids(8), raw: body } }),
  ),
  refused('devices_stale', 'a message to a device that does not exist', (cast, stamp) =>
    pairTo(cast.bob.user, stamp, [
      { ...whole(cast), whisper: body },
      { whisper: body, device: 2, registrationId: 9 },
    ]),
  ),
  refused('devices_stale', 'a message that names a device twice', (cast, stamp) =>
    pairTo(cast.bob.user, stamp, [
      { ...whole(cast), whisper: body },
      { ...whole(cast), whisper: body },
    ]),
  ),
  refused('devices_stale', 'a message to a registration that is over', (cast, stamp) =>
    pairTo(cast.bob.user, stamp, [{ ...whole(cast), registrationId: 9, whisper: body }]),
  ),
  refused('devices_stale', "a message that takes another's device for an own", (cast, stamp) =>
    pairTo(cast.bob.user, stamp, [{ ...whole(cast), whisper: body }], { own: [{ ...whole(cast), whisper: body }] }),
  ),
  refused('empty_body', 'a message without a body', (cast, stamp) => pairTo(cast.bob.user, stamp, [whole(cast)])),
  refused('empty_body', 'a message with an empty body', (cast, stamp) =>
    join(
      field(1, stamp),
      field(2, join(field(4, cast.bob.user), field(1, join(field(2, new Uint8Array(0)), field(9, 1))))),
    ),
  ),
  refused('empty_body', 'a message to no device', ({ bob }, stamp) => pairTo(bob.user, stamp, [])),
  refused('seq_ahead', 'an answer to a message of the year 2040', (cast, stamp) =>
    join(toBob(cast, stamp), field(13, seqFromMs(Date.UTC(2040, 0)))),
  ),
  refused('unsupported', 'a message to a group', (_, stamp) =>
    oracleBytes('SendRequest', { stamp, group: { group: ids(8), roster: 1, senderKey: body } }),
  ),
  refused('unsupported', 'a change of a group', (_, stamp) =>
    oracleBytes('SendRequest', { stamp, groupChange: { entry: body, signature: new Uint8Array(64) } }),
  ),
  refused('unsupported', 'the log of a group', (_, stamp) =>
    oracleBytes('SendRequest', { stamp, groupLog: { group: ids(8) } }),
  ),
  refused('unsupported', 'a withdrawal', ({ bob }, stamp) =>
    oracleBytes('SendRequest', { stamp, withdraw: { peer: bob.user, seqs: [1] } }),
  ),
  refused('unsupported', 'a sync', ({ bob }, stamp) => oracleBytes('SendRequest', { stamp, sync: { peer: bob.user } })),
]

const receipts = (...items: Uint8Array[]) => field(5, join(...items.map((item) => field(1, item))))

export const badReceipts: readonly Attack[] = [
  refused('malformed', 'receipts without a receipt', (_, stamp) => join(field(1, stamp), receipts())),
  refused('malformed', 'a receipt of nobody', (_, stamp) => join(field(1, stamp), receipts(field(2, 5)))),
  refused('malformed', "a receipt that says delivered, the server's to say", ({ bob }, stamp) =>
    join(field(1, stamp), receipts(join(field(4, bob.user), field(1, 5)))),
  ),
  refused('malformed', "a receipt that says accepted, the server's to say", ({ bob }, stamp) =>
    join(field(1, stamp), receipts(join(field(4, bob.user), field(8, Buffer.of(1, 2))))),
  ),
  refused('malformed', "a receipt that says expired, the server's to say", ({ bob }, stamp) =>
    join(field(1, stamp), receipts(join(field(4, bob.user), field(7, 5)))),
  ),
  refused('unknown_recipient', 'a receipt for nobody', (_, stamp) =>
    oracleBytes('SendRequest', { stamp, receipts: { items: [{ peer: ids(7), read: 5 }] } }),
  ),
  refused('unsupported', 'a receipt of a group', (_, stamp) =>
    oracleBytes('SendRequest', { stamp, receipts: { items: [{ group: ids(8), read: 5 }] } }),
  ),
]
