import assert from 'node:assert/strict'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { checkWal } from '../../adapters/sqlite/wal-check.ts'
import type { TestDevice } from '../world/devices.ts'
import { attend, caughtUp, copyFolder, errorsOf, messages, send, startScene } from './scene.ts'

const HEADER_BYTES = 32
const FRAME_HEAD_BYTES = 24

interface Frames {
  readonly file: string
  readonly count: number
  readonly frameBytes: number
  /** Indexes of the frames that end a commit. */
  readonly commits: readonly number[]
}

/** The log beside the database `file`, as it is. */
function framesOf(file: string): Frames {
  const wal = `${file}-wal`
  const bytes = readFileSync(wal)
  const frameBytes = bytes.readUInt32BE(8) + FRAME_HEAD_BYTES
  const count = Math.floor((bytes.length - HEADER_BYTES) / frameBytes)
  const commits = Array.from({ length: count }, (_, i) => i).filter(
    (i) => bytes.readUInt32BE(HEADER_BYTES + i * frameBytes + 4) !== 0,
  )
  return { file: wal, count, frameBytes, commits }
}

function flip(file: string, at: number): void {
  const bytes = readFileSync(file)
  bytes[at] = (bytes[at] as number) ^ 0x10
  writeFileSync(file, bytes)
}

describe('C3: the write-ahead log', () => {
  let folder: string
  let file: string
  let db: DatabaseSync
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'heliograph-wal-'))
    file = join(folder, 'some.db')
    db = new DatabaseSync(file)
    db.exec('PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (n INTEGER, body BLOB)')
    for (let n = 0; n < 6; n++) db.prepare('INSERT INTO t VALUES (?, randomblob(9000))').run(n)
  })
  afterEach(() => {
    if (db.isOpen) db.close()
    rmSync(folder, { recursive: true })
  })

  /** A copy of database and log, as a crash leaves them. */
  function crashed(): string {
    const copy = mkdtempSync(join(folder, 'copy-'))
    cpSync(file, join(copy, 'some.db'))
    cpSync(`${file}-wal`, join(copy, 'some.db-wal'))
    return join(copy, 'some.db')
  }
  function rowsOf(copy: string): number {
    const opened = new DatabaseSync(copy)
    const { n } = opened.prepare('SELECT count(*) AS n FROM t').get() as { n: number }
    opened.close()
    return n
  }

  it('is whole when there is none, and when every frame of it counts', () => {
    assert.equal(checkWal(join(folder, 'none.db')), 'whole')
    const copy = crashed()
    assert.equal(checkWal(copy), 'whole')
    assert.equal(rowsOf(copy), 6)
    db.close()
    assert.equal(checkWal(file), 'whole')
  })

  it('is torn, and nothing is lost but what was being written, when it ends within its last commit', () => {
    const { count, frameBytes, commits } = framesOf(file)
    assert.equal(commits.at(-1), count - 1)
    const last = HEADER_BYTES + (count - 1) * frameBytes
    for (const end of [last + frameBytes - 1, last + 100, last + 10]) {
      const copy = crashed()
      truncateSync(`${copy}-wal`, end)
      assert.equal(checkWal(copy), 'torn', `${end}`)
      assert.equal(rowsOf(copy), 5)
    }
    for (const at of [last + 50, last + 9, last + 17, last + 5]) {
      const copy = crashed()
      flip(`${copy}-wal`, at)
      assert.equal(checkWal(copy), 'torn', `${at}`)
    }
  })

  it('is torn when a page of the last commit never arrived and its commit frame did', () => {
    db.prepare('INSERT INTO t VALUES (?, randomblob(50000))').run(6)
    const { count, frameBytes, commits } = framesOf(file)
    assert.ok((commits.at(-2) ?? 0) < count - 4)
    const copy = crashed()
    const bytes = readFileSync(`${copy}-wal`)
    const first = HEADER_BYTES + ((commits.at(-2) ?? 0) + 1) * frameBytes
    bytes.fill(0, first, first + frameBytes)
    writeFileSync(`${copy}-wal`, bytes)
    assert.equal(checkWal(copy), 'torn')
    assert.equal(rowsOf(copy), 6)
  })

  const wheres: [what: string, within: number][] = [
    ['the page of a frame', FRAME_HEAD_BYTES + 77],
    ['the page number', 2],
    ['the commit size', 5],
    ['the salt', 9],
    ['the checksum', 18],
  ]
  for (const [what, within] of wheres) {
    it(`is damaged by one bad bit in ${what}, with two commits behind it, which SQLite would drop in silence`, () => {
      const { frameBytes, commits } = framesOf(file)
      for (const index of [0, (commits[1] as number) + 1, commits.at(-3) as number]) {
        const copy = crashed()
        flip(`${copy}-wal`, HEADER_BYTES + index * frameBytes + within)
        assert.equal(checkWal(copy), 'damaged', `frame ${index}`)
        if (index > 0) assert.ok(rowsOf(copy) < 6)
      }
    })
  }

  for (const at of [1, 10, 17, 25]) {
    it(`is damaged by one bad bit in its header, byte ${at}`, () => {
      const copy = crashed()
      flip(`${copy}-wal`, at)
      assert.equal(checkWal(copy), 'damaged')
    })
  }

  it('is whole when it was begun anew over what it held before, and torn when that is cut', () => {
    const long = framesOf(file).count
    db.exec('PRAGMA wal_checkpoint(RESTART)')
    db.prepare('INSERT INTO t VALUES (?, ?)').run(7, 'x')
    const { count, frameBytes, commits } = framesOf(file)
    assert.equal(count, long)
    const copy = crashed()
    // What stands behind the new commits has other salts.
    assert.notEqual(checkWal(copy), 'damaged')
    assert.equal(rowsOf(copy), 7)
    const other = crashed()
    flip(`${other}-wal`, HEADER_BYTES + (commits[0] as number) * frameBytes + 50)
    assert.equal(checkWal(other), 'torn')
  })

  it('is read in pieces: one of many megabytes is checked to its end', () => {
    db.prepare('INSERT INTO t VALUES (?, randomblob(3000000))').run(6)
    for (let n = 7; n < 10; n++) db.prepare('INSERT INTO t VALUES (?, randomblob(9000))').run(n)
    const { count, frameBytes } = framesOf(file)
    assert.ok(statSync(`${file}-wal`).size > 3_000_000)
    assert.equal(checkWal(crashed()), 'whole')
    const copy = crashed()
    flip(`${copy}-wal`, HEADER_BYTES + (count >> 1) * frameBytes + 99)
    assert.equal(checkWal(copy), 'damaged')
  })
})

