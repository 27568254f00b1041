/**
 * Safety numbers (libsignal's numeric fingerprint, version 2, 5,200 iterations): 60 digits, or bytes for a QR code.
 * Both sides have the same digits exactly when each has the other's true identity key.
 */
import { Aci, Fingerprint, PublicKey, ScannableFingerprint } from '@signalapp/libsignal-client'
import type { Account } from './account.ts'

const ITERATIONS = 5_200
const VERSION = 2

const own = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => Uint8Array.from(bytes)

function fingerprint(account: Account, user: string, key: Uint8Array): Fingerprint {
  return Fingerprint.new(
    ITERATIONS,
    VERSION,
    Aci.fromUuid(account.user).getServiceIdBinary(),
    account.identity.publicKey,
    Aci.fromUuid(user).getServiceIdBinary(),
    PublicKey.deserialize(own(key)),
  )
}

export function safetyNumber(account: Account, user: string, key: Uint8Array): { digits: string; qr: Uint8Array } {
  const made = fingerprint(account, user, key)
  return { digits: made.displayableFingerprint().toString(), qr: made.scannableFingerprint().toBuffer() }
}

/** False for another pair, another version, one's own code, and what is no code at all. */
export function matches(account: Account, user: string, key: Uint8Array, scanned: Uint8Array): boolean {
  try {
    const other = ScannableFingerprint._fromBuffer(own(scanned))
    return fingerprint(account, user, key).scannableFingerprint().compare(other)
  } catch {
    return false
  }
}
