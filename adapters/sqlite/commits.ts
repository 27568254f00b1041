/**
 * Group commit: one transaction at a time is in the writer thread, everything that arrives meanwhile joins the next.
 * Ordered: transactions commit in the order they were opened. When one fails, the one that gathered behind it fails
 * too, since its decisions were taken on top of it. Bounded by what the connections may hold (A6).
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
const LAZY_MS = 5

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
  /**
   * Room for `bytes` in the open transaction: write at `chunk.used`, then raise it. Stays valid until the next call.
   */
  reserve(bytes: number): Chunk
  /** Adds a statement; returns its index in `changes`. */
  run(name: StatementName, ...values: SQLInputValue[]): number
  move(job: MoveJob): void
  /**
   * Calls back when the open transaction is decided. `urgent`: commit as soon as the writer is free; else within
   * LAZY_MS.
   */
  after(call: AfterCommit, urgent: boolean): void
  /** A transaction of its own statements, alone: a failure fails nobody else. */
  alone(statements: [StatementName, ...SQLInputValue[]][]): Promise<readonly number[]>
  /** Commits are under way or waiting. */
  pending(): boolean
  close(): Promise<void>
}

function faultOf(error: { code: number; message: string }): CommitFault {
  const primary = error.code & 255
  const isCorrupt = primary === SQLITE_CORRUPT || primary === SQLITE_NOTADB
  const code = primary === SQLITE_FULL ? 'disk_full' : isCorrupt ? 'corrupt_store' : 'storage_unavailable'
  return new CommitFault(code, error.message, primary === SQLITE_CONSTRAINT)
}

interface Hooks {
  nextChunkId(): number
  now(): number
  /** Chunks that are durable now, after everybody was called back: what is in them is in the memory. */
  onStored(chunks: readonly Chunk[]): void
  onFatal(error: Error): void
}

interface Solo {
  readonly statements: Transaction['statements']
  resolve(changes: readonly number[]): void
  reject(fault: Error): void
}

interface Pipe {
  readonly thread: Worker
  readonly hooks: Hooks
  open: Transaction
  inFlight: Transaction | undefined
  readonly solo: Solo[]
  inFlightSolo: Solo | undefined
  wasSolo: boolean
  isUrgent: boolean
  timer: NodeJS.Timeout | undefined
  arena: SharedArrayBuffer
  arenaUsed: number
  isClosing: boolean
  /** What is in flight is not answered any more: nobody knows whether it is on the disk. */
  isLost: boolean
}

const fresh = (): Transaction => ({ chunks: [], statements: [], moves: [], after: [] })

/**
 * `hooks.onFatal` ends the process: after a failed fsync nobody knows what is on the disk (C3). `gate` is for tests:
 * the writer thread waits at it in front of every commit.
 */
export async function openCommits(file: string, hooks: Hooks, gate?: Int32Array): Promise<Commits> {
  const thread = new Worker(new URL('./writer-thread.ts', import.meta.url), { workerData: { file, gate } })
  await new Promise<void>((resolve, reject) => {
    thread.once('message', () => resolve())
    thread.once('error', reject)
  })
  const pipe: Pipe = {
    thread,
    hooks,
    open: fresh(),
    inFlight: undefined,
    solo: [],
    inFlightSolo: undefined,
    wasSolo: false,
    isUrgent: false,
    timer: undefined,
    arena: new SharedArrayBuffer(ARENA_BYTES),
    arenaUsed: 0,
    isClosing: false,
    isLost: false,
  }
  thread.on('error', (error) => hooks.onFatal(error as Error))
  thread.on('exit', (code) => {
    if (!pipe.isClosing) hooks.onFatal(new Error(`the writer thread ended with code ${code}`))
  })
  thread.on('message', (answer: WriteAnswer) => onAnswer(pipe, answer))
  return {
    reserve: (bytes) => reserve(pipe, bytes),
    run: (name, ...values) => pipe.open.statements.push([name, ...values]) - 1,
    move: (job) => void pipe.open.moves.push(job),
    after: (call, urgent) => after(pipe, call, urgent),
    alone: (statements) =>
      new Promise((resolve, reject) => {
        pipe.solo.push({ statements, resolve, reject })
        flush(pipe)
      }),
    pending: () => isPending(pipe),
    close: () => close(pipe),
  }
}

