/** The calls of the public face about the account, its devices and identities. */
import type { Account } from './crypto/account.ts'
import type { LinkOffer } from './crypto/link.ts'
import { matches, safetyNumber } from './crypto/safety-number.ts'
import { ClientFault } from './faults.ts'
import { asClientFault } from './http/ask.ts'
import type { Parts } from './parts.ts'
import type { Client, Me } from './public.ts'

interface Connecting {
  connect(parts: Parts): void
  disconnect(parts: Parts): Promise<void>
}

function meOf({ user, handle, device, number, isPrimary }: Account): Me | undefined {
  return user === '' ? undefined : { user, handle, device, number, isPrimary }
}

/** Who the others are. */
export function identityCalls(parts: Parts) {
  const { store, account, context, outbox } = parts
  const keyOf = (peer: string) => store.peek('SELECT key, verified FROM identities WHERE user = ?', peer)[0]
  return {
    safetyNumber(peer) {
      const known = keyOf(peer)
      if (known === undefined || account.user === '') return undefined
      return { ...safetyNumber(account, peer, known['key'] as Uint8Array), isVerified: known['verified'] === 1 }
    },
    compareSafetyNumber(peer, scanned) {
      const known = keyOf(peer)
      return known !== undefined && matches(account, peer, known['key'] as Uint8Array, scanned)
    },
    setVerified: (peer, isVerified) => store.turn(() => context.cipher.identities.setVerified(peer, isVerified)),
    async approveIdentity(user) {
      await store.turn(() => context.cipher.identities.approve(user))
      outbox.release(user)
    },
  } satisfies Partial<Client>
}

/** What the server refuses reaches the program as a ClientFault. */
function told<A extends unknown[], T>(call: (...args: A) => Promise<T>): (...args: A) => Promise<T> {
  return async (...args) => {
    try {
      return await call(...args)
    } catch (error) {
      throw asClientFault(error)
    }
  }
}

/** Who one is, and on which devices. */
export function accountCalls(parts: Parts, { connect, disconnect }: Connecting) {
  const { account, context, enrolment, ownDevices } = parts
  const me = () => meOf(account) as Me
  const join = told((offer: LinkOffer) => ownDevices.join(offer, enrolment).then(me))
  return {
    me: () => meOf(account),
    askCode: told((phone) => context.api.askCode(phone)),
    register: told(async ({ phone, code, handle }) => {
      if (account.user !== '') throw new ClientFault('already_registered')
      await enrolment.enrol({ phone, code, ...(handle === undefined ? {} : { handle }) }, true)
      return me()
    }),
    offerLink: told(async () => {
      const offer = await ownDevices.offer()
      return { uri: offer.uri, linked: join(offer) }
    }),
    acceptLink: told((uri) => ownDevices.accept(uri)),
    devices: told(() => context.api.devices()),
    removeDevice: told(async (device) => {
      await context.api.endDevice(device)
      await ownDevices.refresh()
    }),
    resetIdentity: told(async () => {
      if (account.user === '') throw new ClientFault('not_registered')
      if (!account.isPrimary) throw new ClientFault('not_primary')
      const wasConnected = parts.transport !== undefined
      await disconnect(parts)
      try {
        await enrolment.reset()
      } finally {
        if (wasConnected) connect(parts)
      }
      return me()
    }),
  } satisfies Partial<Client>
}
