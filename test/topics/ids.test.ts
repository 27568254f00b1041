import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import {
  base32,
  isDeviceId,
  isHandle,
  isThingUser,
  newUserId,
  pairConversation,
  parseBase32,
  parseUuid,
  SEQ_EPOCH_MS,
  seqFromMs,
  seqToUnixMs,
  uuidText,
} from '../../topics/ids.ts'
import { limits } from '../../topics/limits.ts'

const id = fc.uint8Array({ minLength: 16, maxLength: 16 })
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'

/** RFC 4648 by arithmetic on one large number: slow, and nothing in common with the code. */
function base32ByArithmetic(bytes: Uint8Array): string {
  let rest = BigInt(`0x${Buffer.from(bytes).toString('hex')}`) << 2n
  let text = ''
  for (let i = 0; i < 26; i += 1) {
    text = ALPHABET[Number(rest & 31n)] + text
    rest >>= 5n
  }
  return text
}

describe('a device id', () => {
  it('has 1 to 12 characters of a-z and 0-9', () => {
    for (const text of ['a', '0', 's00000000001', 'z'.repeat(limits.deviceIdCharsMax)])
      assert.ok(isDeviceId(text), text)
    const wrong = [
      '',
      'z'.repeat(limits.deviceIdCharsMax + 1),
      'A',
      'a-b',
      'a/b',
      '+',
      '#',
      'a\n',
      'ä',
      'a b',
      'a\0',
      '$sys',
    ]
    for (const text of wrong) assert.ok(!isDeviceId(text), text)
  })
})

describe('a handle', () => {
  it('has 3 to 32 characters of a-z 0-9 _ . and begins with a letter', () => {
    for (const text of ['abc', 'a.1', 'a__', 'z'.repeat(limits.handleCharsMax)]) assert.ok(isHandle(text), text)
    const wrong = ['ab', '1ab', '_ab', '.ab', 'Abc', 'ab-c', 'abc\n', '@abc', 'z'.repeat(limits.handleCharsMax + 1)]
    for (const text of wrong) assert.ok(!isHandle(text), text)
  })
})

describe('a user id', () => {
  it('is written as a UUID and read back, in lower case only', () => {
    const bytes = Uint8Array.from({ length: 16 }, (_, i) => i * 17)
    assert.equal(uuidText(bytes), '00112233-4455-6677-8899-aabbccddeeff')
    assert.deepEqual(parseUuid('00112233-4455-6677-8899-aabbccddeeff'), bytes)
    for (const text of [
      '00112233-4455-6677-8899-AABBCCDDEEFF',
      '00112233445566778899aabbccddeeff',
      '',
      `{${uuidText(bytes)}}`,
    ]) {
      assert.equal(parseUuid(text), undefined)
    }
    fc.assert(fc.property(id, (given) => assert.deepEqual(parseUuid(uuidText(given)), given)))
  })

  it('is written in 26 characters of base32 and read back', () => {
    const property = fc.property(id, (bytes) => {
      assert.equal(base32(bytes), base32ByArithmetic(bytes))
      assert.deepEqual(parseBase32(base32(bytes)), bytes)
    })
    fc.assert(property)
  })

  it('has one text only: another case, length or last character with spare bits is none', () => {
    const text = base32(new Uint8Array(16).fill(255))
    assert.equal(text, '77777777777777777777777774')
    for (const last of '567') assert.equal(parseBase32(text.slice(0, -1) + last), undefined, last)
    const property = fc.property(
      fc.string({ unit: fc.constantFrom(...ALPHABET), minLength: 26, maxLength: 26 }),
      (given) => {
        const bytes = parseBase32(given)
        if (bytes !== undefined) assert.equal(base32(bytes), given)
      },
    )
    fc.assert(property)
    const lower = base32(Uint8Array.from({ length: 16 }, (_, i) => i))
    for (const wrong of [
      lower.toUpperCase(),
      text.slice(1),
      `${text}a`,
      `${text.slice(1)}1`,
      `${text.slice(1)}=`,
      '',
    ]) {
      assert.equal(parseBase32(wrong), undefined, wrong)
    }
  })

  it('of a thing is a UUID of version 8, of a person one of version 4', () => {
    const random = new Uint8Array(16).fill(255)
    assert.equal(uuidText(newUserId('thing', random)), 'ffffffff-ffff-8fff-bfff-ffffffffffff')
    assert.equal(uuidText(newUserId('person', random)), 'ffffffff-ffff-4fff-bfff-ffffffffffff')
    assert.ok(
      random.every((byte) => byte === 255),
      'the random bytes stay as they were',
    )
    fc.assert(
      fc.property(id, (given) => isThingUser(newUserId('thing', given)) && !isThingUser(newUserId('person', given))),
    )
    assert.ok(!isThingUser(new Uint8Array(15).fill(0x80)))
  })

  it('of another length is refused', () => {
    const short = new Uint8Array(15)
    for (const use of [uuidText, base32, (given: Uint8Array) => newUserId('thing', given)]) {
      assert.throws(() => use(short), RangeError)
    }
    assert.throws(() => pairConversation(short, new Uint8Array(16)), RangeError)
    assert.throws(() => pairConversation(new Uint8Array(16), short), RangeError)
  })
})

describe('the conversation of a pair', () => {
  it('is the hash that WIRE rule 3 says, the same from both sides', () => {
    const lower = new Uint8Array(16).fill(1)
    const higher = new Uint8Array(16).fill(200)
    const whole = Buffer.concat([Buffer.from('heliograph:pair:v1\0', 'latin1'), lower, higher])
    const expected = createHash('sha256').update(whole).digest().subarray(0, 16)
    assert.deepEqual(Buffer.from(pairConversation(lower, higher)), expected)
    assert.deepEqual(pairConversation(higher, lower), pairConversation(lower, higher))
  })

  it('is another one for every other pair', () => {
    const property = fc.property(id, id, id, (a, b, c) => {
      fc.pre(!Buffer.from(b).equals(c))
      assert.notDeepEqual(pairConversation(a, b), pairConversation(a, c))
    })
    fc.assert(property)
  })
})

describe('seq', () => {
  it('has the milliseconds since 2025 in its high part', () => {
    assert.equal(SEQ_EPOCH_MS, Date.parse('2025-01-01T00:00:00Z'))
    assert.equal(seqFromMs(SEQ_EPOCH_MS + 1), 16_384)
    assert.equal(seqToUnixMs(16_384 + 16_383), SEQ_EPOCH_MS + 1)
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2 ** 38 }),
        (ms) => seqToUnixMs(seqFromMs(SEQ_EPOCH_MS + ms)) === SEQ_EPOCH_MS + ms,
      ),
    )
  })

  it('is a safe integer until 2042, and not negative with a clock before 2025', () => {
    assert.ok(Number.isSafeInteger(seqFromMs(Date.parse('2042-01-01T00:00:00Z'))))
    assert.equal(seqFromMs(0), 0)
    assert.equal(seqFromMs(SEQ_EPOCH_MS + 1.9), 16_384)
  })
})
