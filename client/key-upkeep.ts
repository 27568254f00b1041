/**
 * One's own keys on the server: renewed every two days, refilled when they run low, compared with what is here. Private
 * halves are durable before public ones leave.
 */
import { createHash } from 'node:crypto'
import { limits } from '../topics/limits.ts'
import type { Core } from './core.ts'
import { isRotationDue, makeAll, makeOneTime, makeRepeated, repeatedKeys } from './crypto/prekeys.ts'

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** What the server compares: SHA-256 over identity, signed prekey and last-resort prekey. Undefined: there are none. */
function digestOf({ store, account }: Core): Uint8Array | undefined {
  const keys = repeatedKeys(store)
  if (keys === undefined) return undefined
  const { signed, last } = keys
  return createHash('sha256')
    .update(account.identity.publicKey.serialize())
    .update(u32(signed.id))
    .update(signed.key)
    .update(u32(last.id))
    .update(last.key)
    .digest()
}

/** New repeated keys when they are old, or when the server has others than this device. */
async function renewRepeated(core: Core): Promise<void> {
  const { store, account, api } = core
  const digest = digestOf(core)
  const isDue = digest === undefined || isRotationDue(store, core.now())
  if (!isDue && (await api.checkKeys(digest))) return
  const keys = await store.turn(() => makeRepeated(store, account.identity, core.now()))
  await api.putKeys(keys)
}

async function refill(core: Core): Promise<void> {
  const { store, account, api } = core
  const { ec, kem } = await api.countKeys()
  const kinds = { ec: ec < limits.prekeysLow, kem: kem < limits.prekeysLow }
  if (!kinds.ec && !kinds.kem) return
  const keys = await store.turn(() => makeOneTime(store, account.identity, kinds, core.now()))
  await api.putKeys(keys)
}

/** Everything anew: what the server hands out may belong to private keys that an older database does not have. */
export async function renewKeys(core: Core): Promise<void> {
  const { store, account, api } = core
  const keys = await store.turn(() => makeAll(store, account.identity, core.now()))
  await api.putKeys(keys)
}

/** Brings the server's copy up to date. Rejects with an ApiFault: it is tried again at the next connection. */
export async function keepKeys(core: Core): Promise<void> {
  await renewRepeated(core)
  await refill(core)
}
