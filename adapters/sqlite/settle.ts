/**
 * The mover (C1): takes the dead or old front of the tail away. What still lives in it goes to `settled` and
 * `records`, sorted by device, in the same transaction that deletes the front and saves the state of the devices it
 * spoke of. Bounded by `moveRowsMax` a transaction. A row leaves the memory only when the move has committed.
 */
import { resumeWaiting } from './intake.ts'
import { isIdle, markUpTo, type Store, stateOf, trimCache } from './store.ts'
import {
  ACKED,
  type Chunk,
  type DeviceState,
  endRow,
  LIVE,
  MOVING,
  SETTLED,
  type Tail,
  type TailRecord,
  type TailRow,
} from './tail.ts'
import type { MoveJob } from './writer-thread.ts'

/** When the tail is over half full, moves are this much bigger: throughput before latency. */
const CROWDED_FACTOR = 8
/** A move is worked off in slices, so that neither the loop nor a commit is held up for long. */
const CHUNKS_PER_MOVE_MAX = 400
/** Rows of the memory count double, dead ones are among them: at a quarter of the bound the mover looks. */
const HELD_SHARE = 2
const MARKS_CACHED_MAX = 50_000

interface Front {
  chunks: Chunk[]
  rows: TailRow[]
  records: TailRecord[]
}

/** Something in it is being acknowledged: that commit comes first, the chunk goes next time. */
function isBusy(chunk: Chunk): boolean {
  if (chunk.live === 0) return false
  return chunk.rows.some((row) => row.state === ACKED) || chunk.records.some((record) => record.state === ACKED)
}

const isCrowdedBy = (rows: number, store: Store): boolean => rows > store.limits.tailRowsMax / 2

/**
 * The chunks that can go now: dead ones, and old ones (all of them when the tail is half full) up to the bound. Nothing
 * before the oldest is old enough or the memory asks for it: saving all states each second costs more than it frees.
 */
function chooseFront(store: Store): Front {
  const { tail, limits } = store
  let pinned = Number.POSITIVE_INFINITY
  for (const mark of tail.pendingMarks.values()) pinned = Math.min(pinned, mark.chunk?.id ?? pinned)
  const isCrowded = isCrowdedBy(tail.liveRows, store)
  const bornMax = isCrowded ? Number.POSITIVE_INFINITY : store.now() - limits.settleAfterMs
  const rowsMax = limits.moveRowsMax * (isCrowded ? CROWDED_FACTOR : 1)
  const front: Front = { chunks: [], rows: [], records: [] }
  const isDue = (tail.chunks[0]?.bornMs ?? Number.POSITIVE_INFINITY) <= bornMax
  if (!isDue && !isCrowdedBy(tail.heldRows * HELD_SHARE, store)) return front
  for (const chunk of tail.chunks) {
    if (chunk.id >= pinned || (chunk.live > 0 && chunk.bornMs > bornMax) || isBusy(chunk)) break
    if (front.chunks.length > 0 && front.rows.length + chunk.live > rowsMax) break
    if (front.chunks.length === CHUNKS_PER_MOVE_MAX) break
    front.chunks.push(chunk)
    for (const row of chunk.rows) if (row.state === LIVE) front.rows.push(row)
    for (const record of chunk.records) if (record.state === LIVE) front.records.push(record)
  }
  return front
}

/** Sorted by device and position: neighbours in `settled` are written together. */
function moveJob(front: Front): MoveJob {
  front.rows.sort((a, b) => (a.device < b.device ? -1 : a.device > b.device ? 1 : a.seq - b.seq))
  const job: MoveJob = {
    ids: [],
    devices: [],
    seqs: [],
    subs: [],
    kinds: [],
    peers: [],
    expires: [],
    starts: [],
    ends: [],
  }
  for (const row of front.rows) {
    job.ids.push((row.chunk as Chunk).id)
    job.devices.push(row.device)
    job.seqs.push(row.seq)
    job.subs.push(row.sub)
    job.kinds.push(row.kind)
    job.peers.push(row.peer)
    job.expires.push(row.expiresMs)
    job.starts.push(row.start)
    job.ends.push(row.end)
  }
  return job
}

