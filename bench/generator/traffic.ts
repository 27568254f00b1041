/**
 * The ledger of one load: which message of which pair is on its way, and what became of it. Every message holds a slot
 * from its first PUBLISH until its PUBACK and its arrival have both been seen, so at the end the occupied slots are
 * exactly the messages that are missing something. Flat typed arrays: nothing is allocated per message.
 *
 * A pair is one sending connection and one recipient device. Slot s of a pair uses packet id s + 1.
 */
import type { PairPlan } from './fleet.ts'
import type { Histogram } from './histogram.ts'
import { createHistogram, record } from './histogram.ts'
import { findBytes, found, MARK_BYTES, readU16, readU32 } from './message.ts'

/** Bits of a slot's state. */
export const OPEN = 1
export const ACKED = 2
export const ARRIVED = 4

/** Called for frames whose content matters beyond the mark (the kill lane compares seqs). Offsets are the payload's. */
export type Watch = {
  arrival(pair: number, counter: number, payload: Uint8Array, from: number, to: number): void
  receipts(pair: number, payload: Uint8Array, from: number, to: number): void
}

export type Traffic = {
  readonly pairs: readonly PairPlan[]
  readonly slots: number
  /** At most so many messages of a pair without PUBACK. */
  readonly unackedMax: number
  /** Stands in every mark: what another load left in a session is told apart. */
  readonly run: number
  readonly protobuf: boolean
  readonly watch: Watch | undefined
  /** How many messages each pair may still send. */
  readonly wanted: Uint32Array
  readonly nextCounter: Uint32Array
  /** Counter that an in-order recipient sees next. */
  readonly expected: Uint32Array
  readonly unacked: Uint32Array
  readonly free: Uint16Array
  readonly freeCount: Uint32Array
  readonly slotState: Uint8Array
  readonly slotCounter: Uint32Array
  readonly slotSentMs: Float64Array
  /** Stamp of a pair's message `c` is stampBase + c: rising, and the same on every resend. */
  readonly stampBase: Float64Array
  /** Pairs that became able to send; the connections empty it. */
  readonly ready: Uint32Array
  readyCount: number
  readonly readyFlag: Uint8Array
  readonly arrivalMs: Histogram
  readonly pubackMs: Histogram
  /** Whether latencies are recorded now. */
  measuring: boolean
  goal: Goal | undefined
  sent: number
  acked: number
  arrived: number
  duplicated: number
  misordered: number
  /** Messages of another load, of no pair, or for another recipient. */
  stray: number
  /** PUBACKs for nothing that was open. */
  strayPubacks: number
  receiptFrames: number
  /** Requests that Receipts frames named as accepted. */
  marks: number
  /** QoS 0 frames on an inbox topic: caught-up markers and refusals. */
  asides: number
}

type Goal = { acked: number; arrived: number; reached: () => void }

export type TrafficOptions = {
  pairs: readonly PairPlan[]
  /** 1..65534 messages of one pair may be on their way. */
  slots: number
  unackedMax?: number
  protobuf: boolean
  watch?: Watch
  /** Stamp of each pair's first message; unix ms now when not given. */
  stampBase?: Float64Array
}

let lastRun = Math.floor(Math.random() * 65536)

export function createTraffic(options: TrafficOptions): Traffic {
  const { pairs, slots, protobuf, watch } = options
  if (slots < 1 || slots > 65534) throw new RangeError(`slots: ${slots} is not between 1 and 65534`)
  const count = pairs.length
  const free = new Uint16Array(count * slots)
  for (let i = 0; i < free.length; i++) free[i] = slots - 1 - (i % slots)
  lastRun = (lastRun + 1) % 65536
  return {
    pairs,
    slots,
    unackedMax: options.unackedMax ?? slots,
    run: lastRun,
    protobuf,
    watch,
    wanted: new Uint32Array(count),
    nextCounter: new Uint32Array(count),
    expected: new Uint32Array(count),
    unacked: new Uint32Array(count),
    free,
    freeCount: new Uint32Array(count).fill(slots),
    slotState: new Uint8Array(count * slots),
    slotCounter: new Uint32Array(count * slots),
    slotSentMs: new Float64Array(count * slots),
    stampBase: options.stampBase ?? new Float64Array(count).fill(Date.now()),
    ready: new Uint32Array(count),
    readyCount: 0,
    readyFlag: new Uint8Array(count),
    arrivalMs: createHistogram(),
    pubackMs: createHistogram(),
    measuring: false,
    goal: undefined,
    sent: 0,
    acked: 0,
    arrived: 0,
    duplicated: 0,
    misordered: 0,
    stray: 0,
    strayPubacks: 0,
    receiptFrames: 0,
    marks: 0,
    asides: 0,
  }
}

export function canSend(traffic: Traffic, pair: number): boolean {
  return (
    (traffic.wanted[pair] as number) > 0 &&
    (traffic.freeCount[pair] as number) > 0 &&
    (traffic.unacked[pair] as number) < traffic.unackedMax
  )
}

