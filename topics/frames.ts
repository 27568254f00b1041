/**
 * MQTT 3.1.1 control packets as bytes: the few that the broker reads and writes by hand. Pure.
 * Clause numbers are those of the OASIS standard of 29 October 2014.
 */

/** Refuses what is not UTF-8 (overlong forms and surrogates too) and keeps a byte order mark visible. */
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

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
  reason: 'protocol_version' | 'malformed_packet' | 'bad_utf8'
}
/** Why a SUBSCRIBE or UNSUBSCRIBE was not understood. */
export type FilterFault = 'malformed_packet' | 'bad_utf8' | 'bad_packet_id' | 'bad_subscribe'
export interface Filter {
  topic: string
  qos: number
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
 * A text of MQTT (1.5.3): undefined when the bytes are not UTF-8, have U+0000 or U+FEFF, or are not in normal form C,
 * so that no two topics look alike and differ.
 */
export function readText(raw: Uint8Array): string | undefined {
  let text: string
  try {
    text = utf8.decode(raw)
  } catch {
    return undefined
  }
  return text.includes('\0') || text.includes('\ufeff') || text.normalize('NFC') !== text ? undefined : text
}

/** Reads on through the body of a whole frame. */
interface Cursor {
  readonly frame: Buffer
  at: number
  isBadText: boolean
}

/** Bytes behind a length of two bytes; undefined when they are cut off. */
function nextBytes(cursor: Cursor): Buffer | undefined {
  const { frame, at } = cursor
  if (at + 2 > frame.length) return undefined
  const end = at + 2 + frame.readUInt16BE(at)
  if (end > frame.length) return undefined
  cursor.at = end
  return frame.subarray(at + 2, end)
}

function nextText(cursor: Cursor): string | undefined {
  const raw = nextBytes(cursor)
  if (raw === undefined) return undefined
  const text = readText(raw)
  if (text === undefined) cursor.isBadText = true
  return text
}

/** Offset just behind the fixed header of a whole frame. */
export function bodyAt(frame: Uint8Array): number {
  let at = 1
  while ((frame[at] as number) & 128) at++
  return at + 1
}

const MALFORMED: ConnectFault = { returnCode: 0, reason: 'malformed_packet' }
const BAD_TEXT: ConnectFault = { returnCode: 0, reason: 'bad_utf8' }

/** Reads a whole CONNECT frame (3.1). Protocol 3.1.1 only: level 4, name "MQTT"; others get CONNACK 1. */
export function parseConnect(frame: Buffer): Connect | ConnectFault {
  const cursor: Cursor = { frame, at: bodyAt(frame), isBadText: false }
  const fault = () => (cursor.isBadText ? BAD_TEXT : MALFORMED)
  const name = nextText(cursor)
  if (name !== 'MQTT' && name !== 'MQIsdp') return fault()
  const { at } = cursor
  if (at + 4 > frame.length) return MALFORMED
  if (name !== 'MQTT' || frame[at] !== 4) return { returnCode: CONNACK_PROTOCOL, reason: 'protocol_version' }
  const flags = frame[at + 1] as number
  const keepaliveS = frame.readUInt16BE(at + 2)
  cursor.at += 4
  if (!areFlagsSound(flags)) return MALFORMED
  const clientId = nextText(cursor)
  if (clientId === undefined) return fault()
  let will: Connect['will']
  if ((flags & 4) !== 0) {
    const topic = nextText(cursor)
    const bytes = topic === undefined ? undefined : nextBytes(cursor)?.length
    if (topic === undefined || bytes === undefined) return fault()
    will = { topic, qos: (flags >>> 3) & 3, retain: (flags & 0x20) !== 0, bytes }
  }
  let username: string | undefined
  if ((flags & 0x80) !== 0) {
    username = nextText(cursor)
    if (username === undefined) return fault()
  }
  let password: Uint8Array | undefined
  if ((flags & 0x40) !== 0) {
    password = nextBytes(cursor)
    if (password === undefined) return MALFORMED
  }
  if (cursor.at !== frame.length) return MALFORMED
  return { clientId, clean: (flags & 2) !== 0, keepaliveS, username, password, will }
}

/** No reserved flag, no QoS 3, nothing said of a will that is not there, no password without a user name (3.1.2). */
function areFlagsSound(flags: number): boolean {
  if ((flags & 1) !== 0 || (flags & 0x18) === 0x18) return false
  if ((flags & 4) === 0 && (flags & 0x38) !== 0) return false
  return (flags & 0x40) === 0 || (flags & 0x80) !== 0
}

/** Reads the filters of a whole SUBSCRIBE or UNSUBSCRIBE frame (3.8, 3.10); at least one, none of them empty. */
export function parseFilters(frame: Buffer, subscribe: boolean): Filter[] | FilterFault {
  const cursor: Cursor = { frame, at: bodyAt(frame), isBadText: false }
  if (cursor.at + 2 > frame.length) return 'malformed_packet'
  if (frame.readUInt16BE(cursor.at) === 0) return 'bad_packet_id'
  cursor.at += 2
  const filters: Filter[] = []
  while (cursor.at < frame.length) {
    const topic = nextText(cursor)
    if (topic === undefined) return cursor.isBadText ? 'bad_utf8' : 'malformed_packet'
    if (topic === '') return 'bad_subscribe'
    if (!subscribe) {
      filters.push({ topic, qos: 0 })
      continue
    }
    const qos = frame[cursor.at]
    if (qos === undefined || qos > 2) return 'malformed_packet'
    filters.push({ topic, qos })
    cursor.at++
  }
  return filters.length > 0 ? filters : 'bad_subscribe'
}
