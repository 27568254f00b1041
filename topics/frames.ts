/**
 * MQTT 3.1.1 control packets as bytes: the few that the broker reads and writes by hand. Pure.
 * Clause numbers are those of the OASIS standard of 29 October 2014.
 */
import { isUtf8 } from 'node:buffer'

export const CONNECT = 1
export const PUBLISH = 3
export const PUBACK = 4
export const SUBSCRIBE = 8
export const UNSUBSCRIBE = 10
export const PINGREQ = 12
export const DISCONNECT = 14

/** First byte of a QoS 1 PUBLISH; bit 3 (0x08) is DUP (3.3.1.1). */
export const PUBLISH_QOS1 = 0x32
export const PUBLISH_QOS0 = 0x30
export const DUP = 0x08

/** CONNACK return codes (3.2.2.3). */
export const CONNACK_PROTOCOL = 1
export const CONNACK_IDENTIFIER = 2
export const CONNACK_UNAVAILABLE = 3
export const CONNACK_CREDENTIALS = 4
export const CONNACK_FORBIDDEN = 5

export interface Connect {
  clientId: string
  clean: boolean
  keepaliveS: number
  username: string | undefined
  password: Uint8Array | undefined
  will: { topic: string; qos: number; retain: boolean; bytes: number } | undefined
}
/** Why a CONNECT was not understood; `returnCode` 0 means close without CONNACK. */
export interface ConnectFault {
  returnCode: number
  reason: 'protocol_version' | 'malformed_packet'
}
export interface Filter {
  topic: string
  qos: number
  /** Offset of the QoS byte in the frame; -1 in UNSUBSCRIBE. */
  qosAt: number
}

/** How many bytes a remaining length of `value` takes (2.2.3). */
export function lengthBytes(value: number): number {
  return value < 128 ? 1 : value < 16384 ? 2 : value < 2097152 ? 3 : 4
}

export function writeLength(target: Uint8Array, at: number, value: number): number {
  let rest = value
  while (rest >= 128) {
    target[at++] = (rest & 127) | 128
    rest >>>= 7
  }
  target[at++] = rest
  return at
}

/** Bytes of a whole QoS 1 PUBLISH. */
export function publishBytes(topicBytes: number, payloadBytes: number): number {
  const remaining = 4 + topicBytes + payloadBytes
  return 1 + lengthBytes(remaining) + remaining
}

/** Head of a QoS 1 PUBLISH with packet id 0, to be patched when it is sent. Returns where the payload begins. */
export function writePublishHead(target: Uint8Array, at: number, topic: Uint8Array, payloadBytes: number): number {
  target[at++] = PUBLISH_QOS1
  at = writeLength(target, at, 4 + topic.length + payloadBytes)
  target[at++] = topic.length >>> 8
  target[at++] = topic.length & 255
  target.set(topic, at)
  at += topic.length
  target[at++] = 0
  target[at++] = 0
  return at
}

/** Where the packet id of a QoS 1 PUBLISH stands, relative to the frame's first byte at `start`. */
export function packetIdAt(frame: Uint8Array, start: number): number {
  let at = start + 1
  while ((frame[at] as number) & 128) at++
  at++
  return at + 2 + (((frame[at] as number) << 8) | (frame[at + 1] as number))
}

/** A whole QoS 0 PUBLISH. */
export function publishQos0(topic: Uint8Array, payload: Uint8Array): Uint8Array {
  const remaining = 2 + topic.length + payload.length
  const frame = new Uint8Array(1 + lengthBytes(remaining) + remaining)
  frame[0] = PUBLISH_QOS0
  let at = writeLength(frame, 1, remaining)
  frame[at++] = topic.length >>> 8
  frame[at++] = topic.length & 255
  frame.set(topic, at)
  frame.set(payload, at + topic.length)
  return frame
}

export function connack(returnCode: number): Uint8Array {
  return Uint8Array.of(0x20, 2, 0, returnCode)
}

/**
 * Reads a length-prefixed UTF-8 string (1.5.3): undefined when truncated, not UTF-8, or with U+0000, U+FEFF or not
 * NFC.
 */
