/**
 * Intake (A1-A3): decide, number and encode an envelope into the open transaction, synchronously and in call order;
 * tell the caller when it is durable. The decisions stand on those of the transactions in flight and fall with them.
 */
import { judgeRequest, judgeRising } from '../../core/dedupe.ts'
import {
  DEDUPE_NONE,
  DEDUPE_RECORD,
  type Envelope,
  IntakeFault,
  type Target,
  VERDICT_AHEAD,
  VERDICT_NEW,
} from '../../core/envelope.ts'
import { rowBytesMax, rowKind, writeRow } from '../../core/plan.ts'
import type { Intake } from '../../core/ports.ts'
import { isSeqAhead, nextSeq } from '../../core/sequence.ts'
import { limits } from '../../topics/limits.ts'
import type { CommitFault } from './commits.ts'
import { envelopeHeadBytesMax, writeEnvelopeHead, writeMarked, writeText } from './journal.ts'
import { type Store, stateOf } from './store.ts'
import {
  ACKED,
  addRow,
  type Chunk,
  type DeviceState,
  endRecord,
  findRecord,
  holdRecord,
  LIVE,
  pushRecord,
  raiseMark,
  SETTLED,
  type Tail,
  type TailRecord,
  type TailRow,
} from './tail.ts'

/** Appended rows and records wait here for their commit; then they become visible. */
interface Draft {
  batch: readonly Envelope[]
  records: (TailRecord | undefined)[]
}

/** Beyond this many batches that wait for the mover, new work is refused. */
const WAITING_BATCHES_MAX = 64

const markKey = (by: string, peer: string): string => by + peer

function decide(store: Store, envelope: Envelope, sender: DeviceState | undefined): void {
  if (sender === undefined || envelope.dedupe === DEDUPE_NONE) envelope.verdict = VERDICT_NEW
  else if (envelope.dedupe === DEDUPE_RECORD) {
    const known = envelope.stamp > sender.lastStamp ? undefined : findRecord(sender, envelope.stamp)
    // Its acknowledgement is committed before this, or fails and takes this with it.
    const waiting = known?.state === ACKED ? undefined : known
    const { waitingRecordsMax } = store.limits
    envelope.verdict = judgeRequest(
      envelope.stamp,
      envelope.hash,
      sender.lastStamp,
      waiting?.hash,
      sender.recordsWaiting,
      waitingRecordsMax,
    )
    if (waiting !== undefined) envelope.seq = waiting.seq
  } else envelope.verdict = judgeRising(envelope.stamp, sender.lastStamp)
  envelope.lastStamp = sender?.lastStamp ?? 0
  if (envelope.verdict !== VERDICT_NEW) return
  if (
    envelope.afterSeq > 0 &&
    isSeqAhead(envelope.afterSeq, store.tail.lastSeq, store.now(), limits.afterSeqAheadMsMax)
  ) {
    envelope.verdict = VERDICT_AHEAD
    return
  }
  envelope.seq = nextSeq(store.tail.lastSeq, store.now(), envelope.afterSeq)
  store.tail.lastSeq = envelope.seq
  if (sender !== undefined && envelope.dedupe !== DEDUPE_NONE) sender.lastStamp = envelope.stamp
}

function encodeRow(chunk: Chunk, envelope: Envelope, i: number): TailRow {
  const into = chunk.bytes as Buffer
  const target = envelope.targets[i] as Target
  let at = writeText(into, chunk.used, target.device)
  const kind = rowKind(target)
  into[at++] = kind
  at = writeText(into, at, target.receiptTo)
  const start = at + 4
  const end = writeRow(into, start, envelope, i)
  into.writeUInt32LE(end - start, at)
  chunk.used = end
  return {
    device: target.device,
    seq: envelope.seq,
    sub: 0,
    kind,
    peer: target.receiptTo,
    expiresMs: envelope.expiresMs,
    source: undefined,
    start,
    end,
    chunk,
    state: LIVE,
  }
}

function encode(store: Store, envelope: Envelope): Chunk {
  let bytes = envelopeHeadBytesMax(envelope.targets.length) + 64
  for (let i = 0; i < envelope.targets.length; i++) bytes += rowBytesMax(envelope, i)
  const chunk = store.commits.reserve(bytes)
  chunk.used = writeEnvelopeHead(chunk.bytes as Buffer, chunk.used, envelope)
  if (envelope.targets.length === 1) envelope.rows = [encodeRow(chunk, envelope, 0)]
  else envelope.rows = envelope.targets.map((_, i) => encodeRow(chunk, envelope, i))
  if (envelope.mark !== undefined) chunk.used = writeMarked(chunk.bytes as Buffer, chunk.used, envelope.mark)
  return chunk
}