function reserve(pipe: Pipe, bytes: number): Chunk {
  const last = pipe.open.chunks.at(-1)
  if (last?.bytes !== undefined && last.used + bytes <= last.bytes.length) return last
  if (last?.bytes !== undefined) pipe.arenaUsed = last.bytes.byteOffset + last.used
  if (ARENA_BYTES - pipe.arenaUsed < Math.max(bytes, ARENA_ROOM_MIN)) {
    pipe.arena = new SharedArrayBuffer(Math.max(ARENA_BYTES, bytes))
    pipe.arenaUsed = 0
  }
  const chunk = createChunk(pipe.hooks.nextChunkId(), pipe.hooks.now(), Buffer.from(pipe.arena, pipe.arenaUsed))
  pipe.open.chunks.push(chunk)
  return chunk
}

/** Cuts the chunks to their size and gives the rest of the arena to the next one. */
function seal(pipe: Pipe, transaction: Transaction): void {
  for (const chunk of transaction.chunks) {
    if (chunk.bytes === undefined) continue
    pipe.arenaUsed = chunk.bytes.byteOffset + chunk.used
    chunk.bytes = chunk.bytes.subarray(0, chunk.used)
  }
}

function after(pipe: Pipe, call: AfterCommit, urgent: boolean): void {
  pipe.open.after.push(call)
  if (pipe.inFlight !== undefined || pipe.inFlightSolo !== undefined) pipe.isUrgent ||= urgent
  else if (urgent) flush(pipe)
  else pipe.timer ??= setTimeout(flush, LAZY_MS, pipe)
}

const isEmpty = ({ after: calls, chunks, statements, moves }: Transaction): boolean =>
  calls.length + chunks.length + statements.length + moves.length === 0

/**
 * Sends the next transaction when none is in flight. Those alone and the open one take turns: under load it is never
 * empty.
 */
function flush(pipe: Pipe): void {
  if (pipe.inFlight !== undefined || pipe.inFlightSolo !== undefined) return
  clearTimeout(pipe.timer)
  pipe.timer = undefined
  const isSolosTurn = pipe.solo.length > 0 && !pipe.wasSolo
  pipe.wasSolo = isSolosTurn
  if (!isEmpty(pipe.open) && !isSolosTurn) {
    const sent = pipe.open
    pipe.inFlight = sent
    pipe.open = fresh()
    seal(pipe, sent)
    const entries = sent.chunks.map((chunk) => ({ id: chunk.id, bytes: chunk.bytes as Uint8Array }))
    send(pipe, { entries, statements: sent.statements, moves: sent.moves })
    return
  }
  pipe.inFlightSolo = pipe.solo.shift()
  if (pipe.inFlightSolo !== undefined) send(pipe, { entries: [], statements: pipe.inFlightSolo.statements, moves: [] })
}

function send(pipe: Pipe, job: WriteJob): void {
  pipe.thread.postMessage(job)
}

function callBack(transaction: Transaction, fault: CommitFault | undefined, changes: readonly number[]): void {
  for (const call of transaction.after) call(fault, changes)
}

function onAnswer(pipe: Pipe, answer: WriteAnswer): void {
  const { error, changes } = answer
  if (error?.code === SQLITE_IOERR_FSYNC || error?.code === SQLITE_IOERR_DIR_FSYNC) {
    pipe.isLost = true
    return pipe.hooks.onFatal(new Error(`the disk failed to sync: ${error.message}`))
  }
  const fault = error && faultOf(error)
  const { inFlight, inFlightSolo } = pipe
  pipe.inFlight = undefined
  pipe.inFlightSolo = undefined
  if (inFlightSolo !== undefined) {
    if (fault) inFlightSolo.reject(fault)
    else inFlightSolo.resolve(changes)
  } else if (inFlight !== undefined && fault !== undefined) {
    const behind = pipe.open
    pipe.open = fresh()
    callBack(inFlight, fault, changes)
    callBack(behind, fault, [])
  } else if (inFlight !== undefined) {
    // Start the next commit before telling anybody: the disk works while the loop writes PUBACKs.
    if (pipe.isUrgent) {
      pipe.isUrgent = false
      flush(pipe)
    }
    callBack(inFlight, undefined, changes)
    // Not before: the mover takes a chunk for dead when nothing of it is in the memory.
    pipe.hooks.onStored(inFlight.chunks)
  }
  if (pipe.isUrgent || pipe.solo.length > 0) {
    pipe.isUrgent = false
    flush(pipe)
  } else if (pipe.open.after.length > 0) pipe.timer ??= setTimeout(flush, LAZY_MS, pipe)
}

function isPending(pipe: Pipe): boolean {
  return pipe.inFlight !== undefined || pipe.inFlightSolo !== undefined || pipe.open.after.length + pipe.solo.length > 0
}

async function close(pipe: Pipe): Promise<void> {
  pipe.isClosing = true
  while (!pipe.isLost && isPending(pipe)) {
    flush(pipe)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  const ended = new Promise((resolve) => pipe.thread.once('exit', resolve))
  pipe.thread.postMessage('close')
  await ended
}
