/**
 * The way out of a connection: frames gather in a pooled buffer and leave in one write per connection and event-loop
 * turn (measured: twice the throughput of a write per frame).
 */
import { DUP, writeLength } from '../topics/frames.ts'
import type { Connection, OutBuffer } from './connection.ts'

const OUT_BYTES = 16 * 1024
const POOLED_MAX = 512
const pool: OutBuffer[] = []

function takeOut(): OutBuffer {
  const pooled = pool.pop()
  if (pooled !== undefined) return pooled
  const fresh: OutBuffer = {
    bytes: Buffer.allocUnsafeSlow(OUT_BYTES),
    used: 0,
    release() {
      fresh.used = 0
      if (pool.length < POOLED_MAX) pool.push(fresh)
    },
  }
  return fresh
}

let dirty: Connection[] = []

/** Sends what every connection has gathered. Runs once a turn; calling it earlier only sends earlier. */
export function flushConnections(): void {
  const now = dirty
  dirty = []
  for (const connection of now) {
    connection.isDirty = false
    flushOut(connection)
  }
}

function flushOut(connection: Connection): void {
  const out = connection.out
  if (out === undefined) return
  connection.out = undefined
  if (connection.isOpen) connection.wire.write(out.bytes.subarray(0, out.used), out.release)
  else out.release()
}

/** Room for `bytes` in the connection's out buffer: the buffer, to be written from `used` on. At most OUT_BYTES. */
function room(connection: Connection, bytes: number): OutBuffer {
  if (connection.out !== undefined && connection.out.used + bytes > OUT_BYTES) flushOut(connection)
  connection.out ??= takeOut()
  if (!connection.isDirty) {
    connection.isDirty = true
    if (dirty.length === 0) setImmediate(flushConnections)
    dirty.push(connection)
  }
  return connection.out
}

const nothing = (): void => undefined

/** Writes a whole frame that the caller owns. */
export function writeFrame(connection: Connection, frame: Uint8Array): void {
  if (!connection.isOpen) return
  if (frame.length > OUT_BYTES) {
    flushOut(connection)
    connection.wire.write(frame, nothing)
    return
  }
  const out = room(connection, frame.length)
  out.bytes.set(frame, out.used)
  out.used += frame.length
}

export function writePuback(connection: Connection, packetId: number): void {
  if (!connection.isOpen) return
  const out = room(connection, 4)
  const { bytes, used } = out
  bytes[used] = 0x40
  bytes[used + 1] = 2
  bytes[used + 2] = packetId >>> 8
  bytes[used + 3] = packetId & 255
  out.used = used + 4
}

/** Copies a stored PUBLISH (packet id 0) from `source[start..end)` and gives it its packet id. */
export function writeStored(
  connection: Connection,
  source: Uint8Array,
  start: number,
  end: number,
  packetId: number,
  isResend: boolean,
): void {
  const bytes = end - start
  if (!connection.isOpen) return
  const isLarge = bytes > OUT_BYTES
  const out = isLarge ? undefined : room(connection, bytes)
  const into = out?.bytes ?? Buffer.allocUnsafeSlow(bytes)
  const at = out?.used ?? 0
  // A typed copy of a few hundred bytes; Buffer.copy costs a call into C++.
  into.set(source.subarray(start, end), at)
  if (isResend) into[at] = (into[at] as number) | DUP
  let id = at + 1
  while ((into[id] as number) & 128) id++
  id += 1
  id += 2 + (((into[id] as number) << 8) | (into[id + 1] as number))
  into[id] = packetId >>> 8
  into[id + 1] = packetId & 255
  if (out !== undefined) out.used = at + bytes
  else {
    flushOut(connection)
    connection.wire.write(into, nothing)
  }
}

/** Writes a QoS 1 PUBLISH made here. */
export function writePublish(connection: Connection, topic: Uint8Array, payload: Uint8Array, packetId: number): void {
  const remaining = 4 + topic.length + payload.length
  const frame = Buffer.allocUnsafe(5 + remaining)
  frame[0] = 0x32
  let at = writeLength(frame, 1, remaining)
  frame[at++] = topic.length >>> 8
  frame[at++] = topic.length & 255
  frame.set(topic, at)
  at += topic.length
  frame[at++] = packetId >>> 8
  frame[at++] = packetId & 255
  frame.set(payload, at)
  writeFrame(connection, frame.subarray(0, at + payload.length))
}
