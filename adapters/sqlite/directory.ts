/**
 * Users, devices and tokens in SQLite: reads by primary key on the read connection, with a bounded cache; writes
 * durable.
 */
import { timingSafeEqual } from 'node:crypto'
import type { SQLOutputValue } from 'node:sqlite'
import {
  type Account,
  ConflictFault,
  type Device,
  type Directory,
  type Kind,
  type NewAccount,
  type NewDevice,
} from '../../core/ports.ts'
import { CommitFault } from './commits.ts'
import { dropKeyStatements } from './key-statements.ts'
import type { Statement } from './schema.ts'
import { prepared, type Store } from './store.ts'

const ACCOUNTS_CACHED_MAX = 20_000
const ACCOUNT = 'SELECT user, kind, handle, owner FROM users WHERE user = ? AND erased_ms = 0'
const HANDLE = 'SELECT user FROM users WHERE handle = ?'
const DEVICE = 'SELECT user, revoked_ms FROM devices WHERE id = ?'
/** All that a CONNECT needs, in one read. */
const LOGIN = `SELECT d.id, d.user, d.number, d.registration_id, d.numbered, d.token_hash, d.revoked_ms,
  u.kind, u.handle, u.owner FROM devices d JOIN users u ON u.user = d.user WHERE d.id = ?`
/** The same by the index of tokens: who can make this hash has the token. */
const LOGIN_BY_TOKEN = LOGIN.replace('WHERE d.id = ?', 'WHERE d.token_hash = ? ORDER BY d.revoked_ms LIMIT 1')
const DEVICES = `SELECT id, number, registration_id, numbered FROM devices
  WHERE user = ? AND revoked_ms = 0 ORDER BY number`
const GRANTS = 'SELECT peer FROM grants WHERE owner = ?'
const NO_HASH = Buffer.alloc(32)

/** 16 bytes as the latin1 string that keys maps. */
const keyOf = (user: Uint8Array): string => Buffer.from(user).toString('latin1')

/**
 * SQLite names the columns of the constraint that failed: `devices.id`, `devices.user, devices.number`,
 * `users.handle`, `users.phone_hash`.
 */
function takenOf(message: string): ConflictFault['taken'] {
  if (message.includes('users.phone_hash')) return 'phone'
  if (message.includes('users.')) return 'handle'
  // What a new device of a person fails with when it gets no number (schema.ts).
  return /devices\.number|NOT NULL/.test(message) ? 'number' : 'device'
}

/** Things own nothing. */
const NOBODY: ReadonlySet<string> = new Set()
function readGrants(store: Store, owner: Uint8Array): ReadonlySet<string> {
  const rows = prepared(store.reader, GRANTS).all(owner)
  return new Set(rows.map((grant) => keyOf(grant['peer'] as Uint8Array)))
}

type Columns = Record<string, SQLOutputValue>

function deviceFrom(row: Columns): Device {
  return {
    id: row['id'] as string,
    number: row['number'] as number,
    registrationId: row['registration_id'] as number,
    numbered: row['numbered'] === 1,
  }
}

function readAccount(store: Store, user: Uint8Array): Account | undefined {
  const { reader } = store
  const row = prepared(reader, ACCOUNT).get(user)
  return row && accountFrom(store, row, prepared(reader, DEVICES).all(user).map(deviceFrom))
}

function accountFrom(store: Store, row: Columns, devices: readonly Device[]): Account {
  const owner = row['owner'] as Uint8Array | null
  const own = Uint8Array.from(row['user'] as Uint8Array)
  return {
    user: own,
    key: keyOf(own),
    kind: row['kind'] as Kind,
    handle: (row['handle'] as string | null) ?? undefined,
    owner: owner === null ? undefined : keyOf(owner),
    allowed: row['kind'] === 'thing' ? NOBODY : readGrants(store, own),
    devices,
  }
}

function insertUser({ user, kind, handle, owner }: NewAccount, now: number): Statement {
  return ['insertUser', user, kind, handle ?? null, owner ?? null, now]
}

function insertDevice(device: NewDevice, now: number): Statement {
  const { id, user, number, registrationId, numbered, tokenHash } = device
  return ['insertDevice', id, user, number, registrationId, numbered ? 1 : 0, tokenHash, now]
}

function readLogin({ reader }: Store, id: string | undefined, tokenHash: Uint8Array): Columns | undefined {
  return id === undefined ? prepared(reader, LOGIN_BY_TOKEN).get(tokenHash) : prepared(reader, LOGIN).get(id)
}

export interface OpenDirectory {
  readonly directory: Directory
  /**
   * Commits statements of other parts of this adapter and forgets what was known of the users that they touch. Rejects
   * with a ConflictFault when something is taken.
   */
  write(statements: Statement[], touched: Uint8Array[]): Promise<readonly number[]>
}

/** Opens the directory over the store; one process owns it, so the cache is never older than a commit. */
export function createDirectory(store: Store): OpenDirectory {
  const { reader } = store
  const cache = new Map<string, Account>()
  let version = 1

  function accountOf(user: Uint8Array): Account | undefined {
    const key = keyOf(user)
    let account = cache.get(key)
    if (account === undefined) {
      account = readAccount(store, user)
      if (account === undefined) return undefined
      if (cache.size >= ACCOUNTS_CACHED_MAX) cache.delete(cache.keys().next().value as string)
      cache.set(key, account)
    }
    return account
  }

  async function write(statements: Statement[], touched: Uint8Array[]): Promise<readonly number[]> {
    try {
      return await store.commits.alone(statements)
    } catch (error) {
      if (error instanceof CommitFault && error.isConflict) throw new ConflictFault(takenOf(error.message))
      throw error
    } finally {
      for (const user of touched) cache.delete(keyOf(user))
      version++
    }
  }

  const directory: Directory = {
    version: () => version,
    async authenticate(id, tokenHash) {
      const row = readLogin(store, id, tokenHash)
      // The comparison is made for unknown devices too, so that answers take the same time.
      const known = timingSafeEqual(Buffer.from((row?.['token_hash'] as Uint8Array) ?? NO_HASH), tokenHash)
      if (row === undefined || !known || row['revoked_ms'] !== 0) return undefined
      // A thing has one device: this row says all of its account.
      const only = deviceFrom(row)
      if (row['kind'] === 'thing') return { account: accountFrom(store, row, [only]), device: only }
      const account = accountOf(row['user'] as Uint8Array)
      return account && { account, device: only }
    },
    account: async (user) => accountOf(user),
    async accountByHandle(handle) {
      const row = prepared(reader, HANDLE).get(handle)
      return row && accountOf(row['user'] as Uint8Array)
    },
    async accountOfDevice(id) {
      const row = prepared(reader, DEVICE).get(id)
      return row?.['revoked_ms'] === 0 ? accountOf(row['user'] as Uint8Array) : undefined
    },
    async create(accounts, devices) {
      const now = store.now()
      await write(
        [...accounts.map((account) => insertUser(account, now)), ...devices.map((device) => insertDevice(device, now))],
        devices.map((d) => d.user),
      )
    },
    async allow(owner, peer) {
      await write([['insertGrant', owner, peer]], [owner])
    },
    async revoke(id) {
      const row = prepared(reader, DEVICE).get(id)
      if (row === undefined) return false
      await write([['endDevice', store.now(), id], ...dropKeyStatements(id)], [row['user'] as Uint8Array])
      return true
    },
  }
  return { directory, write }
}