describe('C3: a store whose log is damaged', () => {
  async function crashedStore(): Promise<{ folder: string; alice: TestDevice; bob: TestDevice }> {
    const world = await startScene()
    const alice = await world.person('alice')
    const bob = await world.person('bob')
    ;(await attend(world, bob)).destroy()
    const from = await attend(world, alice)
    for (let i = 0; i < 10; i++) await send(from, alice, [bob])
    const folder = copyFolder(world)
    await world.stop()
    return { folder, alice, bob }
  }

  it('starts, takes nothing new, now and at the next start, serves what was read, and keeps the log for its operator', async () => {
    const { folder, alice, bob } = await crashedStore()
    const { file, frameBytes, commits } = framesOf(join(folder, 'heliograph.db'))
    flip(file, HEADER_BYTES + (commits.at(-6) as number) * frameBytes + 300)
    const damaged = readFileSync(file)
    const kept = join(folder, 'heliograph.db-wal-damaged')
    let served = 0
    for (let start = 0; start < 2; start++) {
      const world = await startScene({ folder })
      assert.equal(world.server.opened.ports.intake.refusal(), 'corrupt_store')
      assert.ok(
        world.logged.some(({ text, facts }) => text.includes('damaged') && JSON.stringify(facts).includes(kept)),
      )
      assert.deepEqual(readFileSync(kept), damaged)
      const from = await attend(world, alice)
      await send(from, alice, [bob])
      assert.equal(errorsOf(from).length, 1)
      const to = await attend(world, bob)
      await caughtUp(to)
      served += messages(to).length
      await to.ping()
      await world.stop()
    }
    assert.ok(served > 0 && served < 10, `${served} of 10`)
    // The operator accepts the loss, or has restored the database.
    rmSync(kept)
    const world = await startScene({ folder })
    const from = await attend(world, alice)
    await send(from, alice, [bob])
    assert.deepEqual(errorsOf(from), [])
    await world.stop()
    rmSync(folder, { recursive: true })
  })

  it('is not what a torn end makes of it: that starts as if nothing had been', async () => {
    const { folder, alice, bob } = await crashedStore()
    const { file, count, frameBytes } = framesOf(join(folder, 'heliograph.db'))
    truncateSync(file, HEADER_BYTES + count * frameBytes - 5)
    const world = await startScene({ folder })
    assert.equal(existsSync(join(folder, 'heliograph.db-wal-damaged')), false)
    const from = await attend(world, alice)
    await send(from, alice, [bob])
    assert.deepEqual(errorsOf(from), [])
    await world.stop()
    rmSync(folder, { recursive: true })
  })
})
