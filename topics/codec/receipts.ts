/**
 * Receipts in both directions. Up, a client says what was read or played (WIRE rule 2); down, the server says all of
 * it in one Delivery. `accepted` travels as differences: the first pair as it is, each further pair minus the pair
 * before it, so a run of accepted requests costs some bytes each instead of fourteen.
 */

import { ID_BYTES } from '../ids.ts'
import { limits } from '../limits.ts'
import {
  checkOneParty,
  enter,
  leave,
  messageName,
  once,
  type Reader,
  readId,
  readTag,
  readVarint,
  refuse,
  unexpected,
} from './reader.ts'
import type { Receipt } from './shapes.ts'
import { varintSize, writeVarint } from './varint.ts'

const RECEIPTS = messageName('Receipts', [1])
const RECEIPT = messageName('Receipt', [1, 2, 3, 4, 5, 7, 8, 9, 12, 13])
const NONE: readonly number[] = []

/**
 * Appends the entries of a repeated uint64, packed (`tag` has wire type 2) or one by one: a reader has to take both.
 */
export function readSeqs(reader: Reader, tag: number, list: number[], what: string): void {
  if ((tag & 7) === 0) {
    pushSeq(reader, list, what)
    return
  }
  const outer = enter(reader)
  while (reader.at < reader.end) pushSeq(reader, list, what)
  leave(reader, outer)
}

function pushSeq(reader: Reader, list: number[], what: string): void {
  if (list.length === limits.seqsPerListMax) {
    throw refuse(reader, 'too_large', `more than ${limits.seqsPerListMax} entries in ${what}`)
  }
  list.push(readVarint(reader))
}

function readUpReceipt(reader: Reader): Receipt {
  const outer = enter(reader)
  let seen = 0
  let peer: Uint8Array | undefined
  let group: Uint8Array | undefined
  let read = 0
  let played: number[] | undefined
  while (reader.at < reader.end) {
    const tag = readTag(reader)
    if (tag === 16) {
      seen = once(reader, seen, 2, RECEIPT)
      read = readVarint(reader)
    } else if (tag === 24 || tag === 26) {
      played ??= []
      readSeqs(reader, tag, played, 'played')
    } else if (tag === 34) {
      seen = once(reader, seen, 4, RECEIPT)
      peer = readId(reader, 'peer')
    } else if (tag === 42) {
      seen = once(reader, seen, 5, RECEIPT)
      group = readId(reader, 'group')
    } else throw unexpectedUp(reader, tag)
  }
  leave(reader, outer)
  checkOneParty(reader, peer, group, 'a receipt')
  return {
    peer,
    group,
    delivered: 0,
    read,
    played: played ?? NONE,
    expired: NONE,
    accepted: NONE,
    member: 0,
    count: 0,
    own: false,
  }
}

function unexpectedUp(reader: Reader, tag: number): Error {
  const number = tag >>> 3
  const isServers = number === 1 || (number >= 7 && number <= 9) || number === 12 || number === 13
  if (isServers) return refuse(reader, 'malformed', `Receipt field ${number} is the server's to say`)
  return unexpected(reader, tag, RECEIPT)
}

/** SendRequest.receipts: at most `limits.receiptsPerRequestMax` items, of peer or group, read and played only. */
export function readUpReceipts(reader: Reader): { readonly items: readonly Receipt[] } {
  const outer = enter(reader)
  const items: Receipt[] = []
  while (reader.at < reader.end) {
    const tag = readTag(reader)
    if (tag !== 10) throw unexpected(reader, tag, RECEIPTS)
    if (items.length === limits.receiptsPerRequestMax) {
      throw refuse(reader, 'too_large', `more than ${limits.receiptsPerRequestMax} receipts`)
    }
    items.push(readUpReceipt(reader))
  }
  leave(reader, outer)
  if (items.length === 0) throw refuse(reader, 'malformed', 'receipts without an item')
  return { items }
}

/** Differences of pairs (stamp, seq) from the pair before. Throws RangeError when the pairs are torn or do not rise. */
export function pairDifferences(pairs: readonly number[]): number[] {
  if (pairs.length % 2 !== 0) throw new RangeError('accepted is a list of pairs')
  return pairs.map((value, i) => difference(pairs, i, value))
}

function difference(pairs: readonly number[], i: number, value: number): number {
  const less = i < 2 ? 0 : (pairs[i - 2] as number)
  if (value < less) throw new RangeError('accepted pairs have to rise')
  return value - less
}

