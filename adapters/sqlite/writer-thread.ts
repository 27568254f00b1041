/**
 * The writer thread: all transactions run here, so no fsync ever runs on the event loop (C2); nor do checkpoints, which
 * have a thread of their own.
 * One message is one transaction; they are answered in order. Atomic, durable (synchronous = FULL) when answered.
 */
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import { crc32 } from 'node:zlib'
import { PRAGMAS, STATEMENTS, type StatementName } from './schema.ts'

export interface EntryJob {
  id: number
  bytes: Uint8Array
}
/** Rows to copy from the tail into `settled`: parallel arrays; offsets into the entry with that id. */
export interface MoveJob {
  ids: number[]
  devices: string[]
  seqs: number[]
  subs: number[]
  kinds: number[]
  peers: string[]
  expires: number[]
  starts: number[]
  ends: number[]
}
export interface WriteJob {
  entries: EntryJob[]
  statements: [StatementName, ...SQLInputValue[]][]
  moves: MoveJob[]
}
export interface WriteAnswer {
  error: { code: number; message: string } | undefined
  /** Changed rows of each statement, in order. */
  changes: number[]
}

const db = new DatabaseSync(workerData.file)
db.exec(PRAGMAS)
const prepared = new Map<StatementName, StatementSync>()
const readEntry = db.prepare('SELECT entry FROM tail WHERE id = ?')

function statement(name: StatementName): StatementSync {
  let found = prepared.get(name)
  if (found === undefined) {
    found = db.prepare(STATEMENTS[name])
    prepared.set(name, found)
  }
  return found
}

function move(job: MoveJob): void {
  const entries = new Map<number, Uint8Array>()
  const insert = statement('insertSettled')
  for (let i = 0; i < job.ids.length; i++) {
    const id = job.ids[i] as number
    let entry = entries.get(id)
    if (entry === undefined) {
      entry = readEntry.get(id)?.['entry'] as Uint8Array | undefined
      if (entry === undefined) throw new Error(`tail entry ${id} is missing`)
      entries.set(id, entry)
    }
    insert.run(
      job.devices[i] as string,
      job.seqs[i] as number,
      job.subs[i] as number,
      job.kinds[i] as number,
      job.peers[i] as string,
      job.expires[i] as number,
      entry.subarray(job.starts[i], job.ends[i]),
    )
  }
}

/**
 * Tests alone hand in a gate: while it is 1 a commit waits in front of the disk; above 1 it fails with that SQLite
 * code.
 */
const gate = workerData.gate as Int32Array | undefined
function passGate(): void {
  if (gate === undefined) return
  Atomics.add(gate, 1, 1)
  Atomics.notify(gate, 1)
  while (Atomics.load(gate, 0) === 1) Atomics.wait(gate, 0, 1)
  const errcode = Atomics.load(gate, 0)
  if (errcode > 1) throw Object.assign(new Error(`the gate answers ${errcode}`), { errcode })
}

/** What operators want to know and no query counts fast: rows in `settled`, devices that are not revoked. */
const COUNTED: Readonly<Partial<Record<StatementName, readonly [count: string, sign: 1 | -1]>>> = {
  deleteSettled: ['settled_rows', -1],
  dropSettled: ['settled_rows', -1],
  insertDevice: ['devices', 1],
  insertPersonDevice: ['devices', 1],
  endDevice: ['devices', -1],
  endDevices: ['devices', -1],
  endPrimary: ['devices', -1],
}

/** Keeps the counts in the same transaction as what they count. */
function count(job: WriteJob, changes: readonly number[]): void {
  const sums: Record<string, number> = {}
  for (const moved of job.moves) sums['settled_rows'] = (sums['settled_rows'] ?? 0) + moved.ids.length
  job.statements.forEach(([name], i) => {
    const counted = COUNTED[name]
    if (counted !== undefined) sums[counted[0]] = (sums[counted[0]] ?? 0) + counted[1] * (changes[i] as number)
  })
  for (const [name, sum] of Object.entries(sums)) if (sum !== 0) statement('addMeta').run(name, sum)
}

function write(job: WriteJob): WriteAnswer {
  const changes: number[] = []
  db.exec('BEGIN IMMEDIATE')
  try {
    for (const entry of job.entries) statement('insertEntry').run(entry.id, crc32(entry.bytes), entry.bytes)
    for (const moved of job.moves) move(moved)
    for (const [name, ...values] of job.statements) changes.push(Number(statement(name).run(...values).changes))
    count(job, changes)
    passGate()
    db.exec('COMMIT')
    return { error: undefined, changes }
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK')
    const { errcode = 0, message } = error as Error & { errcode?: number }
    return { error: { code: errcode, message }, changes: [] }
  }
}

parentPort?.on('message', (job: WriteJob | 'close') => {
  if (job !== 'close') return parentPort?.postMessage(write(job))
  db.close()
  parentPort?.close()
})
parentPort?.postMessage('ready')
