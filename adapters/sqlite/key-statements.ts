/** Rows of a device's public keys: what an upload writes, and what its end deletes. */
import type { KeyUpload, Prekey, SignedPrekey } from '../../core/ports.ts'
import type { Statement } from './schema.ts'

/** `prekeys.kind`. */
export const KIND_EC = 0
export const KIND_KEM = 1

/** A copy of its own: the writer thread would be sent the whole buffer that a slice is of. */
const own = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes)

const repeatedValues = ({ id, key, signature }: SignedPrekey): [number, Uint8Array, Uint8Array] => [
  id,
  own(key),
  own(signature),
]

function replaceAll(device: string, kind: number, prekeys: readonly (Prekey | SignedPrekey)[]): Statement[] {
  const rows = prekeys.map((prekey): Statement => {
    const signature = 'signature' in prekey ? own(prekey.signature) : null
    return ['insertPrekey', device, kind, prekey.id, own(prekey.key), signature]
  })
  return [['dropPrekeys', device, kind], ...rows]
}

/** What an upload of the device writes. A list replaces the set of its kind; what the upload leaves out stays. */
export function keyStatements(device: string, upload: KeyUpload, now: number): Statement[] {
  const { signedPrekey, lastResortPrekey, oneTimePrekeys, oneTimeKemPrekeys } = upload
  const statements: Statement[] = []
  if (signedPrekey !== undefined && lastResortPrekey !== undefined) {
    const values = [...repeatedValues(signedPrekey), ...repeatedValues(lastResortPrekey)]
    statements.push(['putDeviceKeys', device, ...values, now])
  } else if (signedPrekey !== undefined) {
    statements.push(['setSignedPrekey', ...repeatedValues(signedPrekey), now, device])
  } else if (lastResortPrekey !== undefined) {
    statements.push(['setLastResortPrekey', ...repeatedValues(lastResortPrekey), now, device])
  }
  if (oneTimePrekeys !== undefined) statements.push(...replaceAll(device, KIND_EC, oneTimePrekeys))
  if (oneTimeKemPrekeys !== undefined) statements.push(...replaceAll(device, KIND_KEM, oneTimeKemPrekeys))
  return statements
}

/** A device that ends leaves no keys behind. */
export function dropKeyStatements(device: string): Statement[] {
  return [
    ['dropDeviceKeys', device],
    ['dropAllPrekeys', device],
  ]
}

/** The same for the primary device of an account, which has not ended yet. */
export function dropKeysOfPrimary(user: Uint8Array): Statement[] {
  return [
    ['dropKeysOfPrimary', user],
    ['dropPrekeysOfPrimary', user],
  ]
}

/** The same for all devices of an account, also those that ended. */
export function dropKeysOfUser(user: Uint8Array): Statement[] {
  return [
    ['dropKeysOfUser', user],
    ['dropPrekeysOfUser', user],
  ]
}
