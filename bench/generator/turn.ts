/**
 * What connections write: one flush per turn of the event loop for all of them, in it one write per connection
 * (PUBACKs, then PUBLISHes). Frames stand ready in the connection's buffers and are patched in place.
 */
import type { Socket } from 'node:net'
import type { PairPlan } from './fleet.ts'
import { DUP } from './frames.ts'
import { writeMark, writeStamp, writeU16 } from './message.ts'
import { canSend, type Traffic, takeSlot } from './traffic.ts'

const BATCH_FRAMES_MAX = 128
export const NOTHING = Buffer.alloc(0)

export type Connection = {
  readonly socket: Socket
  /** Which recipient it is, -1: none. */
  readonly recipient: number
  /** Which pair it sends for, -1: none. */
  readonly pair: number
  readonly traffic: Traffic | undefined
  /** The connection that sends for each pair, shared by all connections of a load. */
  readonly senders: readonly (Connection | undefined)[]
  sessionPresent: boolean
  open: boolean
  rest: Buffer
  restBytes: number
  acks: Buffer
  ackBytes: number
  /** The pair's frame, repeated; undefined until the first send. */
  batch: Buffer | undefined
  dirty: boolean
  /** Takes CONNACK and SUBACK during the setup. */
  control: ((type: number, code: number, flags: number) => void) | undefined
  closed: ((reason: string) => void) | undefined
}

let dirtyNow: Connection[] = []
let dirtyNext: Connection[] = []
let armed = false

/** Arms the flush of this turn for every pair that became able to send. */
export function sendReady(traffic: Traffic, senders: readonly (Connection | undefined)[]): void {
  for (let i = 0; i < traffic.readyCount; i++) {
    const pair = traffic.ready[i] as number
    traffic.readyFlag[pair] = 0
    const sender = senders[pair]
    if (sender !== undefined) markDirty(sender)
  }
  traffic.readyCount = 0
}

/** Makes sure that the connection gets its write in this turn's flush. */
export function markDirty(connection: Connection): void {
  if (connection.dirty) return
  connection.dirty = true
  dirtyNext.push(connection)
  if (!armed) {
    armed = true
    setImmediate(flush)
  }
}

function flush(): void {
  const list = dirtyNext
  dirtyNext = dirtyNow
  dirtyNow = list
  armed = false
  const nowMs = performance.now()
  for (const connection of list) {
    connection.dirty = false
    if (connection.open) writeTurn(connection, nowMs)
  }
  list.length = 0
}

function writeTurn(connection: Connection, nowMs: number): void {
  const { socket, traffic, pair } = connection
  const bytes = traffic !== undefined && pair >= 0 && canSend(traffic, pair) ? fillBatch(connection, traffic, nowMs) : 0
  const both = bytes > 0 && connection.ackBytes > 0
  if (both) socket.cork()
  writeAcks(connection)
  if (bytes > 0) socket.write((connection.batch as Buffer).subarray(0, bytes))
  if (both) socket.uncork()
  // What the kernel did not take at once still stands in these buffers: leave them to the socket.
  if (socket.writableLength > 0) {
    connection.acks = NOTHING
    connection.batch = undefined
  }
  if (bytes > 0 && traffic !== undefined && canSend(traffic, pair)) markDirty(connection)
}

/** Writes the PUBACKs that have gathered, if any. */
export function writeAcks(connection: Connection): void {
  if (connection.ackBytes === 0) return
  connection.socket.write(connection.acks.subarray(0, connection.ackBytes))
  connection.ackBytes = 0
}

/** Patches as many frames as the pair may send into its batch; returns their bytes. */
function fillBatch(connection: Connection, traffic: Traffic, nowMs: number): number {
  const { pair } = connection
  const plan = traffic.pairs[pair] as PairPlan
  const frameBytes = plan.frame.length
  connection.batch ??= newBatch(traffic, plan)
  const batch = connection.batch
  let at = 0
  while (at < batch.length && canSend(traffic, pair)) {
    patch(traffic, plan, pair, takeSlot(traffic, pair, nowMs), batch, at)
    at += frameBytes
  }
  return at
}

function newBatch(traffic: Traffic, plan: PairPlan): Buffer {
  const frames = Math.min(traffic.slots, traffic.unackedMax, BATCH_FRAMES_MAX)
  return Buffer.allocUnsafeSlow(frames * plan.frame.length).fill(plan.frame)
}

function patch(traffic: Traffic, plan: PairPlan, pair: number, slot: number, batch: Buffer, at: number): void {
  const counter = traffic.slotCounter[pair * traffic.slots + slot] as number
  writeU16(batch, at + plan.packetIdAt, slot + 1)
  writeMark(batch, at + plan.markAt, traffic.run, slot, pair, counter)
  if (plan.stampAt > 0) writeStamp(batch, at + plan.stampAt, (traffic.stampBase[pair] as number) + counter)
}

/** Sends the messages in `slots` again as they were, DUP set, in the given order. */
export function resend(connection: Connection, traffic: Traffic, slots: readonly number[]): void {
  const plan = traffic.pairs[connection.pair] as PairPlan
  const bytes = Buffer.allocUnsafe(slots.length * plan.frame.length).fill(plan.frame)
  slots.forEach((slot, i) => {
    const at = i * plan.frame.length
    patch(traffic, plan, connection.pair, slot, bytes, at)
    bytes[at] = (bytes[at] as number) | DUP
  })
  connection.socket.write(bytes)
}
