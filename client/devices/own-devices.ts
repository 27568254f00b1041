/** One's own devices: who is there, linking another one, removing one. */

import { setTimeout as sleep } from 'node:timers/promises'
import { SCOPE } from '../../topics/codec.ts'
import type { Context } from '../context.ts'
import { readNumber, writeMeta, writeNumber } from '../crypto/account.ts'
import { type LinkOffer, offerLink, openGrant, parseLink, sealGrant } from '../crypto/link.ts'
import { ClientFault } from '../faults.ts'
import { type Api, ApiFault } from '../http/api.ts'
import { queueSignal, SENT, STORED } from '../outbox/outbox-rows.ts'
import { devicesOf, type ListedDevice, setDevices } from '../store/device-lists.ts'
import type { Store } from '../store/open.ts'
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
/** Numbers of one's other devices that were there before the link, or have the history. */
const HISTORY_HAD = 'history_had'
/** How long own messages may wait for their numbers, and how often that is looked at. */
const NUMBERS_MS_MAX = 5_000
const LOOK_MS = 100
const UNNUMBERED = `SELECT 1 FROM outbox
  WHERE state IN (${SENT}, ${STORED}) AND stamp > 0 AND stamp <= ? AND seq = 0 AND scope = ${SCOPE.message} LIMIT 1`

/**
 * What was sent before the link is for nobody new, and without its number it has no place in a history: it is waited
 * for, and not for ever.
 */
async function untilNumbered({ store, account }: Context): Promise<void> {
  const { lastStamp } = account
  for (let waitedMs = 0; waitedMs < NUMBERS_MS_MAX; waitedMs += LOOK_MS) {
    if (store.peek(UNNUMBERED, lastStamp).length === 0) return
    await sleep(LOOK_MS, undefined, { ref: false })
  }
}

const writeHad = (store: Store, had: readonly number[]): void =>
  writeMeta(store, HISTORY_HAD, Buffer.from(JSON.stringify(had)))

/** In a turn. */
function readHad(store: Store): number[] {
  const value = store.get('SELECT value FROM meta WHERE name = ?', HISTORY_HAD)?.['value'] as Uint8Array | undefined
  return value === undefined ? [] : (JSON.parse(Buffer.from(value).toString()) as number[])
}

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

  /** Once for each: who is new is not in what the list was before, since a refused request may have repaired it. */
  async function giveHistory(listed: readonly ListedDevice[]): Promise<void> {
    if (context.now() >= historyUntilMs || listed.length === 0) return
    await untilNumbered(context)
    await store.turn(() => {
      const had = readHad(store)
      const lacking = listed.map(({ number }) => number).filter((number) => !had.includes(number))
      for (const number of lacking) queueHistory(context, number)
      if (lacking.length > 0) writeHad(store, [...had, ...lacking])
    })
  }

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
        return isTold ? { added, removed } : undefined
      })
      if (changes !== undefined) context.emit('devicesChanged', { user: account.user, ...changes })
      await giveHistory(listed)
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
      const before = (await api.devices()).map(({ number }) => number)
      const isFirst = context.now() >= historyUntilMs
      historyUntilMs = context.now() + HISTORY_WAITS_MS
      await store.turn(() => {
        writeNumber(store, HISTORY_UNTIL, historyUntilMs)
        // Another one that was linked just before may lack it still.
        if (isFirst) writeHad(store, before)
      })
      await api.answerLink(
        target.link,
        sealGrant(target, { user: account.user, identity: account.identity, linkToken }),
      )
    },
  }
}
