import assert from 'node:assert/strict'
import type protobuf from 'protobufjs'
import { content } from '../../topics/codec/content-schema.ts'
import { delivery, type Field, now, type Schema, sendRequest } from '../../topics/codec/schema.ts'
import { REQUEST, SCOPE, URGENCY } from '../../topics/codec.ts'
import { RETRY_LATER, RETRY_NEVER, RETRY_REPAIR } from '../../topics/errors.ts'
import { messageType } from './oracle.ts'

/** Types of fields in the tables by how wire.proto says them. */
const TYPES: Record<string, readonly string[]> = {
  uint32: ['uint32'],
  uint64: ['uint64'],
  bool: ['bool'],
  fixed32: ['fixed32'],
  fixed64: ['fixed64'],
  double: ['double'],
  string: ['string'],
  bytes: ['bytes', 'id'],
  'repeated string': ['strings'],
  'repeated bytes': ['ids', 'bytesList'],
  'repeated uint32': ['uint32s'],
  'repeated uint64': ['uint64s', 'pairs'],
  Enum: ['enum'],
  Type: ['message'],
  'repeated Type': ['messages'],
}

function saidType(field: protobuf.Field): string {
  const type = field.resolvedType === null ? field.type : field.resolvedType.constructor.name
  return (field.repeated ? 'repeated ' : '') + type
}

function largest(field: protobuf.Field): number {
  return Math.max(...Object.values((field.resolvedType as protobuf.Enum).values))
}

function assertField(name: string, said: protobuf.Field, field: Field, done: Set<string>): void {
  assert.equal(field.name, said.name, `${name} field ${said.id}`)
  assert.ok(TYPES[saidType(said)]?.includes(field.type), `${name}.${said.name} is ${saidType(said)}, not ${field.type}`)
  assert.equal(field.isInOneof, said.partOf !== null, `${name}.${said.name} in a oneof`)
  if (field.type === 'enum' && field.max < 100) assert.equal(field.max, largest(said), `${name}.${said.name}`)
  if (field.of !== undefined) assertSame(said.resolvedType as protobuf.Type, field.of, done)
}

/** Compares a message and all that it holds. */
function assertSame(said: protobuf.Type, table: Schema, done: Set<string>): void {
  if (done.has(said.name)) return
  done.add(said.name)
  assert.equal(table.message.name, said.name)
  assert.equal(table.oneof, said.oneofsArray[0]?.name ?? '', `oneof of ${said.name}`)
  assert.equal(table.fields.length, said.fieldsArray.length, `fields of ${said.name}`)
  for (const field of said.fieldsArray) assertField(said.name, field, table.byNumber[field.id] as Field, done)
  for (let number = 1; number < 32; number += 1) {
    const isReserved = (table.message.reserved & (1 << number)) !== 0
    assert.equal(isReserved, said.isReservedId(number), `${said.name} ${number} is reserved`)
    assert.equal((table.message.known & (1 << number)) !== 0, said.fieldsById[number] !== undefined)
  }
}

describe('the field tables', () => {
  it('say what wire.proto says of SendRequest, Delivery, Now and all that is in them', () => {
    const done = new Set<string>()
    assertSame(messageType('SendRequest'), sendRequest, done)
    assertSame(messageType('Delivery'), delivery, done)
    assertSame(messageType('Now'), now, done)
    assert.equal(done.size, 21, [...done].join())
  })

  it('say what wire.proto says of Content and all that is in it', () => {
    const done = new Set<string>()
    assertSame(messageType('Content'), content, done)
    assert.equal(done.size, 18, [...done].join())
  })

  it('have numbers that the masks of the reader can hold', () => {
    for (const name of ['SendRequest', 'Delivery', 'Now', 'Content']) {
      assert.ok(messageType(name).fieldsArray.every(({ id }) => id < 32))
    }
  })

  it('and the constants agree with the enums and the kinds of wire.proto', () => {
    const values = (name: string): number[] => {
      const { parent } = messageType('SendRequest')
      return Object.values((parent as protobuf.Namespace).lookupEnum(name).values)
    }
    assert.deepEqual(Object.values(URGENCY), values('Urgency'))
    assert.deepEqual(Object.values(SCOPE), values('Scope'))
    assert.deepEqual([RETRY_NEVER, RETRY_REPAIR, RETRY_LATER], values('Retry'))
    const kinds = messageType('SendRequest').oneofs['kind']?.fieldsArray.map(({ name, id }) => [name, id]) ?? []
    assert.deepEqual(Object.entries(REQUEST), kinds)
  })
})
