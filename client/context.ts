/** What the parts of the client share: one account, one database, one cipher. */
import { pairConversation, parseUuid } from '../topics/ids.ts'
import type { Account } from './crypto/account.ts'
import type { Cipher } from './crypto/cipher.ts'
import type { Emit } from './events.ts'
import type { Api } from './http/api.ts'
import type { Store } from './store/open.ts'

export interface Context {
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

/** Id of the conversation with `peer`, 16 bytes: one object for each peer, not to be changed. */
export function conversationWith({ store, account }: Context, peer: string): Uint8Array {
  const make = () => pairConversation(idBytes(account.user), idBytes(peer))
  return store.memory.recall(`conversation ${account.user} ${peer}`, make)
}

/** UUID text as 16 bytes. */
export function idBytes(uuid: string): Uint8Array {
  const bytes = parseUuid(uuid)
  if (bytes === undefined) throw new RangeError(`${uuid} is no UUID`)
  return bytes
}