/** Inverse of `pairDifferences`. */
export function pairsFromDifferences(differences: readonly number[]): number[] {
  const pairs: number[] = []
  for (const value of differences) pairs.push(value + (pairs.length < 2 ? 0 : (pairs[pairs.length - 2] as number)))
  return pairs
}

function packedSize(list: readonly number[]): number {
  let size = 0
  for (let i = 0; i < list.length; i += 1) size += varintSize(list[i] as number)
  return size
}

function pairsSize(pairs: readonly number[]): number {
  if (pairs.length % 2 !== 0) throw new RangeError('accepted is a list of pairs')
  let size = 0
  for (let i = 0; i < pairs.length; i += 1) size += varintSize(difference(pairs, i, pairs[i] as number))
  return size
}

function listSize(bytes: number): number {
  return bytes === 0 ? 0 : 1 + varintSize(bytes) + bytes
}

function numberSize(value: number): number {
  return value === 0 ? 0 : 1 + varintSize(value)
}

function receiptSize(receipt: Receipt): number {
  return (
    numberSize(receipt.delivered) +
    numberSize(receipt.read) +
    listSize(packedSize(receipt.played)) +
    (receipt.peer === undefined ? 0 : 2 + ID_BYTES) +
    (receipt.group === undefined ? 0 : 2 + ID_BYTES) +
    listSize(packedSize(receipt.expired)) +
    listSize(pairsSize(receipt.accepted)) +
    numberSize(receipt.count) +
    numberSize(receipt.member) +
    (receipt.own ? 2 : 0)
  )
}

function itemsSize(items: readonly Receipt[]): number {
  let size = 0
  for (let i = 0; i < items.length; i += 1) {
    const bytes = receiptSize(items[i] as Receipt)
    size += 1 + varintSize(bytes) + bytes
  }
  return size
}

/**
 * Exact bytes of the Delivery that `writeReceiptsDelivery` writes. Throws RangeError when accepted pairs do not rise.
 */
export function receiptsSize(items: readonly Receipt[]): number {
  const bytes = itemsSize(items)
  return 1 + varintSize(bytes) + bytes
}

function writeList(target: Uint8Array, at: number, tag: number, list: readonly number[]): number {
  if (list.length === 0) return at
  target[at++] = tag
  at = writeVarint(target, at, packedSize(list))
  for (let i = 0; i < list.length; i += 1) at = writeVarint(target, at, list[i] as number)
  return at
}

function writePairs(target: Uint8Array, at: number, tag: number, pairs: readonly number[]): number {
  if (pairs.length === 0) return at
  target[at++] = tag
  at = writeVarint(target, at, pairsSize(pairs))
  for (let i = 0; i < pairs.length; i += 1) at = writeVarint(target, at, difference(pairs, i, pairs[i] as number))
  return at
}

function writeNumber(target: Uint8Array, at: number, tag: number, value: number): number {
  if (value === 0) return at
  target[at++] = tag
  return writeVarint(target, at, value)
}

function writeId(target: Uint8Array, at: number, tag: number, id: Uint8Array | undefined): number {
  if (id === undefined) return at
  target[at++] = tag
  target[at++] = ID_BYTES
  target.set(id, at)
  return at + ID_BYTES
}

/** Delivery.receipts, fields in ascending order. `target` has room for `receiptsSize(items)` bytes; returns the end. */
export function writeReceiptsDelivery(target: Uint8Array, at: number, items: readonly Receipt[]): number {
  target[at++] = 114
  at = writeVarint(target, at, itemsSize(items))
  for (let i = 0; i < items.length; i += 1) {
    const receipt = items[i] as Receipt
    target[at++] = 10
    at = writeVarint(target, at, receiptSize(receipt))
    at = writeNumber(target, at, 8, receipt.delivered)
    at = writeNumber(target, at, 16, receipt.read)
    at = writeList(target, at, 26, receipt.played)
    at = writeId(target, at, 34, receipt.peer)
    at = writeId(target, at, 42, receipt.group)
    at = writeList(target, at, 58, receipt.expired)
    at = writePairs(target, at, 66, receipt.accepted)
    at = writeNumber(target, at, 72, receipt.count)
    at = writeNumber(target, at, 96, receipt.member)
    at = writeNumber(target, at, 104, receipt.own ? 1 : 0)
  }
  return at
}
