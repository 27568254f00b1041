import assert from 'node:assert/strict'
import fc from 'fast-check'
import {
  type DeliveryHead,
  decodeDelivery,
  decodeNow,
  decodeSendRequest,
  deliverySize,
  encodeDelivery,
  encodeNow,
  encodeSendRequest,
  type Receipt,
  receiptsSize,
  varintSize,
  writeDelivery,
  writeReceiptsDelivery,
  writeVarint,
} from '../../topics/codec.ts'
import { bytes, delivery, id, mutation, now, receipts, sendRequest, uint64 } from './arbitraries.ts'
import { oracleBytes, oracleView, viewOf, viewOfRequest } from './oracle.ts'

const RUNS = { numRuns: 400 }
const MANY_RUNS = { numRuns: 4_000 }
const EDGE = 0xa5

/** Lets `write` fill exactly `size` bytes in the middle of a buffer; fails when it touches another byte. */
function written(size: number, write: (target: Uint8Array, at: number) => number): Uint8Array {
  const target = new Uint8Array(size + 16).fill(EDGE)
  assert.equal(write(target, 8), 8 + size)
  assert.ok([...target.subarray(0, 8), ...target.subarray(8 + size)].every((byte) => byte === EDGE))
  return target.slice(8, 8 + size)
}

/** The bytes in the middle of others, as a request stands in a frame. */
function embedded(payload: Uint8Array): { frame: Buffer; start: number; end: number } {
  const frame = Buffer.concat([Buffer.alloc(7, EDGE), payload, Buffer.alloc(9, EDGE)])
  return { frame, start: 7, end: 7 + payload.length }
}

const receiptOf = (said: Partial<Receipt>): Receipt => ({
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
})

describe('the codec and protobufjs', () => {
  it('write the same bytes for any SendRequest, and read them alike wherever they stand', () => {
    const property = fc.property(sendRequest, (request) => {
      const payload = encodeSendRequest(request)
      assert.deepEqual(Buffer.from(payload), Buffer.from(oracleBytes('SendRequest', request)))
      const { frame, start, end } = embedded(payload)
      const decoded = decodeSendRequest(frame, start, end)
      assert.ok(!decoded.fault, decoded.fault ? decoded.text : '')
      assert.deepEqual(viewOfRequest(frame, decoded), oracleView('SendRequest', payload))
      const { pair } = decoded
      if (pair !== undefined) assert.ok(frame.subarray(pair.peerAt, pair.peerAt + 16).equals(pair.peer))
    })
    fc.assert(property, RUNS)
  })

  it('write the same bytes for any Delivery, and read them alike', () => {
    const property = fc.property(delivery, (message) => {
      const payload = encodeDelivery(message)
      assert.deepEqual(Buffer.from(payload), Buffer.from(oracleBytes('Delivery', message)))
      const decoded = decodeDelivery(payload)
      assert.ok(!decoded.fault)
      assert.deepEqual(viewOf(decoded), oracleView('Delivery', payload))
      assert.deepEqual(Buffer.from(encodeDelivery(decoded)), Buffer.from(payload))
    })
    fc.assert(property, RUNS)
  })

  it('write the same bytes for any Now, and read them alike', () => {
    const property = fc.property(now, (message) => {
      const payload = encodeNow(message)
      assert.deepEqual(Buffer.from(payload), Buffer.from(oracleBytes('Now', message)))
      const { frame, start, end } = embedded(payload)
      const decoded = decodeNow(frame, start, end)
      assert.ok(!decoded.fault, decoded.fault ? decoded.text : '')
      assert.deepEqual(viewOf(decoded), oracleView('Now', payload))
    })
    fc.assert(property, RUNS)
  })

  it('write the same Delivery around a body that is copied from where it stands', () => {
    const names = { 1: 'raw', 2: 'whisper', 3: 'prekey', 7: 'senderKey', 8: 'plaintext' } as const
    const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })
    const head = fc.record({
      field: fc.constantFrom(1, 2, 3, 7, 8),
      body: fc.oneof(
        bytes(0, 130),
        fc.integer({ min: 16_380, max: 16_390 }).map((size) => new Uint8Array(size).fill(7)),
      ),
      peer: optional(id),
      group: optional(id),
      device: optional(fc.integer({ min: 1, max: 127 })),
      seq: optional(uint64),
      member: optional(fc.integer({ min: 1, max: 2_000 })),
      own: fc.boolean(),
    })
    const property = fc.property(head, ({ field, body, device, seq, member, own, ...ids }) => {
      const { frame: source, start, end } = embedded(body)
      const numbers = { device: device ?? 0, seq: seq ?? 0, member: member ?? 0 }
      const d = { field, source, start, end, own, ...ids, ...numbers } as DeliveryHead
      const given = { [names[field as keyof typeof names]]: body, ...ids, device, seq, member, own: own || undefined }
      const expected = Buffer.from(oracleBytes('Delivery', given))
      assert.deepEqual(Buffer.from(written(deliverySize(d), (target, at) => writeDelivery(target, at, d))), expected)
    })
    fc.assert(property, RUNS)
  })

  it('write the same Delivery of receipts, accepted pairs as differences', () => {
    const property = fc.property(receipts, (items) => {
      const whole = items.map(receiptOf)
      const payload = written(receiptsSize(whole), (target, at) => writeReceiptsDelivery(target, at, whole))
      assert.deepEqual(Buffer.from(payload), Buffer.from(oracleBytes('Delivery', { receipts: { items } })))
      const decoded = decodeDelivery(payload)
      assert.ok(!decoded.fault)
      assert.deepEqual(decoded.receipts?.items, whole)
    })
    fc.assert(property, RUNS)
  })

  it('read the same of a SendRequest after any small damage, or the codec refuses it; it never throws', () => {
    let taken = 0
    const property = fc.property(
      sendRequest,
      fc.array(mutation, { minLength: 1, maxLength: 4 }),
      (request, mutations) => {
        const damaged = mutations.reduce((from, mutate) => mutate(from), encodeSendRequest(request))
        const { frame, start, end } = embedded(damaged)
        const decoded = decodeSendRequest(frame, start, end)
        if (decoded.fault) return
        taken += 1
        assert.deepEqual(viewOfRequest(frame, decoded), oracleView('SendRequest', damaged))
      },
    )
    fc.assert(property, MANY_RUNS)
    assert.ok(taken > 20, `only ${taken} damaged requests were readable`)
  })

  it('read the same of a Now after any small damage, or the codec refuses it; it never throws', () => {
    const property = fc.property(now, fc.array(mutation, { minLength: 1, maxLength: 3 }), (message, mutations) => {
      const damaged = mutations.reduce((from, mutate) => mutate(from), encodeNow(message))
      const decoded = decodeNow(damaged)
      if (!decoded.fault) assert.deepEqual(viewOf(decoded), oracleView('Now', damaged))
    })
    fc.assert(property, MANY_RUNS)
  })
})

