import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { decodeDelivery, decodeNow, decodeSendRequest, encodeDelivery, encodeNow } from '../../topics/codec.ts'
import { type Golden, goldenFile, goldens } from './golden.ts'
import { messageType, oracleView, viewOf, viewOfRequest } from './oracle.ts'

const kept = JSON.parse(readFileSync(goldenFile, 'utf8')) as Golden[]

/** Reads and compares with protobufjs; what the codec can also write from what it read has to be the same bytes. */
const readAs = {
  SendRequest(bytes: Uint8Array): void {
    const decoded = decodeSendRequest(bytes, 0, bytes.length)
    assert.ok(!decoded.fault, decoded.fault ? decoded.text : '')
    assert.deepEqual(viewOfRequest(bytes, decoded), oracleView('SendRequest', bytes))
  },
  Delivery(bytes: Uint8Array): void {
    const decoded = decodeDelivery(bytes)
    assert.ok(!decoded.fault)
    assert.deepEqual(viewOf(decoded), oracleView('Delivery', bytes))
    assert.ok(Buffer.from(encodeDelivery(decoded)).equals(bytes))
  },
  Now(bytes: Uint8Array): void {
    const decoded = decodeNow(bytes)
    assert.ok(!decoded.fault)
    assert.deepEqual(viewOf(decoded), oracleView('Now', bytes))
    assert.ok(Buffer.from(encodeNow(decoded)).equals(bytes))
  },
}

describe('the golden bytes', () => {
  it('are what the codec writes: run node test/wire/golden.ts after a change of the format', () => {
    assert.deepEqual(kept, JSON.parse(JSON.stringify(goldens())))
  })

  it('have every kind of SendRequest, Delivery and Now', () => {
    for (const name of ['SendRequest', 'Delivery', 'Now'] as const) {
      const members = messageType(name).oneofs['kind']?.oneof ?? []
      const seen = kept.filter(({ message }) => message === name).flatMap(({ json }) => Object.keys(json as object))
      assert.deepEqual(
        members.filter((member) => !seen.includes(member)),
        [],
        name,
      )
    }
  })

  for (const { name, message, hex, json } of kept) {
    it(`${message}, ${name}: are read by the codec as by protobufjs, and are its JSON form`, () => {
      const bytes = Buffer.from(hex, 'hex')
      readAs[message](bytes)
      const type = messageType(message)
      assert.equal(
        Buffer.from(type.encode(type.fromObject(json as { [key: string]: unknown })).finish()).toString('hex'),
        hex,
      )
    })
  }
})
