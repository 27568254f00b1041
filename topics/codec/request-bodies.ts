/** Readers of the requests that carry bodies: pair, group, raw. Strict; see `request.ts`. */
import { limits } from '../limits.ts'
import {
  checkOneParty,
  enter,
  leave,
  messageName,
  once,
  type Reader,
  readEnum,
  readId,
  readLength,
  readTag,
  readUint32,
  readVarint,
  refuse,
  unexpected,
} from './reader.ts'
import { type DeviceBody, type GroupMessage, type PairMessage, type RawMessage, SCOPE, type Scope } from './shapes.ts'

const DEVICE_BODY = messageName('DeviceBody', [2, 3, 8, 9, 10, 11], [6])
const PAIR = messageName('PairMessage', [1, 2, 3, 4, 5])
const GROUP = messageName('GroupMessage', [1, 2, 3, 5, 7])
const RAW = messageName('RawMessage', [1, 4, 5])

/** Tags are field number * 8 + wire type; a body's tag is its field number * 8 + 2. */
function readDeviceBody(reader: Reader): DeviceBody {
  const outer = enter(reader)
  let seen = 0
  let field = 0
  let start = 0
  let end = 0
  let device = 0
  let registrationId = 0
  let member = 0
  while (reader.at < reader.end) {
    const tag = readTag(reader)
    if (tag === 18 || tag === 26 || tag === 66) {
      if (field !== 0) throw refuse(reader, 'malformed', 'DeviceBody has two bodies')
      field = tag >>> 3
      end = readLength(reader)
      start = reader.at
      reader.at = end
    } else if (tag === 72) {
      seen = once(reader, seen, 9, DEVICE_BODY)
      device = readUint32(reader)
    } else if (tag === 80) {
      seen = once(reader, seen, 10, DEVICE_BODY)
      registrationId = readUint32(reader)
    } else if (tag === 88) {
      seen = once(reader, seen, 11, DEVICE_BODY)
      member = readUint32(reader)
    } else throw unexpected(reader, tag, DEVICE_BODY)
  }
  leave(reader, outer)
  return { field: field as DeviceBody['field'], start, end, device, registrationId, member }
}

function pushDevice(reader: Reader, list: DeviceBody[]): void {
  if (list.length === limits.devicesPerRequestMax) {
    throw refuse(reader, 'too_large', `more than ${limits.devicesPerRequestMax} devices in one list`)
  }
  list.push(readDeviceBody(reader))
}

export function readPair(reader: Reader): PairMessage {
  const outer = enter(reader)
  let seen = 0
  let peer: Uint8Array | undefined
  let peerAt = 0
  let group: Uint8Array | undefined
  let scope: Scope = SCOPE.message
  const devices: DeviceBody[] = []
  const own: DeviceBody[] = []
  while (reader.at < reader.end) {
    const tag = readTag(reader)
    switch (tag) {
      case 10:
        pushDevice(reader, devices)
        break
      case 18:
        pushDevice(reader, own)
        break
      case 24:
        seen = once(reader, seen, 3, PAIR)
        scope = readEnum(reader, SCOPE.partial, 'scope') as Scope
        break
      case 34:
        seen = once(reader, seen, 4, PAIR)
        peer = readId(reader, 'peer')
        peerAt = reader.at - peer.length
        break
      case 42:
        seen = once(reader, seen, 5, PAIR)
        group = readId(reader, 'group')
        break
      default:
        throw unexpected(reader, tag, PAIR)
    }
  }
  leave(reader, outer)
  if (peer === undefined) throw refuse(reader, 'malformed', 'a pair has no peer')
  const plaintexts = checkPairBodies(reader, devices, scope) + checkPairBodies(reader, own, scope)
  if (group !== undefined && plaintexts === 0) {
    throw refuse(reader, 'malformed', 'a pair names a group only with a plaintext body')
  }
  return { peer, peerAt, group, devices, own, scope }
}

/**
 * A plaintext is a retry request and nothing else, or people could be downgraded to it (WIRE rule 12). Returns how
 * many.
 */
function checkPairBodies(reader: Reader, list: readonly DeviceBody[], scope: Scope): number {
  let plaintexts = 0
  for (const body of list) {
    if (body.member !== 0) throw refuse(reader, 'malformed', 'a member number belongs into a group')
    if (body.field !== 8) continue
    if (scope !== SCOPE.partial) throw refuse(reader, 'malformed', 'a plaintext body needs SCOPE_PARTIAL')
    plaintexts += 1
  }
  return plaintexts
}

export function readGroup(reader: Reader): GroupMessage {
  const outer = enter(reader)
  let seen = 0
  let group: Uint8Array | undefined
  let roster = 0
  let start = 0
  let end = 0
  let scope: Scope = SCOPE.message
  const devices: DeviceBody[] = []
  while (reader.at < reader.end) {
    const tag = readTag(reader)
    switch (tag) {
      case 8:
        seen = once(reader, seen, 1, GROUP)
        roster = readVarint(reader)
        break
      case 18:
        pushDevice(reader, devices)
        break
      case 24:
        seen = once(reader, seen, 3, GROUP)
        scope = readEnum(reader, SCOPE.partial, 'scope') as Scope
        break
      case 42:
        seen = once(reader, seen, 5, GROUP)
        group = readId(reader, 'group')
        break
      case 58:
        seen = once(reader, seen, 7, GROUP)
        end = readLength(reader)
        start = reader.at
        reader.at = end
        break
      default:
        throw unexpected(reader, tag, GROUP)
    }
  }
  leave(reader, outer)
  if (group === undefined) throw refuse(reader, 'malformed', 'a group message has no group')
  if (scope !== SCOPE.partial && devices.some((body) => body.field === 8)) {
    throw refuse(reader, 'malformed', 'a plaintext body needs SCOPE_PARTIAL')
  }
  return { group, roster, field: (seen & 128) === 0 ? 0 : 7, start, end, devices, scope }
}

export function readRaw(reader: Reader): RawMessage {
  const outer = enter(reader)
  let seen = 0
  let peer: Uint8Array | undefined
  let group: Uint8Array | undefined
  let start = reader.at
  let end = reader.at
  while (reader.at < reader.end) {
    const tag = readTag(reader)
    if (tag === 10) {
      seen = once(reader, seen, 1, RAW)
      end = readLength(reader)
      start = reader.at
      reader.at = end
    } else if (tag === 34) {
      seen = once(reader, seen, 4, RAW)
      peer = readId(reader, 'peer')
    } else if (tag === 42) {
      seen = once(reader, seen, 5, RAW)
      group = readId(reader, 'group')
    } else throw unexpected(reader, tag, RAW)
  }
  leave(reader, outer)
  checkOneParty(reader, peer, group, 'a raw message')
  if (end - start > limits.rawBytesMax)
    throw refuse(reader, 'too_large', `raw has more than ${limits.rawBytesMax} bytes`)
  return { peer, group, start, end }
}
