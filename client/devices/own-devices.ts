/** One's own devices: who is there, linking another one, removing one. */

import type { Context } from '../context.ts'
import { readNumber, writeNumber } from '../crypto/account.ts'
import { type LinkOffer, offerLink, openGrant, parseLink, sealGrant } from '../crypto/link.ts'
import { ClientFault } from '../faults.ts'
import { type Api, ApiFault } from '../http/api.ts'
import { queueSignal } from '../outbox/outbox-rows.ts'
import { devicesOf, setDevices } from '../store/device-lists.ts'
import { queueHistory } from './history.ts'
import type { Enrolment } from './register.ts'

export interface OwnDevices {
  /** Compares the list with the server's: new ones are told, and get the history when this device linked them. */
  refresh(): Promise<void>
  offer(): Promise<LinkOffer>
  /** Waits for the primary device, then registers. */
  join(offer: LinkOffer, enrolment: Enrolment): Promise<void>
  accept(uri: string): Promise<void>
}

/** How long the history waits for the device that was linked. */
const HISTORY_WAITS_MS = 600_000
const HISTORY_UNTIL = 'history_until'

/** Waits for the primary device's answer. A link that is over is not there any more. */
async function readGrant(api: Api, link: string): Promise<Uint8Array> {
  try {
    for (;;) {
      const sealed = await api.readLink(link)
      if (sealed !== undefined) return sealed
    }
  } catch (error) {
    const isOver = error instanceof ApiFault && error.code === 'unknown_recipient'
    throw isOver ? new ClientFault('link_expired') : error
  }
}

export function createOwnDevices(context: Context): OwnDevices {
  const { store, api, account, cipher } = context
  // Kept, so that the history goes also when this device was started anew in between.
  let historyUntilMs = readNumber(store, HISTORY_UNTIL)

  return {
    async refresh() {
      const listed = (await api.devices()).filter(({ number }) => number !== account.number)
      const changes = await store.turn(() => {
        const known = devicesOf(store, account.user)
        const before = new Set((known ?? []).map(({ number }) => number))
        const now = new Set(listed.map(({ number }) => number))
        const added = [...now].filter((number) => !before.has(number))
        const removed = [...before].filter((number) => !now.has(number))
        for (const number of removed) cipher.sessions.set(account.user, number, null)
        setDevices(store, account.user, listed)
        const isTold = known !== undefined && added.length + removed.length > 0
        if (isTold && account.isPrimary) queueSignal(context, account.user, { devicesChanged: { added, removed } })
        if (context.now() < historyUntilMs) for (const number of added) queueHistory(context, number)
        return isTold ? { added, removed } : undefined
      })
      if (changes !== undefined) context.emit('devicesChanged', { user: account.user, ...changes })
    },
    async offer() {
      if (account.user !== '') throw new ClientFault('already_registered')
      return offerLink((await api.openLink()).link)
    },
    async join(offer, enrolment) {
      const grant = openGrant(offer, await readGrant(api, offer.link))
      const { identity } = account
      account.identity = grant.identity
      try {
        await enrolment.enrol({ linkToken: grant.linkToken }, false, grant.user)
      } catch (error) {
        if (account.user === '') account.identity = identity
        throw error
      }
    },
    async accept(uri) {
      const target = parseLink(uri)
      const { linkToken } = await api.makeLinkToken()
      historyUntilMs = context.now() + HISTORY_WAITS_MS
      await store.turn(() => writeNumber(store, HISTORY_UNTIL, historyUntilMs))
      await api.answerLink(
        target.link,
        sealGrant(target, { user: account.user, identity: account.identity, linkToken }),
      )
    },
  }
}
