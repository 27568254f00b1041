import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import {
  decodeContent,
  decodeDelivery,
  decodeNow,
  decodeSendRequest,
  encodeContent,
  encodeDelivery,
  encodeNow,
} from '../../topics/codec.ts'
import { type Golden, goldenFile, goldens } from './golden.ts'
import { contentGoldenFile, contentGoldens } from './golden-content.ts'
import { messageType, oracleView, viewOf, viewOfRequest } from './oracle.ts'

const envelopes = JSON.parse(readFileSync(goldenFile, 'utf8')) as Golden[]
const contents = JSON.parse(readFileSync(contentGoldenFile, 'utf8')) as Golden[]
const kept = [...envelopes, ...contents]

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
  Content(bytes: Uint8Array): void {
    const decoded = decodeContent(bytes)
    assert.ok(!decoded.fault)
    assert.deepEqual(viewOf(decoded), oracleView('Content', bytes))
    assert.ok(Buffer.from(encodeContent(decoded)).equals(bytes))
  },
}

describe('the golden bytes', () => {
  it('are what the codec writes: run node test/wire/golden.ts after a change of the format', () => {
    assert.deepEqual(envelopes, JSON.parse(JSON.stringify(goldens())))
  })

  it('of contents too: run node test/wire/golden-content.ts', () => {
    assert.deepEqual(contents, JSON.parse(JSON.stringify(contentGoldens())))
  })

  it('have every kind of SendRequest, Delivery, Now and Content', () => {
    for (const name of ['SendRequest', 'Delivery', 'Now', 'Content'] as const) {
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
