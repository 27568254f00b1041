import assert from 'node:assert/strict'
import { decodeNow, decodeSendRequest, encodeNow, encodeSendRequest, URGENCY } from '../../topics/codec.ts'
import type { ErrorCode } from '../../topics/errors.ts'
import { limits } from '../../topics/limits.ts'

const STAMP = 1_764_000_000_123
const peer = new Uint8Array(16).fill(1)
const group = new Uint8Array(16).fill(2)
const body = { whisper: new Uint8Array([1, 2, 3]), device: 1, registrationId: 77 }
const stampField = encodeSendRequest({ stamp: STAMP })
const whole = encodeSendRequest({ stamp: STAMP, pair: { peer, devices: [body] }, afterSeq: 9 })

const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex')
const join = (...parts: Uint8Array[]): Uint8Array => Buffer.concat(parts)

/** A field of bytes with a length of less than 128. */
const field = (number: number, content: Uint8Array): Uint8Array =>
  join(Uint8Array.of(number * 8 + 2, content.length), content)
const pairOf = (...parts: Uint8Array[]): Uint8Array => join(stampField, field(2, join(field(4, peer), ...parts)))
const receiptsOf = (...parts: Uint8Array[]): Uint8Array =>
  join(stampField, field(5, field(1, join(field(4, peer), ...parts))))

function assertFault(payload: Uint8Array, code: ErrorCode, text: RegExp, stamp = STAMP): void {
  const decoded = decodeSendRequest(payload, 0, payload.length)
  assert.ok(decoded.fault, `taken: ${Buffer.from(payload.subarray(0, 64)).toString('hex')}`)
  assert.match(decoded.text, text)
  assert.deepEqual({ code: decoded.code, stamp: decoded.stamp }, { code, stamp })
}

function assertTaken(payload: Uint8Array): void {
  const decoded = decodeSendRequest(payload, 0, payload.length)
  assert.ok(!decoded.fault, decoded.fault ? decoded.text : '')
}

