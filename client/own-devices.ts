/** One's own devices: who is there, linking another one, removing one. */
import { readNumber, writeNumber } from './account.ts'
import type { Core } from './core.ts'
import { type LinkOffer, offerLink, openGrant, parseLink, sealGrant } from './crypto/link.ts'
import { devicesOf, setDevices } from './device-lists.ts'
import { ClientFault } from './faults.ts'
import { queueHistory } from './history.ts'
import { queueSignal } from './outbox-rows.ts'
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

export function createOwnDevices(core: Core): OwnDevices {
  const { store, api, account, cipher } = core
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
        if (isTold && account.isPrimary) queueSignal(core, account.user, { devicesChanged: { added, removed } })
        if (core.now() < historyUntilMs) for (const number of added) queueHistory(core, number)
        return isTold ? { added, removed } : undefined
      })
      if (changes !== undefined) core.emit('devicesChanged', { user: account.user, ...changes })
    },
    async offer() {
      if (account.user !== '') throw new ClientFault('already_registered')
      return offerLink((await api.openLink()).link)
    },
    async join(offer, enrolment) {
      let sealed: Uint8Array | undefined
      while (sealed === undefined) sealed = await api.readLink(offer.link)
      const grant = openGrant(offer, sealed)
      account.identity = grant.identity
      await enrolment.enrol({ linkToken: grant.linkToken }, false)
    },
    async accept(uri) {
      const target = parseLink(uri)
      const { linkToken } = await api.makeLinkToken()
      historyUntilMs = core.now() + HISTORY_WAITS_MS
      await store.turn(() => writeNumber(store, HISTORY_UNTIL, historyUntilMs))
      await api.answerLink(
        target.link,
        sealGrant(target, { user: account.user, identity: account.identity, linkToken }),
      )
    },
  }
}
