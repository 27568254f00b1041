/**
 * Becoming a device of an account: by a code that came to a phone number, by a link, or anew with another identity.
 * Private keys are on the disk before anything of them leaves, and the account only after the server has it; a lost
 * answer is fetched again under the same Idempotency-Key. After a crash in between the next try has the same identity
 * key, so that contacts see no change.
 */
import { randomInt, randomUUID } from 'node:crypto'
import { REGISTRATION_ID_MAX } from '../../topics/ids.ts'
import {
  type Account,
  forgetNextIdentity,
  keepNextIdentity,
  nextIdentity,
  readAccount,
  writeAccount,
} from '../crypto/account.ts'
import { makeAll } from '../crypto/prekeys.ts'
import type { Admission, Api, NewSession } from '../http/api.ts'
import { ApiFault } from '../http/api.ts'
import { ACCEPTED, SENT, STORED } from '../outbox/outbox-rows.ts'
import { forgetAllDevices } from '../store/device-lists.ts'
import type { Store } from '../store/open.ts'

const ASK_AGAIN_MAX = 3

/** The account of this database; a blank one when it has none yet. */
export function accountIn(store: Store, url: string): Account {
  const kept = readAccount(store)
  if (kept !== undefined) return kept
  return {
    url,
    mqtt: '',
    user: '',
    handle: '',
    phone: '',
    device: '',
    number: 0,
    registrationId: 0,
    token: '',
    isPrimary: false,
    lastStamp: 0,
    identity: nextIdentity(store),
  }
}

/** Asks again when the answer was lost on the way: the server does it once. */
async function once<T>(ask: (key: string) => Promise<T>): Promise<T> {
  const key = randomUUID()
  for (let tries = 1; ; tries++) {
    try {
      return await ask(key)
    } catch (error) {
      const isLost = error instanceof ApiFault && (error.code === 'unreachable' || error.code === 'in_progress')
      if (!isLost || tries >= ASK_AGAIN_MAX) throw error
    }
  }
}

async function take(store: Store, account: Account, session: NewSession): Promise<void> {
  Object.assign(account, {
    user: session.user,
    handle: session.handle ?? account.handle,
    device: session.device,
    number: session.number,
    token: session.token,
    mqtt: session.ws,
  })
  await store.turn(() => {
    // Sessions and lists of a device that was before are not those of this one.
    store.run('DELETE FROM sessions')
    forgetAllDevices(store)
    // What was under way is encrypted anew by this device; nobody tells it the seqs of the one before.
    store.run('UPDATE outbox SET state = 0, stamp = 0, request = NULL WHERE state = ?', SENT)
    store.run('UPDATE outbox SET state = ? WHERE state = ?', ACCEPTED, STORED)
    writeAccount(store, account)
    forgetNextIdentity(store)
  })
}

export interface Enrolment {
  /** By phone number and code, or by the token of a link; `user`: whose account it has to be. */
  enrol(admission: Admission, isPrimary: boolean, user?: string): Promise<void>
  /** A new identity on a new device of the account: every other one ends. */
  reset(): Promise<void>
}

export function createEnrolment(store: Store, account: Account, api: Api, now: () => number): Enrolment {
  /** `isOwn` false: the identity is that of another device, and must not become another account's when this fails. */
  async function newDevice(isOwn: boolean) {
    account.registrationId = randomInt(1, REGISTRATION_ID_MAX + 1)
    const keys = await store.turn(() => {
      if (isOwn) keepNextIdentity(store, account.identity)
      return makeAll(store, account.identity, now())
    })
    return { identityKey: account.identity.publicKey.serialize(), registrationId: account.registrationId, keys }
  }
  return {
    async enrol(admission, isPrimary, user) {
      const device = await newDevice(user === undefined)
      const session = await once((key) => api.beginSession(admission, device, key))
      if (user !== undefined && session.user !== user) {
        throw new ApiFault('bad_answer', 'The server made this a device of another account than the link names.')
      }
      account.isPrimary = isPrimary
      if ('phone' in admission) account.phone = admission.phone
      await take(store, account, session)
    },
    async reset() {
      const { identity, registrationId } = account
      account.identity = nextIdentity(store)
      try {
        const device = await newDevice(true)
        await take(store, account, await once((key) => api.replaceIdentity(device, key)))
      } catch (error) {
        Object.assign(account, { identity, registrationId })
        throw error
      }
    },
  }
}
