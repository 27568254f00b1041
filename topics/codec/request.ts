/**
 * SendRequest as the server reads it: strict, because it could not honour what it does not know (WIRE R2), and without
 * copying bodies: a body is a range of the bytes. Written by hand for the hot path and checked against protobufjs.
 */
import { limits } from '../limits.ts'
import {
  messageName,
  newReader,
  once,
  type Reader,
  readAll,
  readEnum,
  readTag,
  readUint32,
  readVarint,
  refuse,
  unexpected,
  type WireFault,
} from './reader.ts'
import { readUpReceipts } from './receipts.ts'
import { readGroup, readPair, readRaw } from './request-bodies.ts'
import { readGroupLog, readSignedEntry, readSync, readWithdraw } from './request-queries.ts'
import { REQUEST, type RequestKind, type SendRequest, URGENCY, type Urgency } from './shapes.ts'

type Draft = { -readonly [key in Exclude<keyof SendRequest, 'kind'>]: SendRequest[key] } & { kind: RequestKind | 0 }

const SEND_REQUEST = messageName('SendRequest', [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13], [6, 14, 15])
const sharedReader = newReader()

/**
 * Reads the SendRequest in `bytes[start..end)`. Bodies are ranges of `bytes`; ids and lists are copies. Never throws
 * for what the bytes say: that is a WireFault, with the stamp when it could be found. Throws RangeError when there is
 * no such range.
 */
export function decodeSendRequest(bytes: Uint8Array, start: number, end: number): SendRequest | WireFault {
  return readAll(sharedReader, bytes, start, end, readRequest)
}

function newDraft(): Draft {
  return {
    fault: false,
    stamp: 0,
    kind: 0,
    pair: undefined,
    group: undefined,
    raw: undefined,
    receipts: undefined,
    sync: undefined,
    groupLog: undefined,
    groupChange: undefined,
    withdraw: undefined,
    urgency: URGENCY.message,
    expiresInS: 0,
    afterSeq: 0,
  }
}

function readRequest(reader: Reader): SendRequest {
  if (reader.end - reader.at > limits.envelopeBytesMax) {
    throw refuse(reader, 'too_large', `SendRequest has more than ${limits.envelopeBytesMax} bytes`)
  }
  const request = newDraft()
  let seen = 0
  while (reader.at < reader.end) {
    const tag = readTag(reader)
    switch (tag) {
      case 8:
        seen = once(reader, seen, 1, SEND_REQUEST)
        request.stamp = readVarint(reader)
        break
      case 88:
        seen = once(reader, seen, 11, SEND_REQUEST)
        request.urgency = readEnum(reader, URGENCY.call, 'urgency') as Urgency
        break
      case 96:
        seen = once(reader, seen, 12, SEND_REQUEST)
        request.expiresInS = readUint32(reader)
        break
      case 104:
        seen = once(reader, seen, 13, SEND_REQUEST)
        request.afterSeq = readVarint(reader)
        break
      default:
        readKind(reader, tag, request)
    }
  }
  return checked(reader, request)
}

/** Reads a member of the oneof. */
function readKind(reader: Reader, tag: number, request: Draft): void {
  const kind = (tag & 7) === 2 ? tag >>> 3 : 0
  if (request.kind !== 0 && isKind(kind)) throw refuse(reader, 'malformed', 'SendRequest has two kinds')
  if (kind === REQUEST.pair) request.pair = readPair(reader)
  else if (kind === REQUEST.group) request.group = readGroup(reader)
  else if (kind === REQUEST.raw) request.raw = readRaw(reader)
  else if (kind === REQUEST.receipts) request.receipts = readUpReceipts(reader)
  else if (kind === REQUEST.sync) request.sync = readSync(reader)
  else if (kind === REQUEST.groupLog) request.groupLog = readGroupLog(reader)
  else if (kind === REQUEST.groupChange) request.groupChange = readSignedEntry(reader)
  else if (kind === REQUEST.withdraw) request.withdraw = readWithdraw(reader)
  else throw unexpected(reader, tag, SEND_REQUEST)
  request.kind = kind
}

function isKind(number: number): number is RequestKind {
  return number >= REQUEST.pair && number <= REQUEST.withdraw && number !== 6
}

/** What no single field can show. Queries, receipts and raw messages need no stamp (WIRE rule 2). */
function checked(reader: Reader, request: Draft): SendRequest {
  const { kind } = request
  if (kind === 0) throw refuse(reader, 'malformed', 'SendRequest has no kind')
  const isRecorded =
    kind === REQUEST.pair || kind === REQUEST.group || kind === REQUEST.groupChange || kind === REQUEST.withdraw
  if (isRecorded && request.stamp === 0) throw refuse(reader, 'malformed', 'SendRequest has no stamp')
  if (request.expiresInS > limits.expiresInSMax) {
    throw refuse(reader, 'too_large', `expires_in_s is above ${limits.expiresInSMax}`)
  }
  if (request.urgency === URGENCY.call && (request.expiresInS === 0 || request.expiresInS > limits.callExpiresInSMax)) {
    throw refuse(reader, 'malformed', `URGENCY_CALL needs expires_in_s of 1 to ${limits.callExpiresInSMax}`)
  }
  return request as SendRequest
}
