/** The encoders of clients and of rare deliveries, and the readers of Delivery and Now. */
import { limits } from '../limits.ts'
import type { Delivery, Fields, Now, PlainSendRequest } from './plain.ts'
import { readPlain } from './plain-reader.ts'
import { writePlain } from './plain-writer.ts'
import { newReader, type Reader, readAll, refuse, type WireFault } from './reader.ts'
import { delivery, now, sendRequest } from './schema.ts'

const reader = newReader()

/**
 * A SendRequest as bytes, in wire.proto's field names; `Receipt.accepted` is absolute pairs. Judges nothing but
 * numbers: RangeError for one that is negative, not whole or not below 2^53. The same holds for the encoders below.
 */
export function encodeSendRequest(fields: Fields<PlainSendRequest>): Uint8Array {
  return writePlain(sendRequest, fields)
}

/** A Delivery as bytes: for errors, notices and all that is not hot. Allocates. */
export function encodeDelivery(fields: Fields<Delivery>): Uint8Array {
  return writePlain(delivery, fields)
}

/**
 * Reads a Delivery as a client does: what it does not know it steps over (WIRE R2). Bytes are views of `bytes`. A
 * WireFault for what is no protobuf; its `stamp` says nothing here.
 */
export function decodeDelivery(bytes: Uint8Array): Delivery | WireFault {
  return readAll(reader, bytes, 0, bytes.length, readDelivery)
}

function readDelivery(from: Reader): Delivery {
  return readPlain(from, delivery, false) as unknown as Delivery
}

export function encodeNow(fields: Fields<Now>): Uint8Array {
  return writePlain(now, fields)
}

/** Reads the Now in `bytes[start..end)` as the server does: strict. `sealed` is a view, ids are copies. */
export function decodeNow(bytes: Uint8Array, start = 0, end = bytes.length): Now | WireFault {
  return readAll(reader, bytes, start, end, readNow)
}

function readNow(from: Reader): Now {
  if (from.end - from.at > limits.nowBytesMax) {
    throw refuse(from, 'too_large', `Now has more than ${limits.nowBytesMax} bytes`)
  }
  const message = readPlain(from, now, true) as unknown as Now
  if (message.kind === undefined) throw refuse(from, 'malformed', 'Now has no kind')
  return message
}