describe('a SendRequest is refused', () => {
  it('at every place where it can be cut off, except between two whole fields', () => {
    const ends = [stampField.length, whole.length - encodeSendRequest({ afterSeq: 9 }).length]
    for (let end = 0; end < whole.length; end += 1) {
      const decoded = decodeSendRequest(whole, 0, end)
      assert.equal(decoded.fault, end !== ends[1], `cut after ${end} bytes`)
      if (decoded.fault) assert.equal(decoded.stamp, end < stampField.length ? 0 : STAMP)
    }
  })

  it('for a field that is not known, naming its number, at the top and inside', () => {
    assertFault(join(whole, hex('f007 01')), 'unknown_field', /^SendRequest field 126 is not known$/)
    assertFault(join(hex('c201 00'), whole), 'unknown_field', /^SendRequest field 24 is not known$/)
    assertFault(pairOf(field(7, peer)), 'unknown_field', /^PairMessage field 7 is not known$/)
    assertFault(pairOf(field(1, hex('6001'))), 'unknown_field', /^DeviceBody field 12 is not known$/)
    assertFault(receiptsOf(hex('3001')), 'unknown_field', /^Receipt field 6 is not known$/)
    assertFault(join(stampField, field(5, hex('1000'))), 'unknown_field', /^Receipts field 2 is not known$/)
    assertFault(join(stampField, field(4, hex('1000'))), 'unknown_field', /^RawMessage field 2 is not known$/)
    assertFault(join(stampField, field(3, hex('2000'))), 'unknown_field', /^GroupMessage field 4 is not known$/)
    assertFault(join(stampField, field(7, hex('1800'))), 'unknown_field', /^Sync field 3 is not known$/)
    assertFault(join(stampField, field(8, hex('1000'))), 'unknown_field', /^GroupLogRequest field 2 is not known$/)
    assertFault(join(stampField, field(9, hex('1800'))), 'unknown_field', /^SignedEntry field 3 is not known$/)
    assertFault(join(stampField, field(10, hex('1000'))), 'unknown_field', /^Withdraw field 2 is not known$/)
  })

  it('for a reserved field: what it is for is not there yet', () => {
    assertFault(join(whole, field(6, peer)), 'unknown_field', /^SendRequest field 6 is reserved$/)
    assertFault(join(whole, hex('7001')), 'unknown_field', /^SendRequest field 14 is reserved$/)
    assertFault(join(whole, hex('7a00')), 'unknown_field', /^SendRequest field 15 is reserved$/)
    assertFault(pairOf(field(1, field(6, peer))), 'unknown_field', /^DeviceBody field 6 is reserved$/)
  })

  it('for a field of another wire type', () => {
    assertFault(join(whole, hex('5a00')), 'malformed', /^SendRequest field 11 cannot have wire type 2$/)
    assertFault(join(hex('0d01020304'), whole), 'malformed', /^SendRequest field 1 cannot have wire type 5$/)
    assertFault(join(stampField, hex('1001')), 'malformed', /^SendRequest field 2 cannot have wire type 0$/)
    assertFault(pairOf(hex('2001')), 'malformed', /^PairMessage field 4 cannot have wire type 0$/)
    assertFault(join(whole, hex('5b5c')), 'malformed', /^SendRequest field 11 cannot have wire type 3$/)
    assertFault(join(whole, hex('00')), 'malformed', /^field 0 does not exist$/)
  })

  it('for a second occurrence of a field, a kind or a body', () => {
    assertFault(join(whole, stampField), 'malformed', /^SendRequest field 1 occurs twice$/)
    assertFault(join(whole, hex('6809')), 'malformed', /^SendRequest field 13 occurs twice$/)
    assertFault(join(whole, encodeSendRequest({ sync: { peer } })), 'malformed', /^SendRequest has two kinds$/)
    assertFault(join(pairOf(), field(2, field(4, peer))), 'malformed', /^SendRequest has two kinds$/)
    assertFault(pairOf(field(4, peer)), 'malformed', /^PairMessage field 4 occurs twice$/)
    assertFault(pairOf(hex('1801 1801')), 'malformed', /^PairMessage field 3 occurs twice$/)
    assertFault(pairOf(field(1, hex('120101 1a0101'))), 'malformed', /^DeviceBody has two bodies$/)
    assertFault(pairOf(field(1, hex('120101 120101'))), 'malformed', /^DeviceBody has two bodies$/)
    assertFault(pairOf(field(1, hex('4801 4801'))), 'malformed', /^DeviceBody field 9 occurs twice$/)
    assertFault(receiptsOf(hex('1001 1001')), 'malformed', /^Receipt field 2 occurs twice$/)
  })

  it('for a number of more than ten bytes, of 2^53 or more, or of more than 32 bits', () => {
    const rest = encodeSendRequest({ sync: { peer } })
    assertFault(join(hex('08 8080808080808080808001'), rest), 'malformed', /more than ten bytes/, 0)
    assertFault(join(hex('08 8080808080808010'), rest), 'malformed', /not below 2\^53/, 0)
    assertFault(join(hex('08 ffffffffffffffffff01'), rest), 'malformed', /not below 2\^53/, 0)
    assertTaken(join(hex('08 ffffffffffffff0f'), rest))
    assertTaken(join(hex('08 81808080808080808000'), rest))
    assertFault(join(stampField, rest, hex('60 8080808010')), 'malformed', /not below 2\^32/)
    assertFault(join(stampField, rest, hex('8080808010 01')), 'malformed', /not below 2\^32/)
    assertFault(join(stampField, rest, hex('e880808080 00 09')), 'malformed', /more than five bytes/)
  })

  it('for a user or group that has not 16 bytes or is not there', () => {
    const short = peer.subarray(1)
    const long = new Uint8Array(17)
    for (const wrong of [short, long, new Uint8Array(0)]) {
      assertFault(join(stampField, field(2, field(4, wrong))), 'malformed', /^peer has not 16 bytes$/)
      assertFault(join(stampField, field(3, field(5, wrong))), 'malformed', /^group has not 16 bytes$/)
      assertFault(join(stampField, field(4, field(4, wrong))), 'malformed', /^peer has not 16 bytes$/)
      assertFault(join(stampField, field(5, field(1, field(5, wrong)))), 'malformed', /^group has not 16 bytes$/)
    }
    assertFault(join(stampField, field(2, hex(''))), 'malformed', /^a pair has no peer$/)
    assertFault(join(stampField, field(3, hex(''))), 'malformed', /^a group message has no group$/)
    assertFault(join(stampField, field(8, hex(''))), 'malformed', /^a group log request has no group$/)
    const both = join(field(4, peer), field(5, group))
    for (const kind of [4, 7, 10]) {
      assertFault(join(stampField, field(kind, hex(''))), 'malformed', /needs a peer or a group, and not both$/)
      assertFault(join(stampField, field(kind, both)), 'malformed', /needs a peer or a group, and not both$/)
    }
    assertFault(join(stampField, field(5, field(1, both))), 'malformed', /needs a peer or a group, and not both$/)
    assertFault(
      join(stampField, field(5, field(1, hex('1005')))),
      'malformed',
      /needs a peer or a group, and not both$/,
    )
  })

  it('without a kind, and without a stamp where it is recorded', () => {
    assertFault(new Uint8Array(0), 'malformed', /^SendRequest has no kind$/, 0)
    assertFault(stampField, 'malformed', /^SendRequest has no kind$/)
    const entry = { entry: peer, signature: new Uint8Array(64) }
    const recorded = [
      { pair: { peer } },
      { group: { group } },
      { groupChange: entry },
      { withdraw: { peer, seqs: [1] } },
    ]
    for (const kind of recorded) {
      assertFault(encodeSendRequest(kind), 'malformed', /^SendRequest has no stamp$/, 0)
      assertTaken(encodeSendRequest({ stamp: 1, ...kind }))
    }
    const queries = [
      { sync: { peer } },
      { groupLog: { group } },
      { receipts: { items: [{ peer, read: 1 }] } },
      { raw: { peer } },
    ]
    for (const kind of queries) assertTaken(encodeSendRequest(kind))
  })

  it('for a value of an enum that is not known', () => {
    assertFault(join(whole, hex('5804')), 'malformed', /^urgency 4 is not known$/)
    assertFault(pairOf(hex('1803')), 'malformed', /^scope 3 is not known$/)
    assertFault(join(stampField, field(3, join(field(5, group), hex('1803')))), 'malformed', /^scope 3 is not known$/)
    assertFault(join(whole, hex('58 ffffffffffffffffff01')), 'malformed', /not below 2\^53/)
  })

  it('for marks that are the server’s to say', () => {
    const servers = [
      hex('0801'),
      hex('3801'),
      hex('3a0101'),
      hex('4001'),
      hex('420101'),
      hex('4801'),
      hex('6001'),
      hex('6801'),
    ]
    for (const said of servers) assertFault(receiptsOf(said), 'malformed', /^Receipt field \d+ is the server's to say$/)
    assertFault(join(stampField, field(5, hex(''))), 'malformed', /^receipts without an item$/)
    assertTaken(receiptsOf(hex('1005 1a020708 1809')))
  })

  it('for a plaintext body that is no retry request, so nobody is downgraded to it', () => {
    const devices = [{ plaintext: body.whisper, device: 1 }]
    for (const scope of [0, 1] as const) {
      const sent = [
        { pair: { peer, devices, scope } },
        { pair: { peer, own: devices, scope } },
        { group: { group, devices, scope } },
      ]
      for (const kind of sent)
        assertFault(encodeSendRequest({ stamp: STAMP, ...kind }), 'malformed', /needs SCOPE_PARTIAL/)
    }
    assertTaken(encodeSendRequest({ stamp: STAMP, pair: { peer, group, devices, scope: 2 } }))
    const encrypted = { peer, group, devices: [body], scope: 2 as const }
    assertFault(encodeSendRequest({ stamp: STAMP, pair: encrypted }), 'malformed', /only with a plaintext body/)
  })

  it('for a member number in a pair, a signature of another length, an entry or a withdrawal of nothing', () => {
    const devices = [{ ...body, member: 3 }]
    assertFault(encodeSendRequest({ stamp: STAMP, pair: { peer, devices } }), 'malformed', /belongs into a group/)
    assertTaken(encodeSendRequest({ stamp: STAMP, group: { group, devices } }))
    const change = (entry: Uint8Array, signature: Uint8Array) =>
      encodeSendRequest({ stamp: STAMP, groupChange: { entry, signature } })
    assertFault(change(peer, new Uint8Array(63)), 'malformed', /signature has not 64 bytes/)
    assertFault(change(new Uint8Array(0), new Uint8Array(64)), 'malformed', /has no entry/)
    assertFault(encodeSendRequest({ stamp: STAMP, withdraw: { peer } }), 'malformed', /without seqs/)
  })

  it('for a call that may ring for too long', () => {
    const call = (expiresInS: number) =>
      encodeSendRequest({ stamp: STAMP, pair: { peer }, urgency: URGENCY.call, expiresInS })
    for (const expiresInS of [0, limits.callExpiresInSMax + 1])
      assertFault(call(expiresInS), 'malformed', /URGENCY_CALL/)
    assertTaken(call(limits.callExpiresInSMax))
  })

  it('with the stamp to answer it by, even where it stands behind the damage', () => {
    assertFault(join(hex('f007 01'), whole), 'unknown_field', /126/)
    assertFault(
      join(field(6, peer), hex('7d01020304 f90701020304050607 08'), stampField),
      'unknown_field',
      /6 is reserved/,
    )
    assertFault(join(hex('0f'), stampField), 'malformed', /wire type 7/, 0)
  })
})

describe('a Now is refused', () => {
  const assertNowFault = (payload: Uint8Array, code: ErrorCode, text: RegExp): void => {
    const decoded = decodeNow(payload)
    assert.ok(decoded.fault)
    assert.match(decoded.text, text)
    assert.equal(decoded.code, code)
  }

  it('for what is unknown, of another wire type, twice, without a kind, or out of range', () => {
    const typing = encodeNow({ typing: 1, peer })
    assertNowFault(join(typing, hex('3001')), 'unknown_field', /^Now field 6 is not known$/)
    assertNowFault(join(typing, hex('4a00')), 'malformed', /^Now field 9 cannot have wire type 2$/)
    assertNowFault(join(typing, field(4, peer)), 'malformed', /^Now field 4 occurs twice$/)
    assertNowFault(join(typing, encodeNow({ watch: {} })), 'malformed', /^Now has two members of its oneof$/)
    assertNowFault(join(typing, hex('0801')), 'malformed', /^Now has two members of its oneof$/)
    assertNowFault(encodeNow({ peer }), 'malformed', /^Now has no kind$/)
    assertNowFault(encodeNow({ typing: 4 }), 'malformed', /^typing 4 is not known$/)
    assertNowFault(encodeNow({ typing: 1, peer: peer.subarray(1) }), 'malformed', /^peer has not 16 bytes$/)
    assertNowFault(encodeNow({ watch: { users: [peer, group.subarray(2)] } }), 'malformed', /^users has not 16 bytes$/)
    assertNowFault(typing.subarray(0, -1), 'malformed', /longer than what is left/)
    assertNowFault(hex('1202 0800 2201'), 'malformed', /longer than what is left/)
    assertNowFault(hex('3a03 0901 02'), 'malformed', /cut off/)
  })
})
