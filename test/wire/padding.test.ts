import assert from 'node:assert/strict'
import fc from 'fast-check'
import { encodeContent, pad, unpad } from '../../topics/codec.ts'
import { limits } from '../../topics/limits.ts'
import { bytes } from './arbitraries.ts'

const id = new Uint8Array(16).fill(7)

function textOf(characters: number): Uint8Array {
  return encodeContent({ id, conversation: id, post: { text: 'x'.repeat(characters) } })
}

describe('the padding of a content', () => {
  it('comes off again, whatever the content ends with, and is never longer than a step', () => {
    const tails = fc.oneof(fc.constant('' as const), fc.constantFrom('80', '00', '8000', '808000', '0080'))
    const property = fc.property(bytes(0, 400), tails, (head, tail) => {
      const content = Buffer.concat([head, Buffer.from(tail, 'hex')])
      const padded = pad(content)
      assert.equal(padded.length % 80, 79)
      assert.ok(padded.length > content.length && padded.length <= content.length + 80)
      assert.deepEqual(Buffer.from(unpad(padded) ?? ''), content)
    })
    fc.assert(property, { numRuns: 1_000 })
  })

  it('changes the length at 78 and 79 bytes, where AES-CBC then makes 80 and 160', () => {
    assert.deepEqual(
      [0, 78, 79, 158, 159].map((size) => pad(new Uint8Array(size)).length),
      [79, 79, 159, 159, 239],
    )
  })

  it('makes 159 bytes of a text of 100 characters, and of any of 39 to 118', () => {
    assert.equal(pad(textOf(100)).length, 159)
    assert.deepEqual(
      [38, 39, 118, 119].map((characters) => pad(textOf(characters)).length),
      [79, 159, 159, 239],
    )
  })

  it('does not change what it is given, and gives bytes of its own', () => {
    const content = Uint8Array.of(1, 2, 3)
    const padded = pad(content)
    padded[0] = 9
    assert.deepEqual(content, Uint8Array.of(1, 2, 3))
  })

  it('takes a content of the largest size and not one byte more', () => {
    const largest = new Uint8Array(limits.contentBytesMax).fill(5)
    const padded = pad(largest)
    assert.ok(Buffer.from(unpad(padded) ?? '').equals(largest))
    assert.throws(() => pad(new Uint8Array(limits.contentBytesMax + 1)), RangeError)
    const longer = new Uint8Array(padded.length + 80)
    longer.set(padded)
    assert.ok(unpad(longer) === undefined)
  })

  it('is refused when it is malformed: no mark, another length, nothing but zeros', () => {
    const padded = pad(textOf(100))
    const withoutMark = padded.map((byte) => (byte === 0x80 ? 0 : byte))
    assert.equal(unpad(withoutMark), undefined)
    assert.equal(unpad(padded.subarray(1)), undefined)
    assert.equal(unpad(Buffer.concat([padded, Buffer.of(0)])), undefined)
    assert.equal(unpad(new Uint8Array(79)), undefined)
    assert.equal(unpad(new Uint8Array(0)), undefined)
    assert.equal(unpad(new Uint8Array(79).fill(1)), undefined)
  })

  it('may be longer than needed: a sender may hide more', () => {
    const content = textOf(10)
    const more = Buffer.concat([content, Buffer.of(0x80), Buffer.alloc(79 + 160 - content.length - 1)])
    assert.deepEqual(Buffer.from(unpad(more) ?? ''), Buffer.from(content))
  })
})
