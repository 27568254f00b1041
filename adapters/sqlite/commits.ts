/**
 * Group commit: one transaction at a time is in the writer thread, everything that arrives meanwhile joins the next.
 * Ordered: transactions commit in the order they were opened. When one fails, the one that gathered behind it fails too, since
 * its decisions were taken on top of it. Bounded by what the connections may hold (A6).
 */
import type { SQLInputValue } from 'node:sqlite'
import { Worker } from 'node:worker_threads'
import { IntakeFault } from '../../core/envelope.ts'
import type { StatementName } from './schema.ts'
import { type Chunk, createChunk } from './tail.ts'
import type { MoveJob, WriteAnswer, WriteJob } from './writer-thread.ts'

const ARENA_BYTES = 1 << 20
/** A chunk is not begun in an arena with less room than this. */
const ARENA_ROOM_MIN = 1 << 14
/** Acknowledgements and flags wait this long for a commit that is made anyway. */
const LAZY_MS = 3

/** SQLite's primary result codes that matter here (sqlite.org/rescode.html). */
const SQLITE_FULL = 13
const SQLITE_CORRUPT = 11
const SQLITE_NOTADB = 26
const SQLITE_CONSTRAINT = 19
const SQLITE_IOERR_FSYNC = 1034
const SQLITE_IOERR_DIR_FSYNC = 1290

/** Called once, in order: with no fault when everything is durable, else nothing of the transaction is. */
export type AfterCommit = (fault: CommitFault | undefined, changes: readonly number[]) => void
export class CommitFault extends IntakeFault {
  readonly isConflict: boolean
  constructor(code: IntakeFault['code'], message: string, isConflict: boolean) {
    super(code, message)
    this.isConflict = isConflict
  }
}

interface Transaction {
  chunks: Chunk[]
  statements: [StatementName, ...SQLInputValue[]][]
  moves: MoveJob[]
  after: AfterCommit[]
}

export interface Commits {
  /** Room for `bytes` in the open transaction: write at `chunk.used`, then raise it. Stays valid until the next call. */
  reserve(bytes: number): Chunk
  /** Adds a statement; returns its index in `changes`. */
  run(name: StatementName, ...values: SQLInputValue[]): number
  move(job: MoveJob): void
  /** Calls back when the open transaction is decided. `urgent`: commit as soon as the writer is free; else within LAZY_MS. */
  after(call: AfterCommit, urgent: boolean): void
  /** A transaction of its own statements, alone: a failure fails nobody else. */
  alone(statements: [StatementName, ...SQLInputValue[]][]): Promise<readonly number[]>
  /** Commits are under way or waiting. */
  pending(): boolean
  close(): Promise<void>
}

function faultOf(error: { code: number; message: string }): CommitFault {
  const primary = error.code & 255
  const code = primary === SQLITE_FULL ? 'disk_full' : primary === SQLITE_CORRUPT || primary === SQLITE_NOTADB ? 'corrupt_store' : 'storage_unavailable'
  return new CommitFault(code, error.message, primary === SQLITE_CONSTRAINT)
}

/**
 * `hooks.onFatal` ends the process: after a failed fsync nobody knows what is on the disk (C3). `gate` is for tests: the
 * writer thread waits at it in front of every commit.
 */