describe('the codec', () => {
  it('never throws for bytes that never were a message', () => {
    const property = fc.property(bytes(0, 64), (given) => {
      assert.equal(typeof decodeSendRequest(given, 0, given.length).fault, 'boolean')
      assert.equal(typeof decodeDelivery(given).fault, 'boolean')
      assert.equal(typeof decodeNow(given).fault, 'boolean')
    })
    fc.assert(property, MANY_RUNS)
  })

  it('never throws for a Delivery after any small damage', () => {
    const property = fc.property(delivery, fc.array(mutation, { minLength: 1, maxLength: 4 }), (message, mutations) => {
      const damaged = mutations.reduce((from, mutate) => mutate(from), encodeDelivery(message))
      assert.equal(typeof decodeDelivery(damaged).fault, 'boolean')
    })
    fc.assert(property, MANY_RUNS)
  })

  it('steps over what a client does not know, and keeps the last of what comes twice', () => {
    const unknown = Buffer.from('f80701' + 'fa0702aabb' + 'fd0701020304' + 'f9070102030405060708', 'hex')
    const payload = Buffer.concat([unknown, encodeDelivery({ whisper: Buffer.from('one'), seq: 7 }), unknown])
    const decoded = decodeDelivery(Buffer.concat([payload, encodeDelivery({ raw: Buffer.from('two'), seq: 8 })]))
    assert.ok(!decoded.fault)
    assert.deepEqual(viewOf(decoded), { kind: 'raw', raw: `0x${Buffer.from('two').toString('hex')}`, seq: '8' })
  })

  it('writes varints of every length as protobufjs does', () => {
    const property = fc.property(uint64, (value) => {
      const bytesOfVarint = written(varintSize(value), (target, at) => writeVarint(target, at, value))
      const expected = oracleBytes('SendRequest', { stamp: value }).subarray(1)
      assert.deepEqual(Buffer.from(bytesOfVarint), Buffer.from(expected))
    })
    fc.assert(property, RUNS)
  })

  it('gives every message all its keys in one order, so that they share a hidden class', () => {
    const keys = new Set<string>()
    const property = fc.property(sendRequest, (request) => {
      const payload = encodeSendRequest(request)
      keys.add(Object.keys(decodeSendRequest(payload, 0, payload.length)).join())
    })
    fc.assert(property, RUNS)
    assert.equal(keys.size, 1)
  })

  it('refuses to write a number that is not whole, negative or not below 2^53, and pairs that do not rise', () => {
    for (const seq of [-1, 0.5, Number.NaN, 2 ** 53]) {
      assert.throws(() => encodeDelivery({ seq }), RangeError)
    }
    for (const accepted of [[5], [5, 5, 4, 6], [5, 5, 6, 4]]) {
      assert.throws(() => receiptsSize([receiptOf({ accepted })]), RangeError)
      assert.throws(() => encodeDelivery({ receipts: { items: [{ accepted }] } }), RangeError)
    }
  })

  it('refuses a range that is not within the bytes, which is a bug of the caller', () => {
    const payload = encodeSendRequest({ stamp: 1, sync: { peer: new Uint8Array(16) } })
    assert.throws(() => decodeSendRequest(payload, 0, payload.length + 1), RangeError)
    assert.throws(() => decodeSendRequest(payload, 5, 4), RangeError)
    assert.throws(() => decodeSendRequest(payload, -1, 4), RangeError)
  })
})
