import assert from 'node:assert/strict'
import { createHash, createPrivateKey, createPublicKey, diffieHellman, randomBytes, sign } from 'node:crypto'
import { PrivateKey, PublicKey } from '@signalapp/libsignal-client'
import { EC_KEY_BYTES, isEcKey, verifyXeddsa } from '../../core/xeddsa.ts'

const ROUNDS = 500
const P = 2n ** 255n - 19n
const bytesOf = (u: bigint): Uint8Array => Buffer.from(u.toString(16).padStart(64, '0'), 'hex').reverse()
const keyOf = (u: bigint): Uint8Array => Uint8Array.from([5, ...bytesOf(u)])
/** The u of small order: RFC 7748 says what they agree on is zero. */
const ORDER_8 = [
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
]
const smallOrder = [keyOf(0n), keyOf(1n), keyOf(P - 1n), ...ORDER_8.map((hex) => Buffer.from(`05${hex}`, 'hex'))]

/** A message, often of the sizes of prekeys, and its signature by libsignal. */
function signed(): { key: Uint8Array; message: Uint8Array<ArrayBuffer>; signature: Uint8Array<ArrayBuffer> } {
  const secret = PrivateKey.generate()
  const sizes = [0, 1, 32, 33, 1_569]
  const message = Uint8Array.from(randomBytes(sizes[(randomBytes(1)[0] as number) % sizes.length] as number))
  return { key: secret.getPublicKey().serialize(), message, signature: secret.sign(message) }
}

/** With one bit the other way. */
function flipped(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const copy = Uint8Array.from(bytes)
  const bit = randomBytes(4).readUInt32BE() % (copy.length * 8)
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7))
  return copy
}

