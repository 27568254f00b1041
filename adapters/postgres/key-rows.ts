/** Rows of a device's public keys: what an upload writes, and what its end deletes. Inside of a transaction. */
import type { KeyUpload, Prekey, SignedPrekey } from '../../core/ports.ts'
import type { Run } from './transact.ts'

/** `prekeys.kind`. */
const KIND_EC = 0
const KIND_KEM = 1

const repeatedValues = ({ id, key, signature }: SignedPrekey): [number, Uint8Array, Uint8Array] => [id, key, signature]

async function replaceAll(run: Run, device: string, kind: number, prekeys: readonly (Prekey | SignedPrekey)[]) {
  await run('dropPrekeys', device, kind)
  if (prekeys.length === 0) return
  const signatures = prekeys.map((prekey) => ('signature' in prekey ? prekey.signature : null))
  const [ids, keys] = [prekeys.map(({ id }) => id), prekeys.map(({ key }) => key)]
  await run('insertPrekeys', device, kind, ids, keys, signatures)
}

/** What an upload of the device writes. A list replaces the set of its kind; what the upload leaves out stays. */
export async function putKeys(run: Run, device: string, upload: KeyUpload, now: number): Promise<void> {
  const { signedPrekey, lastResortPrekey, oneTimePrekeys, oneTimeKemPrekeys } = upload
  if (signedPrekey !== undefined && lastResortPrekey !== undefined) {
    const values = [...repeatedValues(signedPrekey), ...repeatedValues(lastResortPrekey)]
    await run('putDeviceKeys', device, ...values, now)
  } else if (signedPrekey !== undefined) {
    await run('setSignedPrekey', ...repeatedValues(signedPrekey), now, device)
  } else if (lastResortPrekey !== undefined) {
    await run('setLastResortPrekey', ...repeatedValues(lastResortPrekey), now, device)
  }
  if (oneTimePrekeys !== undefined) await replaceAll(run, device, KIND_EC, oneTimePrekeys)
  if (oneTimeKemPrekeys !== undefined) await replaceAll(run, device, KIND_KEM, oneTimeKemPrekeys)
}

/**
 * A device that ends leaves no keys behind. After its row was changed: an upload at the same moment holds that row, so
 * that it is over before this, or finds the device ended.
 */
export async function dropKeys(run: Run, device: string): Promise<void> {
  await run('dropDeviceKeys', device)
  await run('dropAllPrekeys', device)
}

/** The same for all devices of an account, also those that ended. */
export async function dropKeysOfUser(run: Run, user: Uint8Array): Promise<void> {
  await run('dropKeysOfUser', user)
  await run('dropPrekeysOfUser', user)
}
