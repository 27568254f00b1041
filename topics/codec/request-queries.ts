/**
 * Readers of the requests that carry no message: sync, group log, group change, withdrawal. Strict; see `request.ts`.
 */
import { limits } from '../limits.ts'
import {
  checkOneParty,
  enter,
  leave,
  messageName,
  once,
  type Reader,
  readId,
  readLength,
  readTag,
  readUint32,
  readVarint,
  refuse,
  unexpected,
} from './reader.ts'
import { readSeqs } from './receipts.ts'
import type { GroupLogRequest, SignedEntry, Sync, Withdraw } from './shapes.ts'

const SYNC = messageName('Sync', [1, 2, 4, 5])
const GROUP_LOG = messageName('GroupLogRequest', [1, 5])
const SIGNED_ENTRY = messageName('SignedEntry', [1, 2])
const WITHDRAW = messageName('Withdraw', [1, 4, 5])

const SIGNATURE_BYTES = 64

export function readSync(reader: Reader): Sync {
  const outer = enter(reader)
  let seen = 0
  let peer: Uint8Array | undefined
  let group: Uint8Array | undefined
  let afterSeq = 0
  let limit = 0
  while (reader.at < reader.end) {
    const tag = readTag(reader)
    if (tag === 8) {
      seen = once(reader, seen, 1, SYNC)
      afterSeq = readVarint(reader)
    } else if (tag === 16) {
      seen = once(reader, seen, 2, SYNC)
      limit = readUint32(reader)
    } else if (tag === 34) {
      seen = once(reader, seen, 4, SYNC)
      peer = readId(reader, 'peer')
    } else if (tag === 42) {
      seen = once(reader, seen, 5, SYNC)
      group = readId(reader, 'group')
    } else throw unexpected(reader, tag, SYNC)
  }
  leave(reader, outer)
  checkOneParty(reader, peer, group, 'a sync')
  if (limit > limits.syncRowsMax) throw refuse(reader, 'too_large', `sync.limit is above ${limits.syncRowsMax}`)
  return { peer, group, afterSeq, limit }
}

export function readGroupLog(reader: Reader): GroupLogRequest {
  const outer = enter(reader)
  let seen = 0
  let group: Uint8Array | undefined
  let fromEpoch = 0
  while (reader.at < reader.end) {
    const tag = readTag(reader)
    if (tag === 8) {
      seen = once(reader, seen, 1, GROUP_LOG)
      fromEpoch = readVarint(reader)
    } else if (tag === 42) {
      seen = once(reader, seen, 5, GROUP_LOG)
      group = readId(reader, 'group')
    } else throw unexpected(reader, tag, GROUP_LOG)
  }
  leave(reader, outer)
  if (group === undefined) throw refuse(reader, 'malformed', 'a group log request has no group')
  return { group, fromEpoch }
}

export function readSignedEntry(reader: Reader): SignedEntry {
  const outer = enter(reader)
  let seen = 0
  let start = 0
  let end = 0
  let signatureStart = 0
  let signatureEnd = 0
  while (reader.at < reader.end) {
    const tag = readTag(reader)
    if (tag === 10) {
      seen = once(reader, seen, 1, SIGNED_ENTRY)
      end = readLength(reader)
      start = reader.at
      reader.at = end
    } else if (tag === 18) {
      seen = once(reader, seen, 2, SIGNED_ENTRY)
      signatureEnd = readLength(reader)
      signatureStart = reader.at
      reader.at = signatureEnd
    } else throw unexpected(reader, tag, SIGNED_ENTRY)
  }
  leave(reader, outer)
  if (end === start) throw refuse(reader, 'malformed', 'a signed entry has no entry')
  if (signatureEnd - signatureStart !== SIGNATURE_BYTES) {
    throw refuse(reader, 'malformed', `a signature has not ${SIGNATURE_BYTES} bytes`)
  }
  return { start, end, signatureStart, signatureEnd }
}

export function readWithdraw(reader: Reader): Withdraw {
  const outer = enter(reader)
  let seen = 0
  let peer: Uint8Array | undefined
  let group: Uint8Array | undefined
  const seqs: number[] = []
  while (reader.at < reader.end) {
    const tag = readTag(reader)
    if (tag === 8 || tag === 10) readSeqs(reader, tag, seqs, 'seqs')
    else if (tag === 34) {
      seen = once(reader, seen, 4, WITHDRAW)
      peer = readId(reader, 'peer')
    } else if (tag === 42) {
      seen = once(reader, seen, 5, WITHDRAW)
      group = readId(reader, 'group')
    } else throw unexpected(reader, tag, WITHDRAW)
  }
  leave(reader, outer)
  checkOneParty(reader, peer, group, 'a withdrawal')
  if (seqs.length === 0) throw refuse(reader, 'malformed', 'a withdrawal without seqs')
  return { peer, group, seqs }
}
