/**
 * The plugins in the order a packet meets them, and the only place where they are called from: admission, authenticate,
 * authorize, ingress (requests, raw, dedupe), delivery, receipts. The guard in broker/ hands frames in, nothing else.
 */
import type { Metrics } from '../core/metrics.ts'
import type { InboxState, Mark, Ports, Principal, Row } from '../core/ports.ts'
import type { DisconnectReason } from '../topics/disconnects.ts'
import type { Connect } from '../topics/frames.ts'
import { inboxTopicOf, ownPrefix } from '../topics/topic.ts'
import { type Admission, type AdmissionCaps, createAdmission } from './admission.ts'
import { authenticate, type Login } from './authenticate.ts'
import { authorizePublish, filterOf, judgeTopic } from './authorize.ts'
import type { Connection, Wire } from './connection.ts'
import { type Delivery, onPuback, read, settleTurn, startPump, stopPump, sweepStalled, wakePump } from './delivery.ts'
import { tellGaps } from './gaps.ts'
import { createIngress, enter, giveUp, type Ingress, sendingOf } from './ingress.ts'
import { onRaw } from './raw.ts'
import { createReceipts, noteMark, takeRecords } from './receipts.ts'
import { onRequest } from './requests.ts'
import type { Timeouts } from './timeouts.ts'
import { createPump, type Flow, sentSeqOf } from './window.ts'

export interface PluginSettings extends AdmissionCaps {
  readonly windowRows: number
  /** SHA-256 of the observer's password. */
  readonly observerHash: Uint8Array
  readonly timeouts: Timeouts
  /** A device of a person has lost its connection, and none here took its place. */
  gone(device: string, isWillDue: boolean): void
}

export interface Plugins {
  readonly admission: Admission
  readonly delivery: Delivery
  readonly ingress: Ingress
  login(connect: Connect): Promise<Login>
  /** A device that proved who it is, not yet claimed. */
  connect(principal: Principal, wire: Wire, hasWill: boolean): Connection
  /** Claims the device and opens its inbox. Has it subscribed before? CONNACK says so. */
  hasSession(connection: Connection): Promise<boolean>
  /** CONNACK is sent: claim and open, if that was not asked for before; deliver if it has subscribed. */
  ready(connection: Connection, isClean: boolean): Promise<void>
  subscribed(connection: Connection): void
  unsubscribed(connection: Connection): void
  /** QoS 1 PUBLISH in `chunk[start..end)`; `topicAt` is its topic length field. Gives the reason to close, if any. */
  publish(
    connection: Connection,
    chunk: Buffer,
    start: number,
    topicAt: number,
    end: number,
  ): DisconnectReason | undefined
  puback(connection: Connection, packetId: number): void
  /** A read from the socket is worked off. */
  turn(connection: Connection): void
  closed(connection: Connection, reason: DisconnectReason): void
  /** Marks that were pending when the process before died. */
  recover(marks: readonly Mark[]): void
  stop(): void
}

const SWEEP_EVERY_MS = 100

export function createPlugins(ports: Ports, metrics: Metrics, settings: PluginSettings): Plugins {
  const flow: Flow = {
    ports,
    metrics,
    windowRows: settings.windowRows,
    resume: (connection) => read(delivery, connection),
    stalled: new Set(),
  }
  const receipts = createReceipts(flow)
  const ingress = createIngress(ports, metrics, receipts, settings.timeouts.refusedHoldMs)
  const delivery: Delivery = { flow, receipts }
  const sweeper = setInterval(() => {
    if (flow.stalled.size > 0) sweepStalled(delivery)
    if (ingress.gaps.skipped.size > 0) tellGaps(ingress.gaps)
  }, SWEEP_EVERY_MS)
  sweeper.unref()

  return {
    admission: createAdmission(ports.now, settings),
    delivery,
    ingress,
    login: (connect) => authenticate(ports, connect, settings.observerHash, settings.timeouts.authenticateMs),
    connect: (principal, wire, hasWill) => newConnection(ports, principal, wire, hasWill),
    async hasSession(connection) {
      return (await inboxOf(delivery, connection))?.subscribed === true
    },
    async ready(connection, isClean) {
      const state = await inboxOf(delivery, connection)
      // Nobody asks again, and its records take memory.
      connection.inbox = undefined
      if (state === undefined || !connection.isOpen) return
      connection.pump = createPump(state)
      if (connection.principal.account.kind === 'person') takeRecords(receipts, connection, state.records)
      if ((state.subscribed && !isClean) || connection.isSubscribed) this.subscribed(connection)
    },
    subscribed(connection) {
      connection.isSubscribed = true
      startPump(delivery, connection)
    },
    unsubscribed(connection) {
      connection.isSubscribed = false
      stopPump(connection)
    },
    publish: (connection, chunk, start, topicAt, end) => publish(ingress, connection, chunk, start, topicAt, end),
    puback: (connection, packetId) => onPuback(delivery, connection, packetId),
    turn: (connection) => settleTurn(delivery, connection),
    closed(connection, reason) {
      flow.stalled.delete(connection)
      if (connection.epoch === 0) return
      ports.claims.release(connection.device, connection.epoch)
      settleTurn(delivery, connection)
      if (connection.isInboxOpen) ports.inbox.close(connection.device, sentSeqOf(connection))
      tellGone(settings, connection, reason)
    },
    recover: (marks) => {
      for (const mark of marks) noteMark(receipts, mark)
    },
    stop() {
      clearInterval(sweeper)
      receipts.marksDue.stop()
      receipts.framesDue.stop()
    },
  }
}

