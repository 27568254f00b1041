/**
 * Becoming a device of an account: by a code that came to a phone number, by a link, or anew with another identity.
 * Private keys are on the disk before anything of them leaves, and the account only after the server has it; a lost
 * answer is fetched again under the same Idempotency-Key.
 */
import { randomInt, randomUUID } from 'node:crypto'
import { type Account, newIdentity, readAccount, writeAccount } from './account.ts'
import type { Admission, Api, NewSession } from './api.ts'
import { ApiFault } from './api.ts'
import { makeAll } from './crypto/prekeys.ts'
import { ACCEPTED, SENT, STORED } from './outbox-rows.ts'
import type { Store } from './store/open.ts'

/** libsignal's registration ids have 14 bits; its clients leave the last ones out. */
const REGISTRATION_ID_MAX = 16_380
const ASK_AGAIN_MAX = 3

/** A client that has no account yet. */
export function blankAccount(store: Store, url: string): Account {
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
    identity: newIdentity(),
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
    store.run('UPDATE peers SET devices = ?', '')
    // What was under way is encrypted anew by this device; nobody tells it the seqs of the one before.
    store.run('UPDATE outbox SET state = 0, stamp = 0, request = NULL WHERE state = ?', SENT)
    store.run('UPDATE outbox SET state = ? WHERE state = ?', ACCEPTED, STORED)
    writeAccount(store, account)
  })
}

export interface Enrolment {
  /** By phone number and code, or by the token of a link. */
  enrol(admission: Admission, isPrimary: boolean): Promise<void>
  /** A new identity on a new device of the account: every other one ends. */
  reset(): Promise<void>
}

export function createEnrolment(store: Store, account: Account, api: Api, now: () => number): Enrolment {
  async function newDevice() {
    account.registrationId = randomInt(1, REGISTRATION_ID_MAX + 1)
    const keys = await store.turn(() => makeAll(store, account.identity, now()))
    return { identityKey: account.identity.publicKey.serialize(), registrationId: account.registrationId, keys }
  }
  return {
    async enrol(admission, isPrimary) {
      const device = await newDevice()
      const session = await once((key) => api.beginSession(admission, device, key))
      account.isPrimary = isPrimary
      if ('phone' in admission) account.phone = admission.phone
      await take(store, account, session)
    },
    async reset() {
      const before = account.identity
      account.identity = newIdentity()
      try {
        const device = await newDevice()
        await take(store, account, await once((key) => api.replaceIdentity(device, key)))
      } catch (error) {
        account.identity = before
        throw error
      }
    },
  }
}
