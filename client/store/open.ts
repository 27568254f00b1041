/**
 * The client's database and its turns. A turn is one transaction: everything that belongs together (ratchet, outbox
 * or inbox row, marks) is durable together (synchronous = FULL), and only then something leaves for the network.
 *
 * Turns run one after the other in the order they were asked for (FIFO, for all remote devices at once: cryptography
 * runs on this one thread anyway, so a lock for each remote device would gain nothing). Nothing in a turn may wait for
 * the network. A turn works off whatever gathered meanwhile, so commits are shared by all conversations.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync, type SQLInputValue, type SQLOutputValue, type StatementSync } from 'node:sqlite'
import { ClientFault } from '../faults.ts'
import { lockDatabase } from './lock.ts'
import { type Cache, createMemory, type Memory } from './memory.ts'
import { MIGRATIONS, PRAGMAS } from './schema.ts'
import { newVault, openVault, type Unlock, type Vault } from './vault.ts'

export type Columns = Record<string, SQLOutputValue>

export interface Turn {
  /** Runs after the commit, in order; not at all when it fails. */
  after(call: () => void): void
}

export interface Store {
  readonly vault: Vault
  readonly folder: string
  /** Runs a statement of the turn. */
  run(sql: string, ...values: SQLInputValue[]): number
  get(sql: string, ...values: SQLInputValue[]): Columns | undefined
  all(sql: string, ...values: SQLInputValue[]): Columns[]
  /** Reads what is committed, outside of turns. */
  peek(sql: string, ...values: SQLInputValue[]): Columns[]
  /** Rejects with what `work` threw, or with a ClientFault when the commit failed: nothing of it happened then. */
  turn<T>(work: (turn: Turn) => Promise<T> | T): Promise<T>
  /**
   * A turn of some statements and nothing else. Those that were asked for side by side are one turn: they are durable
   * by one commit, in their order, or reject together.
   */
  shared<T>(work: () => T): Promise<T>
  /** A part of a turn that is undone alone when it throws. Parts do not nest. */
  part<T>(work: () => Promise<T>): Promise<T>
  addCache(cache: Cache): void
  readonly memory: Memory
  /** What the caches hold is read anew: the tables behind them were written otherwise. In a turn. */
  dropCaches(): void
  isClosed(): boolean
  /** Waits for the turn that runs; later ones are refused. */
  close(): Promise<void>
  /** As a crash: what is not committed is gone. */
  abandon(): void
}

/** A turn holds the loop up: what is beyond waits for the next one. */
const SHARED_MAX = 64
const DATABASE = 'client.db'
const VAULT = 'vault'
const SQLITE_FULL = 13
const SQLITE_IOERR = 10
const SQLITE_CORRUPT = 11
const SQLITE_NOTADB = 26

/** What a full or broken disk means for the user; other errors stay as they are. */
function faultOf(error: unknown): unknown {
  const { errcode, message } = error as { errcode?: number; message: string }
  if (errcode === undefined) return error
  const primary = errcode % 256
  if (primary === SQLITE_FULL || primary === SQLITE_IOERR) {
    return new ClientFault('disk_full', `Nothing can be written (${message}); free some space. Nothing is lost.`)
  }
  if (primary === SQLITE_CORRUPT || primary === SQLITE_NOTADB) {
    return new ClientFault('corrupt', `The client's database is damaged (${message}); link this device again.`)
  }
  return error
}

function migrate(db: DatabaseSync): void {
  const version = db.prepare('PRAGMA user_version').get()?.['user_version'] as number
  if (version > MIGRATIONS.length) {
    throw new ClientFault('newer_database', 'A newer version wrote this database; update the program.')
  }
  for (let next = version; next < MIGRATIONS.length; next++) {
    db.exec(`BEGIN; ${MIGRATIONS[next]}; PRAGMA user_version = ${next + 1}; COMMIT`)
  }
}

function openDatabase(file: string, pragmas: string): DatabaseSync {
  const db = new DatabaseSync(file)
  try {
    db.exec(PRAGMAS)
    db.exec(pragmas)
    migrate(db)
    return db
  } catch (error) {
    db.close()
    throw faultOf(error)
  }
}

function vaultIn(db: DatabaseSync, unlock: Unlock): Vault {
  const kept = db.prepare('SELECT value FROM meta WHERE name = ?').get(VAULT)?.['value'] as Uint8Array | undefined
  if (kept !== undefined) return openVault(unlock, kept)
  const made = newVault(unlock)
  db.prepare('INSERT INTO meta (name, value) VALUES (?, ?)').run(VAULT, made.kept)
  return made.vault
}

function preparer(db: DatabaseSync): (sql: string) => StatementSync {
  const known = new Map<string, StatementSync>()
  return (sql) => {
    let statement = known.get(sql)
    if (statement === undefined) {
      statement = db.prepare(sql)
      known.set(sql, statement)
    }
    return statement
  }
}