function recordOf(envelope: Envelope, chunk: Chunk): TailRecord {
  const { device, stamp, hash, seq, peer } = envelope
  return { device, stamp, hash, seq, peer, chunk, state: LIVE }
}

/** The mark is a row now. */
function endPendingMark(tail: Tail, envelope: Envelope): void {
  const mark = envelope.mark
  if (mark === undefined) return
  const key = markKey(mark.by, mark.peer)
  const pending = tail.pendingMarks.get(key)
  if (pending !== undefined && pending.upTo <= mark.upTo) tail.pendingMarks.delete(key)
  raiseMark(tail, key, mark)
}

function show(store: Store, draft: Draft): void {
  const { tail } = store
  for (let i = 0; i < draft.batch.length; i++) {
    const envelope = draft.batch[i] as Envelope
    if (envelope.verdict !== VERDICT_NEW) continue
    for (const row of envelope.rows as TailRow[]) {
      addRow(tail, stateOf(store, row.device), row)
      row.source = row.chunk?.bytes
    }
    const record = draft.records[i]
    const sender = tail.devices.get(envelope.device)
    if (sender !== undefined && envelope.dedupe !== DEDUPE_NONE) {
      sender.durableStamp = envelope.stamp
      tail.dirty.add(sender)
      // It is known since it was decided; now it counts in its chunk.
      if (record !== undefined && record.state === LIVE) holdRecord(record)
    }
    endPendingMark(tail, envelope)
  }
}

function undo(store: Store, draft: Draft): void {
  for (let i = 0; i < draft.batch.length; i++) {
    const envelope = draft.batch[i] as Envelope
    const sender = store.tail.devices.get(envelope.device)
    if (sender === undefined || envelope.verdict !== VERDICT_NEW) continue
    sender.lastStamp = sender.durableStamp
    const record = draft.records[i]
    if (record !== undefined) {
      record.state = SETTLED
      endRecord(sender, record)
    }
  }
}

/**
 * Marks and `expired` let the store shrink: neither a full disk (C3) nor a full tail, whose front waits for them,
 * stops them.
 */
const isOwn = (envelope: Envelope): boolean => envelope.device === ''

const isFull = (store: Store): boolean => store.tail.liveRows >= store.limits.tailRowsMax

/** The mover made room: batches that waited go on, in their order. */
export function resumeWaiting(store: Store): void {
  while (store.waiting.length > 0 && !isFull(store)) store.waiting.shift()?.()
}

export function createIntake(store: Store): Intake {
  function join(batch: readonly Envelope[], resolve: () => void, reject: (fault: IntakeFault) => void): void {
    const draft: Draft = { batch, records: [] }
    for (const envelope of batch) {
      const sender = envelope.device === '' ? undefined : stateOf(store, envelope.device)
      decide(store, envelope, sender)
      let record: TailRecord | undefined
      if (envelope.verdict === VERDICT_NEW) {
        const chunk = encode(store, envelope)
        if (envelope.dedupe === DEDUPE_RECORD) {
          record = recordOf(envelope, chunk)
          if (sender !== undefined) pushRecord(sender, record)
        }
      }
      draft.records.push(record)
    }
    store.commits.after((fault: CommitFault | undefined) => {
      if (fault === undefined) {
        show(store, draft)
        resolve()
        store.onGrowth()
        return
      }
      undo(store, draft)
      if (fault.code === 'disk_full' || fault.code === 'corrupt_store') store.refusal ??= fault.code
      reject(fault)
    }, true)
  }

  return {
    shards: 1,
    append(_shard, batch) {
      return new Promise((resolve, reject) => {
        const refusal = store.refusal
        const isOfServer = batch.length > 0 && batch.every(isOwn)
        const isRefused = refusal === 'corrupt_store' || (refusal === 'disk_full' && !isOfServer)
        if (isRefused) return reject(new IntakeFault(refusal, `the store refuses new work: ${refusal}`))
        const hasRoom = store.waiting.length === 0 && !isFull(store)
        if (hasRoom || isOfServer) return join(batch, resolve, reject)
        store.waiting.push(() => join(batch, resolve, reject))
        store.onGrowth()
      })
    },
    isFull(id) {
      const device = stateOf(store, id)
      return device.settledRows + device.rows.length - device.head >= store.limits.inboxRowsMax
    },
    refusal: () => store.refusal ?? (store.waiting.length > WAITING_BATCHES_MAX ? 'overloaded' : undefined),
  }
}