function inboxOf(delivery: Delivery, connection: Connection): Promise<InboxState | undefined> {
  connection.inbox ??= openInbox(delivery, connection)
  return connection.inbox
}

/** Claims the device, then opens its inbox (B4): what is read of both holds for this connection. */
async function openInbox(delivery: Delivery, connection: Connection): Promise<InboxState | undefined> {
  const { claims, directory, inbox } = delivery.flow.ports
  const { device } = connection
  const onWake = (row: Row) => wakePump(delivery, connection, row)
  connection.epoch = claims.claim(device, { onWake, onLost: (reason) => connection.wire.end(reason) })
  await claims.known(device, connection.epoch)
  if (!connection.isOpen) return undefined
  // Revoked between its token's check and the claim: the eviction found nobody.
  const isStale = connection.directoryVersion !== directory.version()
  if (isStale && (await directory.accountOfDevice(device)) === undefined) connection.wire.end('revoked')
  if (!connection.isOpen) return undefined
  const state = await inbox.open(device)
  if (connection.isOpen) {
    connection.isInboxOpen = true
    return state
  }
  // It ended meanwhile, and found nothing to close.
  inbox.close(device, 0)
  return undefined
}

/** Nobody asks when a thing was here. */
function tellGone(
  { gone }: PluginSettings,
  { device, principal, hasWill }: Connection,
  reason: DisconnectReason,
): void {
  if (reason === 'takeover' || principal.account.kind !== 'person') return
  // Who said goodbye has no will any more, and where the end is ours nobody's is due.
  gone(device, hasWill && reason !== 'client_disconnect' && reason !== 'shutting_down')
}

function newConnection(ports: Ports, principal: Principal, wire: Wire, hasWill: boolean): Connection {
  const device = principal.device.id
  return {
    wire,
    principal,
    hasWill,
    device,
    prefix: Buffer.from(ownPrefix(device)),
    inTopic: Buffer.from(inboxTopicOf(device)),
    filter: filterOf(principal),
    sinceMs: ports.now(),
    directoryVersion: ports.directory.version(),
    epoch: 0,
    inbox: undefined,
    isInboxOpen: false,
    isOpen: true,
    isSubscribed: false,
    out: undefined,
    isDirty: false,
    pump: undefined,
    sending: undefined,
    waiting: undefined,
  }
}

function publish(
  ingress: Ingress,
  connection: Connection,
  chunk: Buffer,
  start: number,
  topicAt: number,
  end: number,
): DisconnectReason | undefined {
  const flags = chunk[start] as number
  if ((flags & 1) !== 0) return 'retain'
  if ((flags & 4) !== 0) return (flags & 2) !== 0 ? 'malformed_packet' : 'qos2'
  const topicStart = topicAt + 2
  const topicEnd = topicStart + (((chunk[topicAt] as number) << 8) | (chunk[topicAt + 1] as number))
  const isQos1 = (flags & 2) !== 0
  const payloadAt = topicEnd + (isQos1 ? 2 : 0)
  if (topicAt + 2 > end || payloadAt > end) return 'malformed_packet'
  if (!isQos1 && (flags & 8) !== 0) return 'malformed_packet'
  const route = authorizePublish(connection, chunk, topicStart, topicEnd)
  if (route === undefined) return judgeTopic(chunk, topicStart, topicEnd)
  if (isQos1 === (route === 'now')) return 'bad_qos'
  // Typing and presence have no plugin yet: authorised, then forgotten, as QoS 0 may be.
  if (route === 'now') return undefined
  const packetId = ((chunk[topicEnd] as number) << 8) | (chunk[topicEnd + 1] as number)
  const bytes = end - start
  if (connection.sending?.isStopped === true) return undefined
  if (packetId === 0 || !enter(ingress, connection, packetId, bytes)) return 'bad_packet_id'
  const sending = sendingOf(connection)
  // Behind a PUBLISH that waits for the directory it waits for its turn.
  const isRaw = route === 'raw'
  const from = isRaw ? topicStart : payloadAt
  if (sending.isResolving || sending.held.length > 0) {
    const take = () => takePublish(ingress, connection, packetId, bytes, chunk, isRaw, from, end)
    sending.held.push({ packetId, bytes, take })
    return undefined
  }
  const reason = takePublish(ingress, connection, packetId, bytes, chunk, isRaw, from, end)
  if (reason !== undefined) giveUp(ingress, connection, packetId, bytes)
  return reason
}

/** `from`: where the topic begins when it is raw, else the payload. */
function takePublish(
  ingress: Ingress,
  connection: Connection,
  packetId: number,
  bytes: number,
  source: Buffer,
  isRaw: boolean,
  from: number,
  end: number,
): DisconnectReason | undefined {
  if (isRaw) return onRaw(ingress, connection, packetId, bytes, source, from, end)
  return onRequest({ ingress, connection, packetId, bytes, source, start: from, end }) ? undefined : 'malformed_payload'
}
