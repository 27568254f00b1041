/** The embedded store: opens the database, recovers the tail, and gives the ports that it keeps. */
import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Worker } from 'node:worker_threads'
import type { Accounts, Backlog, Clock, Directory, Inbox, Intake, Keys, Mark } from '../../core/ports.ts'
import { createAccounts } from './accounts.ts'
import { createBacklog } from './backlog.ts'
import { openCommits } from './commits.ts'
import { createDirectory } from './directory.ts'
import { watchDisk } from './disk.ts'
import { createInbox } from './inbox.ts'
import { createIntake } from './intake.ts'
import { createKeys } from './keys.ts'
import { lockFolder } from './lock.ts'
import { recoverTail } from './recover.ts'
import { MIGRATIONS, PRAGMAS } from './schema.ts'
import { startMover } from './settle.ts'
import { markUpTo, prepared, type Store, type StoreLimits } from './store.ts'
import { type Chunk, createTail } from './tail.ts'
import { checkWal } from './wal-check.ts'

export type StoreFacts = {
  /** Inbox rows in the tail, and those that were settled. */
  readonly tailRows: number
  readonly settledRows: number
  readonly tailEntries: number
  readonly lastSeq: number
  readonly refusal: string
  /** Devices whose state is in memory. */
  readonly devices: number
  /** Devices that are not revoked. */
  readonly registered: number
}

export interface SqliteStore {
  readonly intake: Intake
  readonly inbox: Inbox
  readonly backlog: Backlog
  readonly directory: Directory
  readonly accounts: Accounts
  readonly keys: Keys
  /** Marks that were acknowledged before a crash and not appended: the caller appends them. */
  readonly pendingMarks: readonly Mark[]
  /** For operators. */
  facts(): StoreFacts
  close(): Promise<void>
}

/** Brings the schema up to date. Refuses a database that a newer version wrote. */
function migrate(file: string): void {
  const db = new DatabaseSync(file)
  try {
    db.exec(PRAGMAS)
    const version = db.prepare('PRAGMA user_version').get()?.['user_version'] as number
    if (version > MIGRATIONS.length) {
      throw new Error(`${file} was written by a newer version (schema ${version}, this one knows ${MIGRATIONS.length})`)
    }
    for (let next = version; next < MIGRATIONS.length; next++) {
      db.exec(`BEGIN; ${MIGRATIONS[next]}; PRAGMA user_version = ${next + 1}; COMMIT`)
    }
  } finally {
    db.close()
  }
}

/**
 * Is a part of the log lost that was acknowledged? SQLite writes over a damaged log, so it is kept beside the
 * database first; as long as that copy is there the answer stays yes.
 */
function hasLostLog(file: string): boolean {
  const kept = `${file}-wal-damaged`
  if (checkWal(file) === 'damaged') copyFileSync(`${file}-wal`, kept)
  return existsSync(kept)
}

/** Marks that the tail left pending, without those that another device of the user had outrun before. */
function unsaidMarks(store: Store): Mark[] {
  const { pendingMarks } = store.tail
  for (const [key, { by, peer, upTo }] of pendingMarks) {
    if (upTo <= markUpTo(store, by, peer)) pendingMarks.delete(key)
  }
  return [...pendingMarks.values()]
}

/** Checkpoints run in a thread of their own. Returns how to stop it. */
function startCheckpoints(file: string, onFatal: (error: Error) => void): () => Promise<void> {
  const thread = new Worker(new URL('./checkpoint-thread.ts', import.meta.url), { workerData: { file } })
  thread.on('error', (error) => onFatal(error as Error))
  return async () => {
    const ended = new Promise((resolve) => thread.once('exit', resolve))
    thread.postMessage('close')
    await ended
  }
}

const countOf = (reader: DatabaseSync, name: string): number =>
  (prepared(reader, 'SELECT value FROM meta WHERE name = ?').get(name)?.['value'] as number | undefined) ?? 0

function factsOf({ tail, reader, refusal }: Store): StoreFacts {
  return {
    tailRows: tail.liveRows,
    settledRows: countOf(reader, 'settled_rows'),
    tailEntries: tail.chunks.length,
    lastSeq: tail.lastSeq,
    refusal: refusal ?? '',
    devices: tail.devices.size,
    registered: countOf(reader, 'devices'),
  }
}

/**
 * Opens or makes the store in `folder`, for this process alone: another gets a ConfigFault. `onFatal` must end the
 * process; `onNotice` is for the log; `gate` is for tests, which hold the writer at it (writer-thread.ts).
 */
export async function openSqlite(
  folder: string,
  limits: StoreLimits,
  now: Clock,
  onFatal: (error: Error) => void,
  onNotice: (text: string, facts: Record<string, unknown>) => void,
  gate?: Int32Array,
): Promise<SqliteStore> {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const unlock = lockFolder(folder)
  try {
    const store = await openLocked(folder, limits, now, onFatal, onNotice, gate)
    return { ...store, close: () => store.close().finally(unlock) }
  } catch (error) {
    unlock()
    throw error
  }
}

async function openLocked(
  folder: string,
  limits: StoreLimits,
  now: Clock,
  onFatal: (error: Error) => void,
  onNotice: (text: string, facts: Record<string, unknown>) => void,
  gate?: Int32Array,
): Promise<SqliteStore> {
  const file = join(folder, 'heliograph.db')
  const isLogLost = hasLostLog(file)
  migrate(file)
  const reader = new DatabaseSync(file, { readOnly: true })
  const tail = createTail()
  const damaged = recoverTail(reader, tail, limits.cacheBytesMax)
  const hooks = {
    nextChunkId: () => tail.nextChunkId++,
    now,
    onStored: (chunks: readonly Chunk[]) => void tail.chunks.push(...chunks),
    onFatal,
  }
  const commits = await openCommits(file, hooks, gate)
  const store: Store = {
    tail,
    commits,
    reader,
    limits,
    now,
    bootSeq: tail.lastSeq,
    refusal: damaged.length > 0 || isLogLost ? 'corrupt_store' : undefined,
    waiting: [],
    onGrowth: () => undefined,
  }
  if (store.refusal !== undefined) {
    onNotice('the store is damaged: new messages are refused, what is stored is served; restore the database', {
      entries: damaged,
      keptLog: isLogLost ? `${file}-wal-damaged` : undefined,
    })
  }
  const stopDisk = await watchDisk(store, folder, (free) => {
    onNotice(store.refusal === undefined ? 'disk space is back: intake goes on' : 'disk is full: intake refuses', {
      free,
    })
  })
  const stopCheckpoints = startCheckpoints(file, onFatal)
  const stopMover = startMover(store, limits.moveEveryMs)
  const { directory, write } = createDirectory(store)
  return {
    intake: createIntake(store),
    inbox: createInbox(store),
    backlog: createBacklog(store),
    directory,
    accounts: createAccounts(store, write),
    keys: createKeys(store),
    pendingMarks: unsaidMarks(store),
    facts: () => factsOf(store),
    async close() {
      stopDisk()
      await stopMover()
      await stopCheckpoints()
      await commits.close()
      reader.close()
    },
  }
}
