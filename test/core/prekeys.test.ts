import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { IdentityKeyPair } from '@signalapp/libsignal-client'
import type { KeySet, KeyUpload, Prekey, SignedPrekey } from '../../core/ports.ts'
import { keysDigest, lowNotice, refusedMs, spendsOneTime, verifyUpload } from '../../core/prekeys.ts'
import { limits } from '../../topics/limits.ts'
import { makeKeys, type SignedPrekeyText } from '../world/person.ts'

const identity = IdentityKeyPair.generate()
const identityKey = identity.publicKey.serialize()
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64url'))
const signedOf = ({ id, key, signature }: SignedPrekeyText): SignedPrekey => ({
  id,
  key: bytes(key),
  signature: bytes(signature),
})

function makeSet(oneTime: number): KeySet {
  const { signedPrekey, lastResortPrekey, oneTimePrekeys, oneTimeKemPrekeys } = makeKeys({ identity, oneTime }).body
    .keys
  return {
    signedPrekey: signedOf(signedPrekey),
    lastResortPrekey: signedOf(lastResortPrekey),
    oneTimePrekeys: oneTimePrekeys.map(({ id, key }) => ({ id, key: bytes(key) })),
    oneTimeKemPrekeys: oneTimeKemPrekeys.map(signedOf),
  }
}

const whole = makeSet(3)
const other = makeSet(1)
const [kem, kem2, kem3] = whole.oneTimeKemPrekeys as [SignedPrekey, SignedPrekey, SignedPrekey]
const [ec, ec2] = whole.oneTimePrekeys as [Prekey, Prekey, Prekey]
const changed = (of: Uint8Array, at: number, byte: number): Uint8Array => {
  const copy = Uint8Array.from(of)
  copy[at] = byte
  return copy
}
const signedBy = (key: Uint8Array): SignedPrekey => ({
  id: 1,
  key,
  signature: identity.privateKey.sign(Uint8Array.from(key)),
})

describe('an upload of prekeys', () => {
  it('is taken when every key is one and every signature is right, whole or in parts', () => {
    assert.equal(verifyUpload(identityKey, whole), undefined)
    for (const name of Object.keys(whole) as (keyof KeySet)[]) {
      assert.equal(verifyUpload(identityKey, { [name]: whole[name] }), undefined, name)
    }
    assert.equal(verifyUpload(identityKey, { oneTimePrekeys: [], oneTimeKemPrekeys: [] }), undefined)
  })

  it(`is taken with ${limits.oneTimePrekeysMax} one-time keys of each kind, and with no more`, () => {
    const { oneTimePrekeysMax } = limits
    const full = makeSet(oneTimePrekeysMax)
    assert.equal(verifyUpload(identityKey, full), undefined)
    const ecs = [...full.oneTimePrekeys, { id: 0, key: ec.key }]
    const kems = [...full.oneTimeKemPrekeys, { ...kem, id: 0 }]
    assert.equal(verifyUpload(identityKey, { oneTimePrekeys: ecs }), 'key_invalid')
    assert.equal(verifyUpload(identityKey, { oneTimeKemPrekeys: kems }), 'key_invalid')
  })

  it('is taken with the lowest and the highest id', () => {
    for (const id of [0, 2 ** 32 - 1]) {
      assert.equal(
        verifyUpload(identityKey, { oneTimePrekeys: [{ ...ec, id }], lastResortPrekey: { ...kem, id } }),
        undefined,
      )
    }
  })

  const invalid: [what: string, upload: KeyUpload][] = [
    ['an id below 0', { oneTimePrekeys: [{ ...ec, id: -1 }] }],
    ['an id of 2^32', { signedPrekey: { ...whole.signedPrekey, id: 2 ** 32 } }],
    ['half an id', { lastResortPrekey: { ...kem, id: 0.5 } }],
    ['no id at all', { oneTimeKemPrekeys: [{ ...kem, id: Number.NaN }] }],
    ['an id twice among the keys of Curve25519', { oneTimePrekeys: [ec, { ...ec2, id: ec.id }] }],
    ['an id twice among those of ML-KEM', { oneTimeKemPrekeys: [kem, kem2, { ...kem3, id: kem.id }] }],
    ['a key of Curve25519 that is too short', { oneTimePrekeys: [{ id: 1, key: ec.key.subarray(0, 32) }] }],
    ['one without its type', { oneTimePrekeys: [{ id: 1, key: changed(ec.key, 0, 8) }] }],
    ['one of small order', { oneTimePrekeys: [{ id: 1, key: changed(new Uint8Array(33), 0, 5) }] }],
    ['one with u above p', { oneTimePrekeys: [{ id: 1, key: Uint8Array.from([5, ...Array<number>(32).fill(255)]) }] }],
    ['a signed prekey of small order', { signedPrekey: signedBy(changed(new Uint8Array(33), 0, 5)) }],
    ['ML-KEM where Curve25519 belongs', { signedPrekey: kem }],
    ['Curve25519 where ML-KEM belongs', { lastResortPrekey: whole.signedPrekey }],
    ['a key of ML-KEM that is too short', { lastResortPrekey: signedBy(kem.key.subarray(0, 1_568)) }],
    ['one that is too long', { oneTimeKemPrekeys: [signedBy(Uint8Array.from([...kem.key, 0]))] }],
    ['one of ML-KEM-768', { oneTimeKemPrekeys: [signedBy(kem.key.subarray(0, 1_185))] }],
    ['one without its type', { oneTimeKemPrekeys: [signedBy(changed(kem.key, 0, 7))] }],
    [
      'one with a first number above its prime',
      { oneTimeKemPrekeys: [signedBy(changed(changed(kem.key, 1, 255), 2, 255))] },
    ],
    ['one with a last number above its prime', { lastResortPrekey: signedBy(changed(kem.key, 1_536, 255)) }],
  ]
  for (const [what, upload] of invalid) {
    it(`is refused with ${what}`, () => {
      assert.equal(verifyUpload(identityKey, { ...whole, ...upload }), 'key_invalid')
      assert.equal(verifyUpload(identityKey, upload), 'key_invalid')
    })
  }

  const wrong: [what: string, upload: KeyUpload][] = [
    ['a signed prekey', { signedPrekey: { ...whole.signedPrekey, signature: other.signedPrekey.signature } }],
    ['a last-resort key', { lastResortPrekey: { ...kem, signature: kem2.signature } }],
    ['the last of the one-time keys', { oneTimeKemPrekeys: [kem, kem2, { ...kem3, signature: kem.signature }] }],
    ['a key with an empty signature', { signedPrekey: { ...whole.signedPrekey, signature: new Uint8Array(0) } }],
    [
      'a key that is signed without its type',
      {
        signedPrekey: {
          ...whole.signedPrekey,
          signature: identity.privateKey.sign(Uint8Array.from(whole.signedPrekey.key.subarray(1))),
        },
      },
    ],
    [
      'a key whose seed was changed',
      { lastResortPrekey: { ...kem, key: changed(kem.key, 1_568, (kem.key[1_568] as number) ^ 1) } },
    ],
  ]
  for (const [what, upload] of wrong) {
    it(`is refused when the signature of ${what} is wrong`, () => {
      assert.equal(verifyUpload(identityKey, { ...whole, ...upload }), 'signature_wrong')
    })
  }

  it('is refused under another identity key, and under what is none', () => {
    assert.equal(verifyUpload(IdentityKeyPair.generate().publicKey.serialize(), whole), 'signature_wrong')
    assert.equal(verifyUpload(identityKey.subarray(1), whole), 'key_invalid')
    assert.equal(verifyUpload(changed(new Uint8Array(33), 0, 5), { oneTimePrekeys: [ec] }), 'key_invalid')
  })
})