/** Saves what the front was the only place of: stamps, flags, marks, the last seq. */
function saveStates(store: Store): { devices: DeviceState[]; marks: string[] } {
  const { commits, tail } = store
  const saved: DeviceState[] = []
  for (const device of tail.dirty) {
    // What the tail did not speak of stands in the table: it is read before it is written over.
    stateOf(store, device.id)
    const { id, durableStamp, slot, subscribed, open, sentSeq } = device
    commits.run('putInbox', id, durableStamp, slot, subscribed ? 1 : 0, open ? 1 : 0, sentSeq)
    saved.push(device)
  }
  tail.dirty.clear()
  for (const key of tail.dirtyMarks) {
    const mark = tail.marks.get(key)
    if (mark !== undefined) commits.run('putMark', mark.by, mark.peer, mark.upTo)
  }
  const marks = [...tail.dirtyMarks]
  tail.dirtyMarks.clear()
  commits.run('putMeta', 'last_seq', tail.lastSeq)
  return { devices: saved, marks }
}

/** Marks that the table has need not be in the memory, once there are many. */
function trimMarks(tail: Tail): void {
  if (tail.marks.size <= MARKS_CACHED_MAX) return
  for (const key of tail.marks.keys()) if (!tail.dirtyMarks.has(key)) tail.marks.delete(key)
}

/** A pending mark that an appended one covers is not appended again: it must not hold the tail. */
function endCoveredMarks(store: Store): void {
  const { tail } = store
  const bornMax = store.now() - store.limits.settleAfterMs
  for (const [key, mark] of tail.pendingMarks) {
    const isOld = (mark.chunk?.bornMs ?? 0) <= bornMax
    if (isOld && markUpTo(store, mark.by, mark.peer) >= mark.upTo) tail.pendingMarks.delete(key)
  }
}

function finish(store: Store, front: Front): void {
  const { tail } = store
  for (const row of front.rows) {
    const device = tail.devices.get(row.device) as DeviceState
    if (row.state === MOVING) {
      device.settledRows++
      endRow(tail, device, row, SETTLED)
    }
    device.settledMaxSeq = Math.max(device.settledMaxSeq, row.seq)
  }
  for (const record of front.records) if (record.state === MOVING) record.state = SETTLED
  tail.chunks.splice(0, front.chunks.length)
  for (const chunk of front.chunks) {
    tail.heldRows -= chunk.rows.length
    for (const row of chunk.rows) forget(store, row.device)
    for (const record of chunk.records) forget(store, record.device)
  }
}

function forget(store: Store, id: string): void {
  const device = store.tail.devices.get(id)
  if (device !== undefined && isIdle(store, device)) store.tail.devices.delete(id)
}

function settle(store: Store): Promise<boolean> {
  const { commits, tail } = store
  endCoveredMarks(store)
  const front = chooseFront(store)
  const last = front.chunks.at(-1)
  if (last === undefined) return Promise.resolve(false)
  if (front.rows.length > 0) commits.move(moveJob(front))
  for (const row of front.rows) {
    // Read from the tables now: between the move's commit and its answer they would count its rows already.
    stateOf(store, row.device)
    row.state = MOVING
  }
  for (const record of front.records) {
    const { device, stamp, hash, seq, peer } = record
    commits.run('insertRecord', device, stamp, hash, seq, peer)
    record.state = MOVING
  }
  commits.run('deleteEntries', last.id)
  const saved = saveStates(store)
  return new Promise((resolve) => {
    commits.after((fault) => {
      if (fault === undefined) finish(store, front)
      else {
        for (const row of front.rows) if (row.state === MOVING) row.state = LIVE
        for (const record of front.records) if (record.state === MOVING) record.state = LIVE
        for (const device of saved.devices) tail.dirty.add(device)
        for (const key of saved.marks) tail.dirtyMarks.add(key)
      }
      trimCache(store)
      trimMarks(tail)
      resumeWaiting(store)
      resolve(fault === undefined && (front.rows.length > 0 || front.chunks.length === CHUNKS_PER_MOVE_MAX))
    }, true)
  })
}

/** Runs the mover each `everyMs`, and at once when the tail grows over half its bound. Returns how to stop it. */
export function startMover(store: Store, everyMs: number): () => Promise<void> {
  let running: Promise<void> | undefined
  let again = false
  async function run(): Promise<void> {
    do again = false
    while ((await settle(store)) || again)
  }
  function kick(): void {
    if (store.refusal === 'corrupt_store') return
    if (running !== undefined) again = true
    else running = run().finally(() => (running = undefined))
  }
  store.onGrowth = () => {
    if (running === undefined && isCrowdedBy(store.tail.heldRows * HELD_SHARE, store)) kick()
  }
  const timer = setInterval(kick, everyMs)
  return async () => {
    clearInterval(timer)
    await running
  }
}
