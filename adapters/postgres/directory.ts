/**
 * Users, devices and tokens in PostgreSQL: reads from memory while they are fresh, else in one round trip; writes
 * durable, and told to all processes when they commit. While the server does not answer, reads are answered with what
 * is known; what is not known rejects, so that nobody takes it for unknown.
 */
import { timingSafeEqual } from 'node:crypto'
import {
  type Account,
  type Clock,
  ConflictFault,
  type Device,
  type Directory,
  type Kind,
  type NewAccount,
  type NewDevice,
} from '../../core/ports.ts'
import type { Database } from './database.ts'
import { payloadsOf } from './hearing.ts'
import { dropKeys } from './key-rows.ts'
import type { Memory, Name } from './memory.ts'
import { type Columns, ConstraintFault, type Run } from './transact.ts'

const NO_HASH = Buffer.alloc(32)
/** Things own nothing. */
const NOBODY: ReadonlySet<string> = new Set()

/** 16 bytes as the latin1 string that keys maps. */
const keyOf = (user: Uint8Array): string => Buffer.from(user).toString('latin1')

/** A text of PostgreSQL has no such character, so nobody has such a name. */
const isName = (text: string): boolean => !text.includes('\0')

/** By the names of schema.ts, and `number` where that is NULL, as a new device of a person is that gets no number. */
function takenOf(constraint: string): ConflictFault['taken'] {
  if (constraint === 'users_phone') return 'phone'
  if (constraint.startsWith('users_')) return 'handle'
  return constraint === 'devices_number' || constraint === 'number' ? 'number' : 'device'
}

type DeviceRow = [id: string, number: number, registrationId: number, numbered: boolean]

function accountFrom(row: Columns): Account {
  const owner = row['owner'] as Uint8Array | null
  const user = Uint8Array.from(row['user_id'] as Uint8Array)
  const allowed = row['allowed'] as Uint8Array[] | null
  const devices = (row['devices'] as DeviceRow[] | null) ?? []
  return {
    user,
    key: keyOf(user),
    kind: row['kind'] as Kind,
    handle: (row['handle'] as string | null) ?? undefined,
    owner: owner === null ? undefined : keyOf(owner),
    allowed: allowed === null ? NOBODY : new Set(allowed.map(keyOf)),
    devices: devices.map(
      ([id, number, registrationId, numbered]): Device => ({ id, number, registrationId, numbered }),
    ),
  }
}

async function insertUsers(run: Run, accounts: readonly NewAccount[], now: number): Promise<void> {
  if (accounts.length === 0) return
  const column = <T>(of: (account: NewAccount) => T): T[] => accounts.map(of)
  const [users, kinds] = [column(({ user }) => user), column(({ kind }) => kind)]
  await run(
    'insertUsers',
    users,
    kinds,
    column((each) => each.handle ?? null),
    column((each) => each.owner ?? null),
    now,
  )
}

async function insertDevices(run: Run, devices: readonly NewDevice[], now: number): Promise<void> {
  if (devices.length === 0) return
  const column = <K extends keyof NewDevice>(name: K): NewDevice[K][] => devices.map((device) => device[name])
  const [ids, users, numbers] = [column('id'), column('user'), column('number')]
  const rest = [column('registrationId'), column('numbered'), column('tokenHash')]
  await run('insertDevices', ids, users, numbers, ...rest, now)
}

/** A write, with whom it changes: `touch` says so. */
export type Work<T> = (run: Run, touch: (user: Uint8Array) => void) => Promise<T>
export interface OpenDirectory {
  readonly directory: Directory
  /**
   * One transaction of any part of this adapter; all processes forget what they knew of the users that it touches.
   * Rejects with a ConflictFault when something is taken.
   */
  write<T>(work: Work<T>): Promise<T>
}

/** Reads of one name that are under way at the same version are one read. */
type Joined = Map<Name, { readonly version: number; readonly found: Promise<Account | undefined> }>
type AccountRead = 'account' | 'accountByHandle' | 'accountOfDevice'