describe('XEdDSA', () => {
  it(`takes ${ROUNDS} signatures of libsignal, with either sign`, () => {
    const signs = new Set<number>()
    for (let i = 0; i < ROUNDS; i++) {
      const { key, message, signature } = signed()
      assert.equal(verifyXeddsa(key, message, signature), true, Buffer.from(key).toString('hex'))
      signs.add((signature[63] as number) & 0x80)
    }
    assert.deepEqual([...signs].sort(), [0, 0x80])
  })

  it(`refuses ${ROUNDS} signatures with a bit flipped, as libsignal does`, () => {
    for (let i = 0; i < ROUNDS; i++) {
      const { key, message, signature } = signed()
      const wrong = flipped(signature)
      assert.equal(PublicKey.deserialize(Uint8Array.from(key)).verify(message, wrong), false)
      assert.equal(verifyXeddsa(key, message, wrong), false, Buffer.from(wrong).toString('hex'))
    }
  })

  it('refuses the other sign, and takes the right one after it', () => {
    for (let i = 0; i < 20; i++) {
      const { key, message, signature } = signed()
      const wrong = Uint8Array.from(signature)
      wrong[63] = (wrong[63] as number) ^ 0x80
      for (let again = 0; again < 2; again++) {
        assert.equal(verifyXeddsa(key, message, wrong), false)
        assert.equal(verifyXeddsa(key, message, signature), true)
      }
    }
  })

  it('refuses another message and another key', () => {
    for (let i = 0; i < 50; i++) {
      const { key, message, signature } = signed()
      if (message.length > 0) assert.equal(verifyXeddsa(key, flipped(message), signature), false)
      assert.equal(verifyXeddsa(key, Uint8Array.from([...message, 0]), signature), false)
      assert.equal(verifyXeddsa(signed().key, message, signature), false)
      // With a flipped bit of u it is a key of the curve or of its twist.
      const wrong = Uint8Array.from([5, ...flipped(key.subarray(1))])
      assert.equal(verifyXeddsa(wrong, message, signature), false)
    }
  })

  it('refuses a signature, and a key, of another length or type', () => {
    const { key, message, signature } = signed()
    for (const length of [0, 63, 65, 128]) {
      assert.equal(
        verifyXeddsa(
          key,
          message,
          Uint8Array.from({ length }, (_, i) => signature[i] ?? 0),
        ),
        false,
      )
    }
    for (const wrong of [key.subarray(1), key.subarray(0, 32), Uint8Array.from([...key, 0]), new Uint8Array(0)]) {
      assert.equal(verifyXeddsa(wrong, message, signature), false)
      assert.equal(isEcKey(wrong), false)
    }
    for (const type of [0, 4, 6, 8, 255]) {
      const wrong = Uint8Array.from([type, ...key.subarray(1)])
      assert.equal(verifyXeddsa(wrong, message, signature), false)
      assert.equal(isEcKey(wrong), false)
    }
    assert.equal(key.length, EC_KEY_BYTES)
  })

  it('refuses an s that is not below the order of the group', () => {
    const { key, message, signature } = signed()
    const order = 2n ** 252n + 27742317777372353535851937790883648493n
    const wrong = Uint8Array.from(signature)
    const top = (wrong[63] as number) & 0x80
    wrong[63] = (wrong[63] as number) & 0x7f
    const s = BigInt(`0x${Buffer.from(wrong.subarray(32)).reverse().toString('hex')}`)
    wrong.set(bytesOf(s + order), 32)
    wrong[63] = (wrong[63] as number) | top
    assert.equal(verifyXeddsa(key, message, signature), true)
    assert.equal(verifyXeddsa(key, message, wrong), false)
  })

  it('refuses keys that are written in a second way: u of p and more, and the top bit', () => {
    for (const u of [P, P + 1n, P + 9n, P + 18n, 2n ** 255n, 2n ** 255n + 9n, 2n ** 256n - 1n]) {
      assert.equal(isEcKey(keyOf(u)), false, u.toString(16))
    }
    assert.equal(isEcKey(keyOf(9n)), true)
    assert.equal(isEcKey(keyOf(P - 2n)), true)
    const { key, message, signature } = signed()
    const other = Uint8Array.from(key)
    other[32] = (other[32] as number) | 0x80
    assert.equal(verifyXeddsa(other, message, signature), false)
  })

  it('refuses every point of small order, with which anybody could sign', () => {
    const secret = createPrivateKey({
      key: Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), randomBytes(32)]),
      format: 'der',
      type: 'pkcs8',
    })
    for (const key of smallOrder) {
      assert.equal(isEcKey(key), false, Buffer.from(key).toString('hex'))
      // It is one: nothing can be agreed on with it.
      const spki = Buffer.concat([Buffer.from('302a300506032b656e032100', 'hex'), key.subarray(1)])
      const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' })
      assert.throws(() => diffieHellman({ privateKey: secret, publicKey }))
      // R and A neutral, s = 0 fulfils the equation for every message.
      const forged = new Uint8Array(64)
      forged[0] = 1
      assert.equal(verifyXeddsa(key, randomBytes(33), forged), false)
    }
  })

  it('is not mistaken when more keys come than it remembers', () => {
    const first = signed()
    assert.equal(verifyXeddsa(first.key, first.message, first.signature), true)
    for (let i = 0; i < 1_100; i++) {
      const key = keyOf(BigInt(`0x${createHash('sha256').update(String(i)).digest('hex')}`) % P)
      assert.equal(verifyXeddsa(key, first.message, first.signature), false)
    }
    assert.equal(verifyXeddsa(first.key, first.message, first.signature), true)
    assert.equal(verifyXeddsa(first.key, flipped(first.signature), first.signature), false)
  })

  it('refuses what is signed as plain Ed25519 by some other key', () => {
    const { key, message } = signed()
    const plain = createPrivateKey({
      key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), randomBytes(32)]),
      format: 'der',
      type: 'pkcs8',
    })
    assert.equal(verifyXeddsa(key, message, sign(null, message, plain)), false)
  })
})
