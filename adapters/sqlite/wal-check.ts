/**
 * Looks at the write-ahead log before SQLite does (C3). SQLite ends its recovery at the first frame whose checksum is
 * wrong and says nothing of what stands behind it: right for the torn end of the last write, silent loss for a byte
 * that went bad in the middle. Format: sqlite.org/fileformat2.html#the_write_ahead_log.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'

const HEADER_BYTES = 32
const FRAME_HEAD_BYTES = 24
const MAGIC_LITTLE = 0x377f0682
const MAGIC_BIG = 0x377f0683
const READ_BYTES = 1 << 20
/**
 * Each commit is synced before the next one is written, so a power cut leaves at most one commit frame behind a bad
 * frame. Two of them, following each other without a break, say that what is bad was good once.
 */
const COMMITS_BEHIND_MIN = 2

/**
 * whole: every frame counts, or there is no log. torn: it ends in a write that was cut. damaged: acknowledged data is
 * lost.
 */
export type WalState = 'whole' | 'torn' | 'damaged'

interface Sum {
  a: number
  b: number
}

/** The log's running checksum: over pairs of 32-bit words, from what it was before. */
function addUp(from: Sum, view: DataView, start: number, end: number, isLittle: boolean): Sum {
  let { a, b } = from
  for (let at = start; at < end; at += 8) {
    a = (a + view.getUint32(at, isLittle) + b) >>> 0
    b = (b + view.getUint32(at + 4, isLittle) + a) >>> 0
  }
  return { a, b }
}

const sumAt = (view: DataView, at: number): Sum => ({ a: view.getUint32(at), b: view.getUint32(at + 4) })
const isSame = (one: Sum, other: Sum): boolean => one.a === other.a && one.b === other.b

/** Reads frames one after the other and says of each whether it continues what stands in front of it. */
interface Walk {
  readonly isLittle: boolean
  salt: Sum | undefined
  /** Checksum that the next frame goes on from. */
  before: Sum
  isBroken: boolean
  /** Commit frames since the break, without another break. */
  commits: number
}

/** True when this frame proves damage. */
function take(walk: Walk, view: DataView, at: number, frameBytes: number): boolean {
  const head = addUp(walk.before, view, at, at + 8, walk.isLittle)
  const sum = addUp(head, view, at + FRAME_HEAD_BYTES, at + frameBytes, walk.isLittle)
  const stored = sumAt(view, at + 16)
  walk.salt ??= sumAt(view, at + 8)
  const follows = isSame(sum, stored) && isSame(sumAt(view, at + 8), walk.salt)
  walk.before = stored
  if (!follows) {
    walk.isBroken = true
    walk.commits = 0
  } else if (walk.isBroken && view.getUint32(at + 4) !== 0) walk.commits++
  return walk.commits >= COMMITS_BEHIND_MIN
}

/** A header that is no good hides every frame; the frames themselves then say what the salt was. */
function beginWalk(header: DataView, pageBytes: number): Walk {
  const magic = header.getUint32(0)
  const isLittle = magic !== MAGIC_BIG
  const sum = addUp({ a: 0, b: 0 }, header, 0, 24, isLittle)
  const isKnown = magic === MAGIC_LITTLE || magic === MAGIC_BIG
  const isGood = isKnown && isSame(sum, sumAt(header, 24)) && header.getUint32(8) === pageBytes
  return { isLittle, salt: isGood ? sumAt(header, 16) : undefined, before: sum, isBroken: !isGood, commits: 0 }
}

/** Page size of the database: in its header, where 1 stands for 65,536. Undefined when the file is no database yet. */
function pageBytesOf(file: string): number | undefined {
  const head = Buffer.alloc(18)
  const read = readAt(file, (handle) => readSync(handle, head, 0, head.length, 0))
  if (read !== head.length) return undefined
  const bytes = head.readUInt16BE(16)
  return bytes === 1 ? 65_536 : bytes
}

/** Undefined when there is no such file. */
function readAt<T>(file: string, read: (handle: number) => T): T | undefined {
  let handle: number
  try {
    handle = openSync(file, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    return read(handle)
  } finally {
    closeSync(handle)
  }
}

/** The state of the log of the database `file`, which nobody has open. Reads it once, in pieces; changes nothing. */
export function checkWal(file: string): WalState {
  const pageBytes = pageBytesOf(file)
  if (pageBytes === undefined) return 'whole'
  return readAt(`${file}-wal`, (handle) => walkLog(handle, pageBytes)) ?? 'whole'
}

function walkLog(handle: number, pageBytes: number): WalState {
  const { size } = fstatSync(handle)
  if (size < HEADER_BYTES) return size === 0 ? 'whole' : 'torn'
  const header = Buffer.alloc(HEADER_BYTES)
  readSync(handle, header, 0, HEADER_BYTES, 0)
  const walk = beginWalk(viewOf(header), pageBytes)
  const frameBytes = FRAME_HEAD_BYTES + pageBytes
  const piece = Buffer.alloc(Math.max(1, Math.floor(READ_BYTES / frameBytes)) * frameBytes)
  const view = viewOf(piece)
  for (let from = HEADER_BYTES; from + frameBytes <= size; from += piece.length) {
    const read = readSync(handle, piece, 0, piece.length, from)
    for (let at = 0; at + frameBytes <= read; at += frameBytes) {
      if (take(walk, view, at, frameBytes)) return 'damaged'
    }
  }
  return walk.isBroken || (size - HEADER_BYTES) % frameBytes !== 0 ? 'torn' : 'whole'
}

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