export async function openCommits(
  file: string,
  hooks: {
    nextChunkId(): number
    now(): number
    /** Chunks that are durable now, before anybody is called back. */
    onStored(chunks: readonly Chunk[]): void
    onFatal(error: Error): void
  },
  gate?: Int32Array,
): Promise<Commits> {
  const thread = new Worker(new URL('./writer-thread.ts', import.meta.url), { workerData: { file, gate } })
  await new Promise<void>((resolve, reject) => {
    thread.once('message', () => resolve())
    thread.once('error', reject)
  })
  let closing = false
  /** What is in flight is not answered any more: nobody knows whether it is on the disk. */
  let isLost = false
  thread.on('error', (error) => hooks.onFatal(error as Error))
  thread.on('exit', (code) => {
    if (!closing) hooks.onFatal(new Error(`the writer thread ended with code ${code}`))
  })

  const fresh = (): Transaction => ({ chunks: [], statements: [], moves: [], after: [] })
  let open = fresh()
  let inFlight: Transaction | undefined
  const solo: { statements: Transaction['statements']; resolve: (c: readonly number[]) => void; reject: (e: Error) => void }[] = []
  let inFlightSolo: (typeof solo)[number] | undefined
  let wasSolo = false
  let timer: NodeJS.Timeout | undefined
  let arena = new SharedArrayBuffer(ARENA_BYTES)
  let arenaUsed = 0

  function reserve(bytes: number): Chunk {
    const last = open.chunks.at(-1)
    if (last?.bytes !== undefined && last.used + bytes <= last.bytes.length) return last
    if (last?.bytes !== undefined) arenaUsed = last.bytes.byteOffset + last.used
    if (ARENA_BYTES - arenaUsed < Math.max(bytes, ARENA_ROOM_MIN)) {
      arena = new SharedArrayBuffer(Math.max(ARENA_BYTES, bytes))
      arenaUsed = 0
    }
    const chunk = createChunk(hooks.nextChunkId(), hooks.now(), Buffer.from(arena, arenaUsed))
    open.chunks.push(chunk)
    return chunk
  }

  /** Cuts the chunks to their size and gives the rest of the arena to the next one. */
  function seal(transaction: Transaction): void {
    for (const chunk of transaction.chunks) {
      if (chunk.bytes === undefined) continue
      arenaUsed = chunk.bytes.byteOffset + chunk.used
      chunk.bytes = chunk.bytes.subarray(0, chunk.used)
    }
  }

  function send(job: WriteJob): void {
    thread.postMessage(job)
  }

  function flush(): void {
    if (inFlight !== undefined || inFlightSolo !== undefined) return
    clearTimeout(timer)
    timer = undefined
    // They take turns: under load the open transaction is never empty.
    const isSolosTurn = solo.length > 0 && !wasSolo
    wasSolo = isSolosTurn
    const hasOpen = open.after.length > 0 || open.statements.length > 0 || open.moves.length > 0 || open.chunks.length > 0
    if (hasOpen && !isSolosTurn) {
      inFlight = open
      open = fresh()
      seal(inFlight)
      const entries = inFlight.chunks.map((chunk) => ({ id: chunk.id, bytes: chunk.bytes as Uint8Array }))
      send({ entries, statements: inFlight.statements, moves: inFlight.moves })
      return
    }
    inFlightSolo = solo.shift()
    if (inFlightSolo !== undefined) send({ entries: [], statements: inFlightSolo.statements, moves: [] })
  }

  function settleOne(transaction: Transaction, fault: CommitFault | undefined, changes: readonly number[]): void {
    for (const after of transaction.after) after(fault, changes)
  }

  thread.on('message', (answer: WriteAnswer) => {
    const fault = answer.error && faultOf(answer.error)
    if (answer.error?.code === SQLITE_IOERR_FSYNC || answer.error?.code === SQLITE_IOERR_DIR_FSYNC) {
      isLost = true
      return hooks.onFatal(new Error(`the disk failed to sync: ${answer.error.message}`))
    }
    if (inFlightSolo !== undefined) {
      const done = inFlightSolo
      inFlightSolo = undefined
      if (fault) done.reject(fault)
      else done.resolve(answer.changes)
    } else if (inFlight !== undefined) {
      const done = inFlight
      inFlight = undefined
      if (fault !== undefined) {
        const behind = open
        open = fresh()
        settleOne(done, fault, answer.changes)
        settleOne(behind, fault, [])
      } else {
        // Start the next commit before telling anybody: the disk works while the loop writes PUBACKs.
        hooks.onStored(done.chunks)
        const urgent = isUrgent
        isUrgent = false
        if (urgent) flush()
        settleOne(done, undefined, answer.changes)
      }
    }
    if (isUrgent || solo.length > 0) flush()
    else if (timer === undefined && open.after.length > 0) timer = setTimeout(flush, LAZY_MS)
  })
  let isUrgent = false

  return {
    reserve,
    run(name, ...values) {
      open.statements.push([name, ...values])
      return open.statements.length - 1
    },
    move: (job) => void open.moves.push(job),
    after(call, urgent) {
      open.after.push(call)
      if (inFlight !== undefined || inFlightSolo !== undefined) isUrgent ||= urgent
      else if (urgent) flush()
      else timer ??= setTimeout(flush, LAZY_MS)
    },
    alone: (statements) =>
      new Promise((resolve, reject) => {
        solo.push({ statements, resolve, reject })
        flush()
      }),
    pending: () => inFlight !== undefined || inFlightSolo !== undefined || open.after.length > 0 || solo.length > 0,
    async close() {
      closing = true
      while (!isLost && (inFlight !== undefined || inFlightSolo !== undefined || open.after.length > 0 || solo.length > 0)) {
        flush()
        await new Promise((resolve) => setTimeout(resolve, 2))
      }
      const ended = new Promise((resolve) => thread.once('exit', resolve))
      thread.postMessage('close')
      await ended
    },
  }
}