describe('the rules of the key directory', () => {
  it('compares what is used again: identity key, ids big-endian, keys', () => {
    const [signedPrekey, lastResort] = [
      { ...whole.signedPrekey, id: 0x01020304 },
      { ...whole.lastResortPrekey, id: 2 ** 32 - 1 },
    ]
    const all = Buffer.concat([
      identityKey,
      Buffer.from('01020304', 'hex'),
      signedPrekey.key,
      Buffer.from('ffffffff', 'hex'),
      lastResort.key,
    ])
    const digest = Buffer.from(keysDigest(identityKey, signedPrekey, lastResort))
    assert.deepEqual(digest, createHash('sha256').update(all).digest())
    const others = [
      keysDigest(other.signedPrekey.key, signedPrekey, lastResort),
      keysDigest(identityKey, { ...signedPrekey, id: 1 }, lastResort),
      keysDigest(identityKey, other.signedPrekey, lastResort),
      keysDigest(identityKey, signedPrekey, { ...lastResort, id: 1 }),
      keysDigest(identityKey, signedPrekey, other.lastResortPrekey),
    ]
    for (const each of others) assert.notDeepEqual(Buffer.from(each), digest)
  })

  it('spends one-time keys within both buckets only', () => {
    assert.equal(spendsOneTime({ pairMs: 0, targetMs: 0 }), true)
    assert.equal(spendsOneTime({ pairMs: 1, targetMs: 0 }), false)
    assert.equal(spendsOneTime({ pairMs: 0, targetMs: 1 }), false)
  })

  it('refuses who is beyond all pairs, until there is one of each', () => {
    assert.equal(refusedMs([]), 0)
    assert.equal(refusedMs([0]), 0)
    assert.equal(refusedMs([5_000]), 5_000)
    assert.equal(refusedMs([5_000, 0, 7_000]), 0)
    assert.equal(refusedMs([5_000, 7_000, 6_000]), 7_000)
  })

  it('tells a device at 19, 9 and 0 that are left, of either kind, and at no other count', () => {
    const told = Array.from({ length: 101 }, (_, left) => left).filter(
      (left) => lowNotice({ ec: left, kem: 50 }) !== undefined,
    )
    assert.deepEqual(told, [0, 9, 19])
    assert.deepEqual(lowNotice({ ec: 30, kem: 9 }), { ec: 30, kem: 9 })
    assert.deepEqual(lowNotice({ ec: undefined, kem: 19 }), { ec: 0, kem: 19 })
    assert.deepEqual(lowNotice({ ec: 0, kem: undefined }), { ec: 0, kem: 0 })
    assert.equal(lowNotice({ ec: undefined, kem: undefined }), undefined)
  })
})