/** Lets a pair send `messages` more. The connections pick it up with `sendReady`. */
export function want(traffic: Traffic, pair: number, messages: number): void {
  traffic.wanted[pair] = (traffic.wanted[pair] as number) + messages
  noteReady(traffic, pair)
}

function noteReady(traffic: Traffic, pair: number): void {
  if (traffic.readyFlag[pair] !== 0 || !canSend(traffic, pair)) return
  traffic.readyFlag[pair] = 1
  traffic.ready[traffic.readyCount++] = pair
}

/** Takes a free slot for the pair's next message (`canSend` must hold) and returns it. */
export function takeSlot(traffic: Traffic, pair: number, nowMs: number): number {
  const left = (traffic.freeCount[pair] as number) - 1
  const slot = traffic.free[pair * traffic.slots + left] as number
  const at = pair * traffic.slots + slot
  traffic.freeCount[pair] = left
  traffic.wanted[pair] = (traffic.wanted[pair] as number) - 1
  traffic.unacked[pair] = (traffic.unacked[pair] as number) + 1
  const counter = traffic.nextCounter[pair] as number
  traffic.nextCounter[pair] = counter + 1
  traffic.slotState[at] = OPEN
  traffic.slotCounter[at] = counter
  traffic.slotSentMs[at] = nowMs
  traffic.sent++
  return slot
}

/** A sender's PUBACK. */
export function onPuback(traffic: Traffic, pair: number, packetId: number, nowMs: number): void {
  const slot = packetId - 1
  const at = pair * traffic.slots + slot
  const state = slot < traffic.slots ? (traffic.slotState[at] as number) : 0
  if ((state & (OPEN | ACKED)) !== OPEN) {
    traffic.strayPubacks++
    return
  }
  traffic.acked++
  traffic.unacked[pair] = (traffic.unacked[pair] as number) - 1
  if (traffic.measuring) record(traffic.pubackMs, nowMs - (traffic.slotSentMs[at] as number))
  if ((state & ARRIVED) !== 0) release(traffic, pair, slot)
  else traffic.slotState[at] = state | ACKED
  noteReady(traffic, pair)
}

/**
 * A message at a recipient; `from` to `to` is the payload of its PUBLISH. A counter that was passed over and comes
 * later is misordered; one whose slot no longer waits for it is a duplicate.
 */
export function onMessage(
  traffic: Traffic,
  recipient: number,
  payload: Uint8Array,
  from: number,
  to: number,
  nowMs: number,
): void {
  let markAt = from
  if (traffic.protobuf) markAt = findBytes(payload, from, to, 2) ? found.start : to
  const pair = markAt + MARK_BYTES <= to ? readU32(payload, markAt + 4) : traffic.pairs.length
  const slot = readU16(payload, markAt + 2)
  const plan = traffic.pairs[pair]
  if (
    plan === undefined ||
    plan.recipient !== recipient ||
    slot >= traffic.slots ||
    readU16(payload, markAt) !== traffic.run
  ) {
    traffic.stray++
    return
  }
  const counter = readU32(payload, markAt + 8)
  if (traffic.watch !== undefined) traffic.watch.arrival(pair, counter, payload, from, to)
  const at = pair * traffic.slots + slot
  const state = traffic.slotState[at] as number
  if ((state & (OPEN | ARRIVED)) !== OPEN || traffic.slotCounter[at] !== counter) {
    traffic.duplicated++
    return
  }
  traffic.arrived++
  if (counter < (traffic.expected[pair] as number)) traffic.misordered++
  else traffic.expected[pair] = counter + 1
  if (traffic.measuring) record(traffic.arrivalMs, nowMs - (traffic.slotSentMs[at] as number))
  if ((state & ACKED) !== 0) release(traffic, pair, slot)
  else traffic.slotState[at] = state | ARRIVED
  noteReady(traffic, pair)
}

/**
 * Resolves true as soon as so many messages of this load are acknowledged and arrived, false when neither number has
 * moved for `quietMs`. One waiter at a time.
 */
export function waitFor(traffic: Traffic, acked: number, arrived: number, quietMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    let before = traffic.acked + traffic.arrived
    const timer = setInterval(() => {
      const now = traffic.acked + traffic.arrived
      if (now === before) finish(false)
      before = now
    }, quietMs)
    const finish = (reached: boolean): void => {
      clearInterval(timer)
      traffic.goal = undefined
      resolve(reached)
    }
    traffic.goal = { acked, arrived, reached: () => finish(true) }
    noteProgress(traffic)
  })
}

/** Ends the wait of `waitFor` when its goal is reached; the connections call it after every chunk. */
export function noteProgress(traffic: Traffic): void {
  const { goal } = traffic
  if (goal !== undefined && traffic.acked >= goal.acked && traffic.arrived >= goal.arrived) goal.reached()
}

/** Frees a slot. */
export function release(traffic: Traffic, pair: number, slot: number): void {
  const count = traffic.freeCount[pair] as number
  traffic.slotState[pair * traffic.slots + slot] = 0
  traffic.free[pair * traffic.slots + count] = slot
  traffic.freeCount[pair] = count + 1
}
