/**
 * Accounts of persons in PostgreSQL. Each write is one transaction that holds the row of its account, so that two of
 * them at once are one after the other; what it depends on is asked for behind that lock.
 */
import {
  type Accounts,
  type Clock,
  IdentityFault,
  type NewPersonDevice,
  type Person,
  type PersonDevice,
} from '../../core/ports.ts'
import { limits } from '../../topics/limits.ts'
import type { Database } from './database.ts'
import type { OpenDirectory } from './directory.ts'
import { dropKeys, dropKeysOfUser, putKeys } from './key-rows.ts'
import type { Columns, Run } from './transact.ts'

/** The primary one and those that are linked. */
const DEVICES_MAX = 1 + limits.linkedDevicesMax

const own = (bytes: unknown): Uint8Array => new Uint8Array(bytes as Uint8Array)

/** One row for each device, or one without a device. */
function personFrom(rows: readonly Columns[]): Person | undefined {
  const [row] = rows
  if (row === undefined || row['identity_key'] === null) return undefined
  const withDevice = rows.filter((each) => each['id'] !== null)
  return {
    user: own(row['user_id']),
    handle: (row['handle'] as string | null) ?? undefined,
    identityKey: own(row['identity_key']),
    devices: withDevice.map(
      (each): PersonDevice => ({
        id: each['id'] as string,
        number: each['number'] as number,
        registrationId: each['registration_id'] as number,
        name: each['name'] === null ? undefined : own(each['name']),
        createdMs: each['created_ms'] as number,
        seenMs: each['seen_ms'] as number,
        isPrimary: each['is_primary'] === true,
      }),
    ),
  }
}

/** Resolves with the device's number. */
async function insertDevice(run: Run, user: Uint8Array, device: NewPersonDevice, isPrimary: boolean, now: number) {
  const { id, registrationId, tokenHash, name, keys } = device
  // A primary device takes no place of a linked one.
  const devicesMax = isPrimary ? limits.devicesPerUserMax : DEVICES_MAX
  const values = [user, id, registrationId, tokenHash, now, name ?? null, isPrimary]
  const [row] = await run('insertPersonDevice', ...values, devicesMax)
  await putKeys(run, id, keys, now)
  return row?.['number'] as number
}

/** Holds the account until the transaction ends. Rejects with an IdentityFault when it is none of a person. */
async function lockPerson(run: Run, user: Uint8Array): Promise<Buffer> {
  const [row] = await run('lockPerson', user)
  const identityKey = row?.['identity_key'] as Buffer | null | undefined
  if (identityKey === undefined || identityKey === null) throw new IdentityFault('the account is gone')
  return identityKey
}

async function endAll(run: Run, user: Uint8Array, now: number): Promise<string[]> {
  const rows = await run('endDevices', now, user)
  await dropKeysOfUser(run, user)
  return rows.map((row) => row['id'] as string)
}

/** Also whichever device is the primary one now: somebody else may have replaced it since the caller looked. */
async function endSome(run: Run, user: Uint8Array, ended: readonly string[], now: number): Promise<string[]> {
  const primary = (await run('endPrimary', now, user)).map((row) => row['id'] as string)
  for (const id of ended) await run('endDevice', now, id)
  const all = [...new Set([...primary, ...ended])]
  for (const id of all) await dropKeys(run, id)
  return all
}

/** Opens the port over the database; `write` is that of its directory. */
export function createAccounts(database: Database, write: OpenDirectory['write'], now: Clock): Accounts {
  return {
    personByPhone: async (phoneHash) => personFrom(await database.read('personByPhone', phoneHash)),
    person: async (user) => personFrom(await database.read('person', user)),
    register({ user, handle, phoneHash, identityKey }, device) {
      return write(async (run, touch) => {
        touch(user)
        await run('insertPerson', user, handle ?? null, now(), phoneHash, identityKey)
        return insertDevice(run, user, device, true, now())
      })
    },
    link(user, identityKey, device) {
      return write(async (run, touch) => {
        touch(user)
        if (!(await lockPerson(run, user)).equals(identityKey)) {
          throw new IdentityFault('the account has another identity key')
        }
        return insertDevice(run, user, device, false, now())
      })
    },
    replace(user, identityKey, ended, device, handle) {
      return write(async (run, touch) => {
        touch(user)
        const isNew = !(await lockPerson(run, user)).equals(identityKey)
        const gone = isNew ? await endAll(run, user, now()) : await endSome(run, user, ended, now())
        if (isNew) await run('setIdentity', identityKey, user)
        if (handle !== undefined) await run('setHandle', handle, user)
        return { number: await insertDevice(run, user, device, true, now()), ended: gone }
      })
    },
    async change(device, { name, tokenHash }) {
      await write(async (run, touch) => {
        const [row] = await run('userOfDevice', device)
        if (row === undefined) return
        touch(row['user_id'] as Uint8Array)
        if (name !== undefined) await run('setDeviceName', name, device)
        if (tokenHash !== undefined) await run('setDeviceToken', tokenHash, device)
      })
    },
    async seen(device, atMs) {
      // Nobody has to forget anything for it.
      await database.write((run) => run('setDeviceSeen', atMs, device))
    },
    erase(user) {
      return write(async (run, touch) => {
        touch(user)
        await run('lockPerson', user)
        const ended = await endAll(run, user, now())
        await run('dropGrants', user)
        await run('eraseUser', now(), user)
        return ended
      })
    },
  }
}
