import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { Fingerprint, PrivateKey, PublicKey, processPreKeyBundle, signalEncrypt } from '@signalapp/libsignal-client'
import { verifyXeddsa } from '../../core/xeddsa.ts'
import { decodeContent, unpad } from '../../topics/codec.ts'
import { parseUuid } from '../../topics/ids.ts'
import {
  addressOf,
  bobStores,
  bundleOf,
  openAnswer,
  openFirst,
  readGoldenSignal,
  safetyNumberOf,
} from './golden-signal.ts'
import { fromHex, Identities, Sessions, toHex } from './signal-stores.ts'

const golden = readGoldenSignal()
const { alice, bob, bundle } = golden

function textIn(padded: Uint8Array): string | undefined {
  const content = decodeContent(unpad(padded) ?? Buffer.of(0))
  return content.fault ? content.text : content.post?.text
}

/** The formula of docs/wire.md, without libsignal. */
function ownHalf(user: string, identityKey: string): string {
  const [id, key] = [parseUuid(user) as Uint8Array, fromHex(identityKey)]
  let hash = createHash('sha512').update(Buffer.of(0, 0)).update(key).update(id).update(key).digest()
  for (let round = 1; round < 5_200; round += 1) hash = createHash('sha512').update(hash).update(key).digest()
  const chunks = [0, 5, 10, 15, 20, 25].map((at) => hash.readUIntBE(at, 5) % 100_000)
  return chunks.map((chunk) => String(chunk).padStart(5, '0')).join('')
}

describe('the golden ciphertexts', () => {
  it('have the safety number of their fixed keys, from either side, by libsignal and by the formula', () => {
    const expected = '149952875212185378366481700234775862207025127533437062858693'
    assert.equal(golden.safetyNumber, expected)
    assert.equal(safetyNumberOf(alice, bob), expected)
    assert.equal(safetyNumberOf(bob, alice), expected)
    const halves = [ownHalf(alice.user, alice.identityKey), ownHalf(bob.user, bob.identityKey)].sort()
    assert.equal(halves.join(''), expected)
    const fixed = [0x11, 0x22].map((byte) => PrivateKey.deserialize(new Uint8Array(32).fill(byte)).getPublicKey())
    assert.deepEqual(
      fixed.map((key) => toHex(key.serialize())),
      [alice.identityKey, bob.identityKey],
    )
  })

  it('show one safety number in the codes of both, and never for another key', () => {
    const keyOf = (key: string): PublicKey => PublicKey.deserialize(fromHex(key))
    const of = (mine: typeof alice, theirs: typeof alice, theirKey = theirs.identityKey): Fingerprint => {
      const ids = [mine, theirs].map(({ user }) => Uint8Array.from(parseUuid(user) as Uint8Array))
      const [myId, theirId] = ids as [Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>]
      return Fingerprint.new(5_200, 2, myId, keyOf(mine.identityKey), theirId, keyOf(theirKey))
    }
    const scanned = of(bob, alice).scannableFingerprint().toBuffer()
    assert.ok(of(alice, bob).scannableFingerprint().compare(of(bob, alice).scannableFingerprint()))
    assert.ok(scanned.length > 0)
    const forged = of(alice, bob, bundle.prekey.key)
    assert.ok(!forged.scannableFingerprint().compare(of(bob, alice).scannableFingerprint()))
  })

  it('have a bundle whose signatures the server verifies without libsignal, and not when a bit is flipped', () => {
    const identityKey = fromHex(bob.identityKey)
    for (const { key, signature } of [bundle.signedPrekey, bundle.kemPrekey]) {
      assert.ok(verifyXeddsa(identityKey, fromHex(key), fromHex(signature)))
      const flipped = fromHex(key)
      flipped[9] = (flipped[9] as number) ^ 1
      assert.ok(!verifyXeddsa(identityKey, flipped, fromHex(signature)))
    }
    const { bytes, signature } = golden.signed
    assert.match(Buffer.from(bytes, 'hex').toString(), /^heliograph:group:v1\0/)
    assert.ok(verifyXeddsa(fromHex(alice.identityKey), fromHex(bytes), fromHex(signature)))
  })

  it('have a bundle that a session begins from today', async () => {
    const [sessions, identities] = [new Sessions(), new Identities(PrivateKey.generate(), 5)]
    const me = { user: '00000000-0000-4000-8000-00000000000c', device: 1 }
    await processPreKeyBundle(bundleOf(golden), addressOf(bob), addressOf(me), sessions, identities)
    const content = fromHex(golden.prekeyContent)
    const message = await signalEncrypt(content, addressOf(bob), addressOf(me), sessions, identities)
    const from = { ...golden, alice: { ...alice, ...me }, prekeyMessage: toHex(message.serialize()) }
    assert.equal(toHex(await openFirst(from, bobStores(golden))), golden.prekeyContent)
  })

  it('have a first message that opens with the kept prekeys and uses them up', async () => {
    const stores = bobStores(golden)
    const padded = await openFirst(golden, stores)
    assert.equal(toHex(padded), golden.prekeyContent)
    assert.equal(textIn(padded), 'hello')
    assert.ok(stores.prekeys.isUsed && stores.kemPrekeys.isUsed)
    assert.equal(stores.sessions.rows.size, 1)
  })

  it('have an answer that opens with the kept row of a session', async () => {
    const padded = await openAnswer(golden)
    assert.equal(toHex(padded), golden.whisperContent)
    assert.equal(textIn(padded), 'hello to you')
  })

  it('do not open when a bit is flipped, or under another sender', async () => {
    const flipped = fromHex(golden.whisperMessage)
    flipped[flipped.length - 20] = (flipped.at(-20) as number) ^ 1
    await assert.rejects(openAnswer({ ...golden, whisperMessage: toHex(flipped) }))
    const mallory = { ...alice, user: '00000000-0000-4000-8000-00000000000d' }
    await assert.rejects(openFirst({ ...golden, alice: mallory }, bobStores(golden)))
  })
})
