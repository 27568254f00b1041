/**
 * The identity key that a PreKey message names: libsignal does not show it. The message is a version byte and a
 * protobuf whose field 3 is the key (libsignal, wire.proto, PreKeySignalMessage.identity_key).
 */
const IDENTITY_KEY = 3
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

/** 33 bytes, or undefined when the message has none or is malformed: libsignal will refuse it then. */
export function identityOfPrekeyMessage(message: Uint8Array): Uint8Array | undefined {
  const reader: Reader = { bytes: message, at: 1 }
  let found: Uint8Array | undefined
  while (reader.at < message.length) {
    const tag = readVarint(reader)
    if (tag < 0) return undefined
    const wire = tag & 7
    const value = wire === 0 || wire === 2 ? readVarint(reader) : -1
    if (value < 0) return undefined
    if (wire === 0) continue
    if (tag >>> 3 === IDENTITY_KEY) found = message.subarray(reader.at, reader.at + value)
    reader.at += value
  }
  // The last one counts, as protobuf has it.
  return reader.at === message.length && found?.length === KEY_BYTES ? found : undefined
}
