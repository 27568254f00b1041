/**
 * Accounts of persons in SQLite. Each write is one transaction of the writer thread, which runs one at a time. Whether
 * the account is there, whether its identity key is the one that a device was made for, which device is primary and how
 * many there are is asked for inside of it, so that two of them at once cannot both be right. Only whether `replace`
 * begins anew is judged before: it fails when that was wrong, or the later one begins anew once more.
 */
import {
  type Accounts,
  ConflictFault,
  IdentityFault,
  type NewPersonDevice,
  type Person,
  type PersonDevice,
} from '../../core/ports.ts'
import { limits } from '../../topics/limits.ts'
import type { OpenDirectory } from './directory.ts'
import { dropKeyStatements, dropKeysOfPrimary, dropKeysOfUser, keyStatements } from './key-statements.ts'
import type { Statement } from './schema.ts'
import { prepared, type Store } from './store.ts'

const PERSON = 'SELECT user, handle, identity_key FROM users WHERE user = ? AND erased_ms = 0'
const PHONE = 'SELECT user FROM users WHERE phone_hash = ?'
const DEVICES = `SELECT id, number, registration_id, name, created_ms, is_primary, seen_ms FROM devices
  WHERE user = ? AND revoked_ms = 0 ORDER BY number`
const NUMBER = 'SELECT number FROM devices WHERE id = ?'
const ENDED = 'SELECT id FROM devices WHERE user = ? AND revoked_ms >= ?'
const USER_OF_DEVICE = 'SELECT user FROM devices WHERE id = ?'
/** The primary one and those that are linked. */
const DEVICES_MAX = 1 + limits.linkedDevicesMax

const own = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes)

function readPerson({ reader }: Store, user: Uint8Array): Person | undefined {
  const row = prepared(reader, PERSON).get(user)
  if (row === undefined || row['identity_key'] === null) return undefined
  const devices = prepared(reader, DEVICES)
    .all(user)
    .map(
      (each): PersonDevice => ({
        id: each['id'] as string,
        number: each['number'] as number,
        registrationId: each['registration_id'] as number,
        name: (each['name'] as Uint8Array | null) ?? undefined,
        createdMs: each['created_ms'] as number,
        seenMs: each['seen_ms'] as number,
        isPrimary: each['is_primary'] === 1,
      }),
    )
  return {
    user: own(row['user'] as Uint8Array),
    handle: (row['handle'] as string | null) ?? undefined,
    identityKey: own(row['identity_key'] as Uint8Array),
    devices,
  }
}

function insertDevice(
  user: Uint8Array,
  identityKey: Uint8Array,
  device: NewPersonDevice,
  isPrimary: boolean,
  now: number,
): Statement[] {
  const { id, registrationId, tokenHash, name, keys } = device
  const values = [id, registrationId, tokenHash, now, name ?? null, isPrimary ? 1 : 0] as const
  // A primary device takes no place of a linked one.
  const devicesMax = isPrimary ? limits.devicesPerUserMax : DEVICES_MAX
  return [['insertPersonDevice', identityKey, devicesMax, ...values, user], ...keyStatements(id, keys, now)]
}

/**
 * The statement of a new device fails as a number that is taken; the reason is asked for then. `held` is the identity
 * key that the account has to have, if that is not what changes.
 */
async function writeDevice(
  store: Store,
  write: OpenDirectory['write'],
  statements: Statement[],
  user: Uint8Array,
  held: Uint8Array | undefined,
): Promise<void> {
  try {
    await write(statements, [user])
  } catch (error) {
    if (!(error instanceof ConflictFault) || error.taken !== 'number') throw error
    const person = readPerson(store, user)
    if (person !== undefined && (held === undefined || Buffer.from(held).equals(person.identityKey))) throw error
    throw new IdentityFault('the account has another identity key')
  }
}

const numberOf = ({ reader }: Store, id: string): number => prepared(reader, NUMBER).get(id)?.['number'] as number

function endedSince({ reader }: Store, user: Uint8Array, ms: number): string[] {
  return prepared(reader, ENDED)
    .all(user, ms)
    .map((row) => row['id'] as string)
}

/** What ends when a device takes the place of others. */
function ending(
  user: Uint8Array,
  ended: readonly string[],
  newIdentity: Uint8Array | undefined,
  now: number,
): Statement[] {
  if (newIdentity === undefined) {
    const others = ended.flatMap((id): Statement[] => [['endDevice', now, id], ...dropKeyStatements(id)])
    return [...dropKeysOfPrimary(user), ['endPrimary', now, user], ...others]
  }
  return [['endDevices', now, user], ...dropKeysOfUser(user), ['setIdentity', newIdentity, user]]
}

/** Opens the port over the store; `write` is that of its directory. */
export function createAccounts(store: Store, write: OpenDirectory['write']): Accounts {
  const { reader } = store
  return {
    async personByPhone(phoneHash) {
      const row = prepared(reader, PHONE).get(phoneHash)
      return row && readPerson(store, row['user'] as Uint8Array)
    },
    person: async (user) => readPerson(store, user),
    async register({ user, handle, phoneHash, identityKey }, device) {
      const now = store.now()
      const account: Statement = ['insertPerson', user, handle ?? null, now, phoneHash, identityKey]
      await write([account, ...insertDevice(user, identityKey, device, true, now)], [user])
      return numberOf(store, device.id)
    },
    async link(user, identityKey, device) {
      const statements = insertDevice(user, identityKey, device, false, store.now())
      await writeDevice(store, write, statements, user, identityKey)
      return numberOf(store, device.id)
    },
    async replace(user, identityKey, ended, device, handle) {
      const now = store.now()
      const before = readPerson(store, user)
      if (before === undefined) throw new IdentityFault('the account is gone')
      const isNew = !Buffer.from(before.identityKey).equals(identityKey)
      const naming: Statement[] = handle === undefined ? [] : [['setHandle', handle, user]]
      const statements = [
        ...ending(user, ended, isNew ? identityKey : undefined, now),
        ...naming,
        ...insertDevice(user, identityKey, device, true, now),
      ]
      await writeDevice(store, write, statements, user, isNew ? undefined : identityKey)
      return { number: numberOf(store, device.id), ended: endedSince(store, user, now) }
    },
    async change(device, { name, tokenHash }) {
      const row = prepared(reader, USER_OF_DEVICE).get(device)
      if (row === undefined) return
      const statements: Statement[] = []
      if (name !== undefined) statements.push(['setDeviceName', name, device])
      if (tokenHash !== undefined) statements.push(['setDeviceToken', tokenHash, device])
      await write(statements, [row['user'] as Uint8Array])
    },
    async seen(device, atMs) {
      // Nobody has to forget anything for it.
      await store.commits.alone([['setDeviceSeen', atMs, device]])
    },
    async erase(user) {
      const now = store.now()
      const ended: Statement[] = [['endDevices', now, user], ...dropKeysOfUser(user)]
      await write([...ended, ['dropGrants', user, user], ['eraseUser', now, user]], [user])
      return endedSince(store, user, now)
    },
  }
}
