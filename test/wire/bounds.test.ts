import assert from 'node:assert/strict'
import { decodeNow, decodeSendRequest, encodeNow, encodeSendRequest } from '../../topics/codec.ts'
import { limits } from '../../topics/limits.ts'

const peer = new Uint8Array(16).fill(1)
const group = new Uint8Array(16).fill(2)
const STAMP = 5

/** The largest that is taken, and one more than that. */
function assertBound(make: (size: number) => Uint8Array, max: number, text: RegExp): void {
  const allowed = make(max)
  const taken = decodeSendRequest(allowed, 0, allowed.length)
  assert.ok(!taken.fault, taken.fault ? taken.text : '')
  const tooMany = make(max + 1)
  const refused = decodeSendRequest(tooMany, 0, tooMany.length)
  assert.ok(refused.fault, `${max + 1} were taken`)
  assert.match(refused.text, text)
  assert.equal(refused.code, 'too_large')
  assert.equal(refused.stamp, STAMP)
}

const times = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value)

describe('a SendRequest of one more than the limit is refused as too large, with its stamp:', () => {
  it('bytes of the envelope', () => {
    const bare = encodeSendRequest({ stamp: STAMP, pair: { peer, devices: [{ whisper: new Uint8Array(130_000) }] } })
    const around = bare.length - 130_000
    const make = (size: number) =>
      encodeSendRequest({ stamp: STAMP, pair: { peer, devices: [{ whisper: new Uint8Array(size - around) }] } })
    assert.equal(make(limits.envelopeBytesMax).length, limits.envelopeBytesMax)
    assertBound(make, limits.envelopeBytesMax, /more than 131072 bytes/)
  })

  it('raw bytes', () => {
    const make = (size: number) => encodeSendRequest({ stamp: STAMP, raw: { peer, raw: new Uint8Array(size) } })
    assertBound(make, limits.rawBytesMax, /raw has more than 65536 bytes/)
  })

  it('devices of a list', () => {
    const one = { device: 1 }
    const lists = [
      (count: number) => ({ pair: { peer, devices: times(count, one) } }),
      (count: number) => ({ pair: { peer, own: times(count, one) } }),
      (count: number) => ({ group: { group, devices: times(count, one) } }),
    ]
    for (const list of lists) {
      const make = (count: number) => encodeSendRequest({ stamp: STAMP, ...list(count) })
      assertBound(make, limits.devicesPerRequestMax, /more than 2048 devices/)
    }
  })

  it('receipts', () => {
    const make = (count: number) =>
      encodeSendRequest({ stamp: STAMP, receipts: { items: times(count, { peer, read: 1 }) } })
    assertBound(make, limits.receiptsPerRequestMax, /more than 256 receipts/)
  })

  it('seqs of a list, packed or one by one', () => {
    const packed = (count: number) =>
      encodeSendRequest({ stamp: STAMP, receipts: { items: [{ peer, played: times(count, 9) }] } })
    assertBound(packed, limits.seqsPerListMax, /more than 256 entries in played/)
    const withdraw = (count: number) => encodeSendRequest({ stamp: STAMP, withdraw: { peer, seqs: times(count, 9) } })
    assertBound(withdraw, limits.seqsPerListMax, /more than 256 entries in seqs/)
    const single = (count: number) => {
      const party = encodeSendRequest({ sync: { peer } }).subarray(2)
      const content = Buffer.concat([party, Buffer.from('0809'.repeat(count), 'hex')])
      const length = Buffer.from([(content.length & 127) | 128, content.length >>> 7])
      return Buffer.concat([encodeSendRequest({ stamp: STAMP }), Buffer.from([82]), length, content])
    }
    assertBound(single, limits.seqsPerListMax, /more than 256 entries in seqs/)
  })

  it('rows of a sync', () => {
    const make = (limit: number) => encodeSendRequest({ stamp: STAMP, sync: { peer, limit } })
    assertBound(make, limits.syncRowsMax, /sync.limit is above 50/)
  })

  it('seconds until it expires', () => {
    const make = (expiresInS: number) => encodeSendRequest({ stamp: STAMP, pair: { peer }, expiresInS })
    assertBound(make, limits.expiresInSMax, /expires_in_s is above 2592000/)
  })
})

describe('a Now of one more than the limit is refused as too large:', () => {
  const assertNowBound = (make: (size: number) => Uint8Array, max: number): void => {
    const taken = decodeNow(make(max))
    assert.ok(!taken.fault, taken.fault ? taken.text : '')
    const refused = decodeNow(make(max + 1))
    assert.ok(refused.fault)
    assert.equal(refused.code, 'too_large')
  }

  it('bytes', () => {
    const around = encodeNow({ signal: { sealed: new Uint8Array(4_000) } }).length - 4_000
    assertNowBound((size) => encodeNow({ signal: { sealed: new Uint8Array(size - around) } }), limits.nowBytesMax)
  })

  it('users that are watched', () => {
    assertNowBound((count) => encodeNow({ watch: { users: times(count, peer) } }), limits.watchUsersMax)
  })
})