async function readAccount(
  database: Database,
  memory: Memory,
  name: Name,
  statement: AccountRead,
  value: unknown,
): Promise<Account | undefined> {
  const reading = memory.begin()
  try {
    const [row] = await database.read(statement, value)
    if (row === undefined) {
      memory.forgetName(name)
      return undefined
    }
    const account = accountFrom(row)
    memory.keep(reading, account)
    return account
  } catch (fault) {
    const known = memory.account(name, false)
    if (known === undefined) throw fault
    return known
  } finally {
    memory.end(reading)
  }
}

async function logIn(database: Database, memory: Memory, id: string | undefined, tokenHash: Uint8Array, token: Name) {
  const reading = memory.begin()
  try {
    const [row] = id === undefined ? await database.read('loginByToken', tokenHash) : await database.read('login', id)
    // The comparison is made for unknown devices too, so that answers take the same time.
    const isRight = timingSafeEqual((row?.['token_hash'] as Uint8Array) ?? NO_HASH, tokenHash)
    const account = row !== undefined && isRight && row['revoked_ms'] === 0 ? accountFrom(row) : undefined
    const device = account?.devices.find((each) => each.id === row?.['device'])
    if (account === undefined || device === undefined) {
      if (memory.login(id, token, false) !== undefined) memory.forgetName(token)
      return undefined
    }
    memory.keep(reading, account, { device, token })
    return { account, device }
  } catch (fault) {
    const known = memory.login(id, token, false)
    if (known === undefined) throw fault
    return known
  } finally {
    memory.end(reading)
  }
}

/** `channel`: where changes are told. */
export function createDirectory(database: Database, memory: Memory, channel: string, now: Clock): OpenDirectory {
  const joined: Joined = new Map()

  function find(name: Name, statement: AccountRead, value: unknown): Promise<Account | undefined> {
    const known = memory.account(name, true)
    if (known !== undefined) return Promise.resolve(known)
    const other = joined.get(name)
    const version = memory.version()
    if (other?.version === version) return other.found
    const found = readAccount(database, memory, name, statement, value).finally(() => {
      if (joined.get(name)?.found === found) joined.delete(name)
    })
    joined.set(name, { version, found })
    return found
  }

  async function write<T>(work: Work<T>): Promise<T> {
    const touched = new Map<string, Uint8Array>()
    try {
      return await database.write(async (run) => {
        const result = await work(run, (user) => void touched.set(keyOf(user), user))
        for (const payload of payloadsOf([...touched.values()])) await run('notify', channel, payload)
        return result
      })
    } catch (error) {
      throw error instanceof ConstraintFault ? new ConflictFault(takenOf(error.constraint)) : error
    } finally {
      memory.onChange([...touched.values()])
    }
  }

  const directory: Directory = {
    version: memory.version,
    async authenticate(id, tokenHash) {
      if (id !== undefined && !isName(id)) return undefined
      const token: Name = `t${keyOf(tokenHash)}`
      return memory.login(id, token, true) ?? (await logIn(database, memory, id, tokenHash, token))
    },
    account: (user) => find(`u${keyOf(user)}`, 'account', user),
    accountByHandle: async (handle) => (isName(handle) ? find(`h${handle}`, 'accountByHandle', handle) : undefined),
    accountOfDevice: async (id) => (isName(id) ? find(`d${id}`, 'accountOfDevice', id) : undefined),
    async create(accounts, devices) {
      await write(async (run, touch) => {
        for (const { user } of [...accounts, ...devices]) touch(user)
        await insertUsers(run, accounts, now())
        await insertDevices(run, devices, now())
      })
    },
    async allow(owner, peer) {
      await write(async (run, touch) => {
        touch(owner)
        await run('insertGrant', owner, peer)
      })
    },
    async revoke(id) {
      if (!isName(id)) return false
      return await write(async (run, touch) => {
        const [row] = await run('userOfDevice', id)
        if (row === undefined) return false
        touch(row['user_id'] as Uint8Array)
        await run('endDevice', now(), id)
        await dropKeys(run, id)
        return true
      })
    },
  }
  return { directory, write }
}
