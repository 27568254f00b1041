/**
 * Sessions that a request needs and that are not there: bundles are fetched outside of any turn, then the sessions are
 * begun in one. The signatures of a bundle are checked by libsignal under the identity that is known, so a server
 * cannot add a device of its own to a contact.
 */

import type { Context } from '../context.ts'
import { IdentityFault } from '../crypto/cipher.ts'
import type { AccountKeys } from '../http/api.ts'
import { ApiFault } from '../http/api.ts'
import { devicesOf, type ListedDevice, setDevices } from '../store/device-lists.ts'

/** `ready`; or why nothing can be sent to this user now. */
export type Readiness = 'ready' | 'identity' | { readonly fault: ApiFault }

interface Lack {
  readonly isUnknown: boolean
  readonly devices: readonly ListedDevice[]
}

function lackOf(context: Context, user: string): Lack {
  const devices = devicesOf(context.store, user)
  const isUnknown = devices === undefined || (devices.length === 0 && user !== context.account.user)
  if (isUnknown) return { isUnknown, devices: [] }
  return { isUnknown, devices: devices.filter(({ number }) => !context.cipher.hasSession(user, number)) }
}

/** Nothing is to be asked for: the devices are known, and each has a session. In a turn. */
export function hasSessions(context: Context, user: string): boolean {
  const { isUnknown, devices } = lackOf(context, user)
  return !isUnknown && devices.length === 0
}

async function fetchKeys({ api }: Context, user: string, lack: Lack): Promise<AccountKeys> {
  const [first] = lack.devices
  if (!lack.isUnknown && lack.devices.length === 1 && first !== undefined) {
    return api.takeDeviceKeys(user, first.number)
  }
  return api.takeKeys(user)
}

/** Those with a session and those of the answer. What has neither is not there, or the next send says that it is. */
function withBundles(context: Context, known: readonly ListedDevice[], keys: AccountKeys): ListedDevice[] {
  const kept = known.filter(({ number }) => context.cipher.hasSession(keys.user, number))
  const listed = new Map(kept.map((device) => [device.number, device]))
  for (const { number, registrationId } of keys.devices) listed.set(number, { number, registrationId })
  return [...listed.values()]
}

async function beginAll(context: Context, user: string, keys: AccountKeys, lack: Lack): Promise<void> {
  const { cipher, store, account } = context
  const before = lack.isUnknown ? [] : (devicesOf(store, user) ?? [])
  setDevices(store, user, withBundles(context, before, keys))
  for (const bundle of keys.devices) {
    const isSelf = user === account.user && bundle.number === account.number
    if (!isSelf && !cipher.hasSession(user, bundle.number)) await cipher.begin(user, keys.identityKey, bundle)
  }
}

/** A session was not begun: the bundle is false, whoever made it. */
const falseBundle = (error: Error): ApiFault =>
  new ApiFault('bad_answer', `The keys that the server gave are not those of the user: ${error.message}`)

/**
 * Makes sure that all devices of `user` that are known can be sent to; fetches the list when none is. Identity changes
 * that it finds are recorded.
 */
export async function startSessions(context: Context, user: string): Promise<Readiness> {
  const lack = await context.store.turn(() => lackOf(context, user))
  if (!lack.isUnknown && lack.devices.length === 0) return 'ready'
  let keys: AccountKeys
  try {
    keys = await fetchKeys(context, user, lack)
  } catch (error) {
    if (!(error instanceof ApiFault)) throw error
    // Nobody else is there: one's own account with one device, or a device that went meanwhile.
    const isGone = error.code === 'unknown_recipient'
    if (isGone && user === context.account.user) {
      await context.store.turn(() => setDevices(context.store, user, []))
      return 'ready'
    }
    if (isGone && !lack.isUnknown) {
      // Let the server say which devices there are.
      const gone = new Set(lack.devices.map(({ number }) => number))
      const left = await context.store.turn(() => {
        const kept = (devicesOf(context.store, user) ?? []).filter(({ number }) => !gone.has(number))
        setDevices(context.store, user, kept)
        return kept.length
      })
      // Nobody is left: perhaps the user has other devices now, or another identity.
      if (left === 0 && user !== context.account.user) return startSessions(context, user)
      return 'ready'
    }
    return { fault: error }
  }
  return beginSessions(context, user, keys, lack)
}

async function beginSessions(context: Context, user: string, keys: AccountKeys, lack: Lack): Promise<Readiness> {
  const { store, cipher } = context
  let failure: Error | undefined
  await store.turn(async () => {
    try {
      await store.part(() => beginAll(context, user, keys, lack))
    } catch (error) {
      failure = error as Error
      // What the server claims is recorded beside the attempt, which is undone: the user has to see it.
      if (failure instanceof IdentityFault) {
        if (cipher.identities.learn(user, keys.identityKey, context.now())) cipher.sessions.removeAll(user)
      }
    }
    // Told by whoever has something to send: `identity` is the answer.
    cipher.identities.takeChanged()
  })
  if (failure === undefined) return 'ready'
  return failure instanceof IdentityFault ? 'identity' : { fault: falseBundle(failure) }
}