/** Opens or makes the database in `folder` (0700), for this process alone. `pragmas` are for tests and measurements. */
export function openStore(folder: string, unlock: Unlock, pragmas = ''): Store {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const file = join(folder, DATABASE)
  const giveBack = lockOf(file)
  let db: DatabaseSync | undefined
  try {
    db = openDatabase(file, pragmas)
    const vault = vaultIn(db, unlock)
    return storeOn(db, new DatabaseSync(file, { readOnly: true }), vault, folder, giveBack)
  } catch (error) {
    db?.close()
    giveBack()
    throw faultOf(error)
  }
}

/** Taking it needs a file, for which there may be no room. */
function lockOf(file: string): () => void {
  try {
    return lockDatabase(file)
  } catch (error) {
    throw faultOf(error)
  }
}

interface Turns {
  readonly db: DatabaseSync
  readonly caches: Cache[]
  last: Promise<unknown>
  isClosed: boolean
}

const closed = (): ClientFault => new ClientFault('closed', 'The client was closed; open it again.')

async function runTurn<T>(turns: Turns, work: (turn: Turn) => Promise<T> | T): Promise<T> {
  const { db, caches } = turns
  if (turns.isClosed) throw closed()
  const calls: (() => void)[] = []
  let result: T
  try {
    db.exec('BEGIN IMMEDIATE')
    result = await work({ after: (call) => void calls.push(call) })
    for (const cache of caches) cache.flush()
    db.exec('COMMIT')
  } catch (error) {
    // Abandoned in the middle: the database is closed, and nothing of the turn is in it.
    if (db.isOpen && db.isTransaction) db.exec('ROLLBACK')
    for (const cache of caches) cache.drop()
    throw faultOf(error)
  }
  for (const call of calls) call()
  return result
}

async function runPart<T>({ db, caches }: Turns, work: () => Promise<T>): Promise<T> {
  db.exec('SAVEPOINT part')
  for (const cache of caches) cache.keep()
  try {
    const result = await work()
    db.exec('RELEASE part')
    return result
  } catch (error) {
    if (db.isOpen && db.isTransaction) db.exec('ROLLBACK TO part; RELEASE part')
    for (const cache of caches) cache.restore()
    throw error
  }
}

/** Gathers what is asked for until the loop has turned and the turns before have ended. */
function sharer(turns: Turns, turn: Store['turn']): Store['shared'] {
  let waiting: { readonly work: () => void; readonly end: (error?: unknown) => void }[] = []
  const begin = (): void => {
    // Sockets and timers have their say, also when each answer is the cause of the next one.
    turns.last = turns.last.then(() => new Promise<void>((resolve) => setImmediate(resolve)))
    let mine: typeof waiting = []
    const take = (): void => {
      mine = waiting.slice(0, SHARED_MAX)
      waiting = waiting.slice(SHARED_MAX)
      if (waiting.length > 0) begin()
    }
    turn(() => {
      take()
      for (const { work } of mine) work()
    }).then(
      () => mine.forEach(({ end }) => void end()),
      (error: unknown) => {
        // It did not even begin: the client was closed.
        if (mine.length === 0) take()
        for (const { end } of mine) end(error)
      },
    )
  }
  return (work) =>
    new Promise((resolve, reject) => {
      let result: ReturnType<typeof work>
      waiting.push({
        work() {
          result = work()
        },
        end: (error) => (error === undefined ? resolve(result) : reject(error)),
      })
      if (waiting.length === 1) begin()
    })
}

function storeOn(db: DatabaseSync, reader: DatabaseSync, vault: Vault, folder: string, giveBack: () => void): Store {
  const prepare = preparer(db)
  const prepareRead = preparer(reader)
  const { memory, cache } = createMemory()
  const turns: Turns = { db, caches: [cache], last: Promise.resolve(), isClosed: false }
  const end = () => {
    turns.isClosed = true
    if (!db.isOpen) return
    if (db.isTransaction) db.exec('ROLLBACK')
    // The writer last: who closes last moves the WAL into the database and removes it, and a reader cannot. What was
    // overwritten, such as keys that were used up, would stay in the WAL.
    reader.close()
    db.close()
    giveBack()
  }
  const turn: Store['turn'] = (work) => {
    const result = turns.last.then(() => runTurn(turns, work))
    turns.last = result.catch(() => undefined)
    return result
  }
  return {
    vault,
    folder,
    run: (sql, ...values) => Number(prepare(sql).run(...values).changes),
    get: (sql, ...values) => prepare(sql).get(...values),
    all: (sql, ...values) => prepare(sql).all(...values),
    peek(sql, ...values) {
      if (turns.isClosed && !db.isOpen) throw closed()
      return prepareRead(sql).all(...values)
    },
    isClosed: () => turns.isClosed,
    turn,
    shared: sharer(turns, turn),
    part: (work) => runPart(turns, work),
    addCache: (more) => void turns.caches.push(more),
    memory,
    dropCaches: () => turns.caches.forEach((each) => void each.drop()),
    async close() {
      const { last } = turns
      turns.isClosed = true
      await last
      end()
    },
    abandon: end,
  }
}
