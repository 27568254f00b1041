/**
 * Golden ciphertexts made with the pinned libsignal: what an upgrade has to open still. `node test/wire/golden-signal.ts`
 * makes a new set, with new keys: only when the protocol changes, for clients in other languages use the old one.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import {
  Aci,
  Fingerprint,
  KEMKeyPair,
  KEMPublicKey,
  KyberPreKeyRecord,
  PreKeyBundle,
  PreKeyRecord,
  PreKeySignalMessage,
  PrivateKey,
  ProtocolAddress,
  PublicKey,
  processPreKeyBundle,
  SignalMessage,
  SignedPreKeyRecord,
  signalDecrypt,
  signalDecryptPreKey,
  signalEncrypt,
} from '@signalapp/libsignal-client'
import { encodeContent, pad } from '../../topics/codec.ts'
import { pairConversation, parseUuid } from '../../topics/ids.ts'
import { id } from './golden.ts'
import {
  type Bytes,
  fromHex,
  Identities,
  OneKemPreKey,
  OnePreKey,
  OneSignedPreKey,
  Sessions,
  toHex,
} from './signal-stores.ts'

interface Party {
  readonly user: string
  readonly device: number
  readonly registrationId: number
  readonly identityPrivateKey: string
  readonly identityKey: string
}
/** All bytes in hex. */
export interface GoldenSignal {
  readonly libsignal: string
  readonly alice: Party
  readonly bob: Party & { readonly prekey: string; readonly signedPrekey: string; readonly kemPrekey: string }
  /** 60 digits, the same for both. */
  readonly safetyNumber: string
  /** What Bob's server hands out. */
  readonly bundle: {
    readonly prekey: { readonly id: number; readonly key: string }
    readonly signedPrekey: { readonly id: number; readonly key: string; readonly signature: string }
    readonly kemPrekey: { readonly id: number; readonly key: string; readonly signature: string }
  }
  /** Alice to Bob, and its padded content. */
  readonly prekeyMessage: string
  readonly prekeyContent: string
  /** Alice's session with Bob after that. */
  readonly aliceSession: string
  /** Bob's answer, which Alice's session opens, and its padded content. */
  readonly whisperMessage: string
  readonly whisperContent: string
  /** By Alice's identity key, over a prefix and text. */
  readonly signed: { readonly bytes: string; readonly signature: string }
}

const MADE_MS = Date.UTC(2026, 0, 1)
const ALICE = { user: '00000000-0000-4000-8000-00000000000a', device: 1, registrationId: 11 }
const BOB = { user: '00000000-0000-4000-8000-00000000000b', device: 2, registrationId: 22 }

export const addressOf = ({ user, device }: { user: string; device: number }): ProtocolAddress =>
  ProtocolAddress.new(Aci.fromUuid(user), device)

export function bundleOf({ bob, bundle }: GoldenSignal): PreKeyBundle {
  const { prekey, signedPrekey, kemPrekey } = bundle
  return PreKeyBundle.new(
    bob.registrationId,
    bob.device,
    prekey.id,
    PublicKey.deserialize(fromHex(prekey.key)),
    signedPrekey.id,
    PublicKey.deserialize(fromHex(signedPrekey.key)),
    fromHex(signedPrekey.signature),
    PublicKey.deserialize(fromHex(bob.identityKey)),
    kemPrekey.id,
    KEMPublicKey.deserialize(fromHex(kemPrekey.key)),
    fromHex(kemPrekey.signature),
  )
}

/** What Bob opens a first message with. */
export function bobStores({ bob }: Pick<GoldenSignal, 'bob'>) {
  return {
    sessions: new Sessions(),
    identities: new Identities(PrivateKey.deserialize(fromHex(bob.identityPrivateKey)), bob.registrationId),
    prekeys: new OnePreKey(PreKeyRecord.deserialize(fromHex(bob.prekey))),
    signedPrekeys: new OneSignedPreKey(SignedPreKeyRecord.deserialize(fromHex(bob.signedPrekey))),
    kemPrekeys: new OneKemPreKey(KyberPreKeyRecord.deserialize(fromHex(bob.kemPrekey))),
  }
}

/** Bob opens Alice's first message. */
export function openFirst(
  golden: Pick<GoldenSignal, 'alice' | 'bob' | 'prekeyMessage'>,
  stores: ReturnType<typeof bobStores>,
): Promise<Uint8Array> {
  return signalDecryptPreKey(
    PreKeySignalMessage.deserialize(fromHex(golden.prekeyMessage)),
    addressOf(golden.alice),
    addressOf(golden.bob),
    stores.sessions,
    stores.identities,
    stores.prekeys,
    stores.signedPrekeys,
    stores.kemPrekeys,
  )
}

