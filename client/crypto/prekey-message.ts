/**
 * What a PreKey message says of its sender in the open: identity key, registration id, and whether it spent a one-time
 * key. libsignal does not show them. The message is a version byte and a protobuf (libsignal, wire.proto,
 * PreKeySignalMessage: pre_key_id = 1, identity_key = 3, registration_id = 5). The registration id is not
 * authenticated: a wrong one costs a round of repairing.
 */
const ONE_TIME_ID = 1
const IDENTITY_KEY = 3
const REGISTRATION_ID = 5
const KEY_BYTES = 33

interface Reader {
  readonly bytes: Uint8Array
  at: number
}

/** A varint of at most five bytes, what a length or a tag may be; -1 when it is cut off or longer. */
function readVarint(reader: Reader): number {
  let value = 0
  for (let shift = 0; shift < 35; shift += 7) {
    const byte = reader.bytes[reader.at++]
    if (byte === undefined) return -1
    value += (byte & 127) * 2 ** shift
    if (byte < 128) return value
  }
  return -1
}

export interface PrekeySender {
  /** 33 bytes. */
  readonly identityKey: Uint8Array
  /** 0: it names none. */
  readonly registrationId: number
  /** Was it begun with a one-time key? */
  readonly hasOneTime: boolean
}

/** Undefined when the message has no identity key or is malformed: libsignal will refuse it then. */
export function senderOfPrekeyMessage(message: Uint8Array): PrekeySender | undefined {
  const reader: Reader = { bytes: message, at: 1 }
  let identityKey: Uint8Array | undefined
  let registrationId = 0
  let hasOneTime = false
  while (reader.at < message.length) {
    const tag = readVarint(reader)
    if (tag < 0) return undefined
    const wire = tag & 7
    const value = wire === 0 || wire === 2 ? readVarint(reader) : -1
    if (value < 0) return undefined
    // The last one of a field counts, as protobuf has it.
    if (wire === 0) {
      if (tag >>> 3 === REGISTRATION_ID) registrationId = value
      if (tag >>> 3 === ONE_TIME_ID) hasOneTime = true
      continue
    }
    if (tag >>> 3 === IDENTITY_KEY) identityKey = message.subarray(reader.at, reader.at + value)
    reader.at += value
  }
  if (reader.at !== message.length || identityKey?.length !== KEY_BYTES) return undefined
  return { identityKey, registrationId, hasOneTime }
}