function readString(frame: Buffer, at: number): string | undefined {
  if (at + 2 > frame.length) return undefined
  const end = at + 2 + frame.readUInt16BE(at)
  if (end > frame.length) return undefined
  const raw = frame.subarray(at + 2, end)
  if (!isUtf8(raw)) return undefined
  const text = raw.toString('utf8')
  if (text.includes('\0') || text.includes('\ufeff') || text.normalize('NFC') !== text) return undefined
  return text
}

/** Offset just behind the fixed header of a whole frame. */
export function bodyAt(frame: Uint8Array): number {
  let at = 1
  while ((frame[at] as number) & 128) at++
  return at + 1
}

const MALFORMED: ConnectFault = { returnCode: 0, reason: 'malformed_packet' }

/** Reads a whole CONNECT frame (3.1). Protocol 3.1.1 only: level 4, name "MQTT"; others get CONNACK 1. */
export function parseConnect(frame: Buffer): Connect | ConnectFault {
  let at = bodyAt(frame)
  const name = readString(frame, at)
  if (name === undefined || (name !== 'MQTT' && name !== 'MQIsdp')) return MALFORMED
  at += 2 + name.length
  if (at + 4 > frame.length) return MALFORMED
  if (name !== 'MQTT' || frame[at] !== 4) return { returnCode: CONNACK_PROTOCOL, reason: 'protocol_version' }
  const flags = frame[at + 1] as number
  const keepaliveS = frame.readUInt16BE(at + 2)
  at += 4
  const willFlag = (flags & 4) !== 0
  const willQos = (flags >>> 3) & 3
  if ((flags & 1) !== 0 || willQos === 3) return MALFORMED
  if (!willFlag && (flags & 0x38) !== 0) return MALFORMED
  if ((flags & 0x40) !== 0 && (flags & 0x80) === 0) return MALFORMED
  const clientId = readString(frame, at)
  if (clientId === undefined) return MALFORMED
  at += 2 + Buffer.byteLength(clientId)
  let will: Connect['will']
  if (willFlag) {
    const topic = readString(frame, at)
    if (topic === undefined) return MALFORMED
    at += 2 + Buffer.byteLength(topic)
    if (at + 2 > frame.length) return MALFORMED
    const bytes = frame.readUInt16BE(at)
    at += 2 + bytes
    if (at > frame.length) return MALFORMED
    will = { topic, qos: willQos, retain: (flags & 0x20) !== 0, bytes }
  }
  let username: string | undefined
  if (flags & 0x80) {
    username = readString(frame, at)
    if (username === undefined) return MALFORMED
    at += 2 + Buffer.byteLength(username)
  }
  let password: Uint8Array | undefined
  if (flags & 0x40) {
    if (at + 2 > frame.length) return MALFORMED
    const end = at + 2 + frame.readUInt16BE(at)
    if (end > frame.length) return MALFORMED
    password = frame.subarray(at + 2, end)
    at = end
  }
  if (at !== frame.length) return MALFORMED
  return { clientId, clean: (flags & 2) !== 0, keepaliveS, username, password, will }
}

/**
 * Reads the filters of a whole SUBSCRIBE or UNSUBSCRIBE frame (3.8, 3.10). Undefined when malformed: packet id 0,
 * empty list, truncated, reserved bits or QoS 3, a string that is not well-formed.
 */
export function parseFilters(frame: Buffer, subscribe: boolean): Filter[] | undefined {
  let at = bodyAt(frame)
  if (at + 2 > frame.length || frame.readUInt16BE(at) === 0) return undefined
  at += 2
  const filters: Filter[] = []
  while (at < frame.length) {
    const topic = readString(frame, at)
    if (topic === undefined || topic.length === 0) return undefined
    at += 2 + Buffer.byteLength(topic)
    if (!subscribe) {
      filters.push({ topic, qos: 0, qosAt: -1 })
      continue
    }
    const qos = frame[at]
    if (qos === undefined || qos > 2) return undefined
    filters.push({ topic, qos, qosAt: at })
    at++
  }
  return filters.length > 0 ? filters : undefined
}
