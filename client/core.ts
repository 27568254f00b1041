/** What the parts of the client share: one account, one database, one cipher. */
import { parseUuid } from '../topics/ids.ts'
import type { Account } from './account.ts'
import type { Api } from './api.ts'
import type { Cipher } from './crypto/cipher.ts'
import type { Emit } from './events.ts'
import type { Store } from './store/open.ts'

export interface Core {
  readonly store: Store
  readonly account: Account
  readonly cipher: Cipher
  readonly api: Api
  readonly emit: Emit
  /** Unix ms. */
  now(): number
  /** A row for messages and outbox that was never used. */
  nextRow(): number
}

/** UUID text as 16 bytes. */
export function idBytes(uuid: string): Uint8Array {
  const bytes = parseUuid(uuid)
  if (bytes === undefined) throw new RangeError(`${uuid} is no UUID`)
  return bytes
}
