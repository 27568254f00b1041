/** Public keys as JSON: the schemas of uploads and bundles, and how an upload is read. Bytes are base64url. */
import { type Static, Type } from 'typebox'
import type { KeyUpload, Prekey, SignedPrekey } from '../core/ports.ts'
import { KEM_KEY_BYTES } from '../core/prekeys.ts'
import { EC_KEY_BYTES, SIGNATURE_BYTES } from '../core/xeddsa.ts'
import { limits } from '../topics/limits.ts'
import { bytesOf, closed, textOf } from './shapes.ts'

const id = Type.Integer({ minimum: 0, maximum: 2 ** 32 - 1 })

/** The length is the key's business, not the schema's: what is no key is 422 and says so. */
const keyText = (bytes: number, about: string) =>
  Type.String({ pattern: '^[A-Za-z0-9_-]*$', maxLength: KEM_KEY_BYTES * 2, description: `${bytes} bytes: ${about}.` })

const ecKey = keyText(EC_KEY_BYTES, '0x05 and a Curve25519 public key')
const kemKey = keyText(KEM_KEY_BYTES, '0x08 and an ML-KEM-1024 public key')
const signature = keyText(SIGNATURE_BYTES, 'XEdDSA by the identity key over `key`')

const ecPrekey = Type.Object({ id, key: ecKey }, closed)
const signedEcPrekey = Type.Object({ id, key: ecKey, signature }, closed)
const kemPrekey = Type.Object({ id, key: kemKey, signature }, closed)

const lists = {
  oneTimePrekeys: Type.Array(ecPrekey, { maxItems: limits.oneTimePrekeysMax }),
  oneTimeKemPrekeys: Type.Array(kemPrekey, { maxItems: limits.oneTimePrekeysMax }),
}

/** All keys of a device that begins; the lists may be empty. */
export const keySetSchema = Type.Object({ signedPrekey: signedEcPrekey, lastResortPrekey: kemPrekey, ...lists }, closed)

/** Some keys of a device. A list replaces the set of its kind. */
export const keyUploadSchema = Type.Partial(keySetSchema, { ...closed, minProperties: 1 })

/** What a session with one device is begun from. */
export const bundleSchema = Type.Object({
  number: Type.Integer(),
  registrationId: Type.Integer(),
  signedPrekey: signedEcPrekey,
  oneTimePrekey: Type.Optional(ecPrekey),
  kemPrekey,
})

type PrekeyJson = Static<typeof ecPrekey>
type SignedPrekeyJson = Static<typeof kemPrekey>

const readPrekey = (json: PrekeyJson, name: string): Prekey => ({ id: json.id, key: bytesOf(json.key, `${name}.key`) })

function readSigned(json: SignedPrekeyJson, name: string): SignedPrekey {
  return { ...readPrekey(json, name), signature: bytesOf(json.signature, `${name}.signature`) }
}

/** The upload of a body that its schema has let through. Throws a ProblemFault for bytes written in a second way. */
export function parseKeyUpload(json: Static<typeof keyUploadSchema>): KeyUpload {
  const { signedPrekey, lastResortPrekey, oneTimePrekeys, oneTimeKemPrekeys } = json
  return {
    ...(signedPrekey && { signedPrekey: readSigned(signedPrekey, 'signedPrekey') }),
    ...(lastResortPrekey && { lastResortPrekey: readSigned(lastResortPrekey, 'lastResortPrekey') }),
    ...(oneTimePrekeys && { oneTimePrekeys: oneTimePrekeys.map((each) => readPrekey(each, 'oneTimePrekeys')) }),
    ...(oneTimeKemPrekeys && {
      oneTimeKemPrekeys: oneTimeKemPrekeys.map((each) => readSigned(each, 'oneTimeKemPrekeys')),
    }),
  }
}

export const showPrekey = ({ id: keyId, key }: Prekey): PrekeyJson => ({ id: keyId, key: textOf(key) })

export const showSigned = (prekey: SignedPrekey): SignedPrekeyJson => ({
  ...showPrekey(prekey),
  signature: textOf(prekey.signature),
})