/** Alice opens Bob's answer with the session row of the golden file. */
export function openAnswer(golden: GoldenSignal): Promise<Uint8Array> {
  const { alice, bob } = golden
  const sessions = new Sessions()
  sessions.rows.set(addressOf(bob).toString(), fromHex(golden.aliceSession))
  const identities = new Identities(PrivateKey.deserialize(fromHex(alice.identityPrivateKey)), alice.registrationId)
  const message = SignalMessage.deserialize(fromHex(golden.whisperMessage))
  return signalDecrypt(message, addressOf(bob), addressOf(alice), sessions, identities)
}

export function safetyNumberOf(alice: Party, bob: Party): string {
  const idOf = ({ user }: Party): Bytes => Aci.fromUuid(user).getServiceIdBinary()
  const keyOf = ({ identityKey }: Party): PublicKey => PublicKey.deserialize(fromHex(identityKey))
  const fingerprint = Fingerprint.new(5_200, 2, idOf(alice), keyOf(alice), idOf(bob), keyOf(bob))
  return fingerprint.displayableFingerprint().toString()
}

function partyOf(who: typeof ALICE, key: PrivateKey): Party {
  return { ...who, identityPrivateKey: toHex(key.serialize()), identityKey: toHex(key.getPublicKey().serialize()) }
}

function contentOf(text: string): Bytes {
  const conversation = pairConversation(parseUuid(ALICE.user) as Uint8Array, parseUuid(BOB.user) as Uint8Array)
  return Uint8Array.from(pad(encodeContent({ id: id(0x70, 7), conversation, post: { text } })))
}

function bobKeys(identity: PrivateKey) {
  const [prekey, signedPrekey, kem] = [PrivateKey.generate(), PrivateKey.generate(), KEMKeyPair.generate()]
  const signature = identity.sign(signedPrekey.getPublicKey().serialize())
  const kemSignature = identity.sign(kem.getPublicKey().serialize())
  return {
    records: {
      prekey: toHex(PreKeyRecord.new(31, prekey.getPublicKey(), prekey).serialize()),
      signedPrekey: toHex(
        SignedPreKeyRecord.new(32, MADE_MS, signedPrekey.getPublicKey(), signedPrekey, signature).serialize(),
      ),
      kemPrekey: toHex(KyberPreKeyRecord.new(33, MADE_MS, kem, kemSignature).serialize()),
    },
    bundle: {
      prekey: { id: 31, key: toHex(prekey.getPublicKey().serialize()) },
      signedPrekey: { id: 32, key: toHex(signedPrekey.getPublicKey().serialize()), signature: toHex(signature) },
      kemPrekey: { id: 33, key: toHex(kem.getPublicKey().serialize()), signature: toHex(kemSignature) },
    },
  }
}

async function make(): Promise<GoldenSignal> {
  const { version } = createRequire(import.meta.url)('@signalapp/libsignal-client/package.json') as { version: string }
  const aliceKey = PrivateKey.deserialize(new Uint8Array(32).fill(0x11))
  const bobKey = PrivateKey.deserialize(new Uint8Array(32).fill(0x22))
  const { records, bundle } = bobKeys(bobKey)
  const alice = partyOf(ALICE, aliceKey)
  const bob = { ...partyOf(BOB, bobKey), ...records }
  const signed = Buffer.from('heliograph:group:v1\0entry')
  const empty = { prekeyMessage: '', prekeyContent: '', aliceSession: '', whisperMessage: '', whisperContent: '' }
  const begun: GoldenSignal = {
    libsignal: version,
    alice,
    bob,
    safetyNumber: safetyNumberOf(alice, bob),
    bundle,
    ...empty,
    signed: { bytes: toHex(signed), signature: toHex(aliceKey.sign(Uint8Array.from(signed))) },
  }
  const [from, to, now] = [addressOf(alice), addressOf(bob), new Date(MADE_MS)]
  const sessions = new Sessions()
  const identities = new Identities(aliceKey, alice.registrationId)
  await processPreKeyBundle(bundleOf(begun), to, from, sessions, identities, now)
  const [first, second] = [contentOf('hello'), contentOf('hello to you')]
  const prekeyMessage = toHex((await signalEncrypt(first, to, from, sessions, identities, now)).serialize())
  const stores = bobStores(begun)
  await openFirst({ ...begun, prekeyMessage }, stores)
  const answer = await signalEncrypt(second, from, to, stores.sessions, stores.identities, now)
  return {
    ...begun,
    prekeyMessage,
    prekeyContent: toHex(first),
    aliceSession: toHex(sessions.rows.get(to.toString()) as Bytes),
    whisperMessage: toHex(answer.serialize()),
    whisperContent: toHex(second),
  }
}

const file = new URL('golden-signal.json', import.meta.url)
export const readGoldenSignal = (): GoldenSignal => JSON.parse(readFileSync(file, 'utf8')) as GoldenSignal

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(file, `${JSON.stringify(await make(), undefined, 2)}\n`)
}
