/** Step 3 for persons: `d/<device>/out`, a SendRequest. Bodies stay where they were read; only references travel. */
import { crc32 } from 'node:zlib'
import { checkDeviceList } from '../core/device-list.ts'
import { type Body, DEDUPE_NONE, DEDUPE_RECORD, type Envelope, pendingEnvelope, type Target } from '../core/envelope.ts'
import { markTarget, receiptBytes } from '../core/own-envelopes.ts'
import type { Device } from '../core/ports.ts'
import { pairShard } from '../core/shards.ts'
import {
  type DeviceBody,
  decodeSendRequest,
  type PairMessage,
  REQUEST,
  type Receipt,
  SCOPE,
  type SendRequest,
} from '../topics/codec.ts'
import { isThingUser } from '../topics/ids.ts'
import { limits } from '../topics/limits.ts'
import type { Connection } from './connection.ts'
import { deliverable, type Ingress, isLater, join, joinRefusal } from './ingress.ts'
import { knownRoute, withRoute } from './recipients.ts'
import { type Refusal, refusal } from './refuse.ts'
import { type Route, resolvePair, resolveRaw } from './routes.ts'

/** Where a request stands and whose it is. */
export interface Context {
  readonly ingress: Ingress
  readonly connection: Connection
  readonly packetId: number
  readonly bytes: number
  readonly source: Buffer
  readonly start: number
  readonly end: number
}

const keyOf = (user: Uint8Array): string => Buffer.from(user.buffer, user.byteOffset, user.length).toString('latin1')
const USER_BYTES = 16

/**
 * A PUBLISH on `out`: payload in `source[start..end)`. False: not decodable and without a stamp, the connection is to
 * be closed (A4).
 */
export function onRequest(context: Context): boolean {
  const { source, start, end } = context
  const request = decodeSendRequest(source, start, end)
  if (request.fault) {
    if (request.stamp === 0) return false
    refuse(context, refusal(request.code, request.stamp, request.text))
    return true
  }
  if (end - start > limits.envelopeBytesMax) refuse(context, refusal('too_large', request.stamp))
  else if (request.kind === REQUEST.receipts) onReceipts(context, request)
  else if (request.raw !== undefined) onRawMessage(context, request)
  else if (request.stamp === 0) return false
  else if (request.pair !== undefined) onPair(context, request, request.pair)
  else refuse(context, refusal('unsupported', request.stamp, 'groups, sync and withdraw come later'))
  return true
}

function refuse(context: Context, refused: Refusal): void {
  joinRefusal(context.ingress, context.connection, context.packetId, context.bytes, refused)
}

function envelopeOf(
  context: Context,
  request: SendRequest,
  peer: string,
  targets: readonly Target[],
  bodies: readonly Body[],
): Envelope {
  const { ingress, connection, source, start, end } = context
  return pendingEnvelope({
    shard: pairShard(connection.principal.account.key, peer, ingress.ports.intake.shards),
    device: connection.device,
    deviceNumber: connection.principal.device.number,
    stamp: request.stamp,
    hash: crc32(source.subarray(start, end)),
    dedupe: request.stamp === 0 ? DEDUPE_NONE : DEDUPE_RECORD,
    afterSeq: request.afterSeq,
    expiresMs: request.expiresInS === 0 ? 0 : ingress.ports.now() + request.expiresInS * 1_000,
    peer,
    source,
    targets,
    bodies,
  })
}

function accept(context: Context, envelope: Envelope): void {
  const { connection, packetId, bytes } = context
  join(context.ingress, { connection, packetId, bytes, envelope, refused: undefined })
}

// ---------------------------------------------------------------- pair

function onPair(context: Context, request: SendRequest, pair: PairMessage): void {
  const { ingress, connection } = context
  const peer = context.source.toString('latin1', pair.peerAt, pair.peerAt + USER_BYTES)
  if (hasEmptyBody(pair.devices) || hasEmptyBody(pair.own)) return refuse(context, refusal('empty_body', request.stamp))
  if (pair.devices.length + pair.own.length === 0) {
    return refuse(context, refusal('empty_body', request.stamp, 'no device is named'))
  }
  if (isLater(ingress, connection, peer)) return refuse(context, refusal('overloaded', request.stamp))
  const known = knownRoute(ingress, connection, peer)
  if (known !== undefined) return sendPair(context, request, pair, peer, known)
  const resolve = () => resolvePair(ingress.ports.directory, connection.principal, pair.peer)
  withRoute(ingress, connection, peer, resolve, (route) => sendPair(context, request, pair, peer, route))
}

function hasEmptyBody(list: readonly DeviceBody[]): boolean {
  for (const body of list) if (body.field === 0 || body.start === body.end) return true
  return false
}

function sendPair(
  context: Context,
  request: SendRequest,
  pair: PairMessage,
  peer: string,
  route: Route | undefined,
): void {
  const { ingress } = context
  if (route?.account === undefined)
    return refuse(context, refusal(route?.error ?? 'storage_unavailable', request.stamp))
  const partial = pair.scope === SCOPE.partial
  const stale = checkDeviceList(pair.devices, route.account.devices, partial)
  if (stale !== undefined) return refuse(context, { ...refusal('devices_stale', request.stamp), devices: stale })
  const ownStale = checkDeviceList(pair.own, route.ownDevices, partial)
  if (ownStale !== undefined) {
    return refuse(context, { ...refusal('devices_stale', request.stamp), devices: ownStale, own: true })
  }
  const makesReceipts = pair.scope === SCOPE.message
  const known = makesReceipts ? route.targets : route.quiet
  const isSimple = pair.devices.length === 1 && known.length === 1 && pair.own.length === 0
  const targets = isSimple
    ? known
    : [
        ...pickTargets(pair.devices, known, route.account.devices),
        ...pickTargets(pair.own, route.own, route.ownDevices),
      ]
  const open = deliverable(ingress, targets)
  if (open === undefined) return refuse(context, refusal('undeliverable', request.stamp))
  const all: readonly DeviceBody[] = pair.own.length === 0 ? pair.devices : [...pair.devices, ...pair.own]
  const bodies = open.length === targets.length ? all : all.filter((_, i) => open.includes(targets[i] as Target))
  accept(context, envelopeOf(context, request, peer, open, bodies))
}

/** The targets in the order of the bodies. The list was checked: every number is known. */
function pickTargets(named: readonly DeviceBody[], targets: readonly Target[], devices: readonly Device[]): Target[] {
  return named.map(({ device }) => targets[devices.findIndex((known) => known.number === device)] as Target)
}

// ---------------------------------------------------------------- raw to a thing

function onRawMessage(context: Context, request: SendRequest): void {
  const { ingress, connection } = context
  const raw = request.raw
  if (raw?.peer === undefined || raw.group !== undefined) {
    return refuse(context, refusal('unsupported', request.stamp, 'raw groups come later'))
  }
  if (raw.end - raw.start > limits.rawBytesMax) return refuse(context, refusal('too_large', request.stamp))
  if (!isThingUser(raw.peer)) return refuse(context, refusal('raw_not_allowed', request.stamp))
  const user = raw.peer
  const peer = keyOf(user)
  const resolve = () => resolveRaw(ingress.ports.directory, connection.principal, { kind: 'user', user })
  withRoute(ingress, connection, `raw:${peer}`, resolve, (route) => {
    if (route === undefined || route.error !== undefined) {
      return refuse(context, refusal(route?.error ?? 'storage_unavailable', request.stamp))
    }
    const open = deliverable(ingress, route.targets)
    if (open === undefined) return refuse(context, refusal('undeliverable', request.stamp))
    // Without a stamp it is at least once, like a thing's, and nothing is said of it.
    const recorded = request.stamp === 0 ? '' : peer
    accept(context, envelopeOf(context, request, recorded, open, [{ field: 1, start: raw.start, end: raw.end }]))
  })
}

// ---------------------------------------------------------------- read and played marks

/**
 * Marks from a client: for the peer's devices and, as `own`, for the sender's other ones. No stamp, no record; they
 * only grow.
 */
function onReceipts(context: Context, request: SendRequest): void {
  const items = request.receipts?.items ?? []
  const first = items[0]
  if (first === undefined) return refuse(context, refusal('malformed', request.stamp, 'receipts without an item'))
  // One frame, one PUBACK: its conversations are joined one after the other, the last one is answered.
  const pairs = items.filter((item) => item.peer !== undefined)
  const last = pairs.at(-1)
  if (last === undefined) return refuse(context, refusal('unsupported', request.stamp, 'groups come later'))
  readMarks(context, request, pairs, 0)
}

/** One after the other, so that the one that is answered is stored last. */
function readMarks(context: Context, request: SendRequest, items: readonly Receipt[], at: number): void {
  const item = items[at]
  if (item === undefined) return
  const isLast = at === items.length - 1
  readMark(context, request, item, isLast, () => readMarks(context, request, items, at + 1))
}

function readMark(context: Context, request: SendRequest, item: Receipt, isAnswered: boolean, next: () => void): void {
  const { ingress, connection, packetId, bytes } = context
  const user = item.peer as Uint8Array
  const me = connection.principal.account.user
  const resolve = () => resolvePair(ingress.ports.directory, connection.principal, user)
  withRoute(ingress, connection, keyOf(user), resolve, (route) => {
    if (route?.account === undefined) {
      if (isAnswered) refuse(context, refusal(route?.error ?? 'storage_unavailable', request.stamp))
      return next()
    }
    const forPeer = receiptBytes({ peer: me, read: item.read, played: item.played })
    const forOwn = receiptBytes({ peer: user, read: item.read, played: item.played, own: true })
    const devices = route.account.devices
    const envelope = pendingEnvelope({
      shard: pairShard(connection.principal.account.key, keyOf(user), ingress.ports.intake.shards),
      device: connection.device,
      deviceNumber: connection.principal.device.number,
      stamp: 0,
      hash: 0,
      dedupe: DEDUPE_NONE,
      afterSeq: 0,
      expiresMs: 0,
      peer: '',
      source: Buffer.concat([forPeer, forOwn]),
      targets: [...devices, ...route.ownDevices].map((device) => markTarget(device.id)),
      bodies: [
        ...devices.map(() => ({ field: 0, start: 0, end: forPeer.length })),
        ...route.ownDevices.map(() => ({ field: 0, start: forPeer.length, end: forPeer.length + forOwn.length })),
      ],
    })
    join(ingress, { connection, packetId: isAnswered ? packetId : 0, bytes, envelope, refused: undefined })
    next()
  })
}
