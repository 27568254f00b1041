/**
 * A sender and a recipient that live through kills of the server, and everything that was said between them. The
 * sender does what an SDK does: a window of PUBLISHes without PUBACK, and after a kill the same ones again, oldest
 * first, under the same numbers. Every arrival and every mark is compared with what was known before.
 */
import { randomBytes } from 'node:crypto'
import type { Packet } from 'mqtt-packet'
import { decodeDelivery, encodeSendRequest } from '../../topics/codec.ts'
import { RETRY_LATER } from '../../topics/errors.ts'
import { connect } from '../suites/broker.ts'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'

/** raw: `raw/<to>`, at least once. numbered: `raw/<to>/<n>`. request: SendRequest between persons. */
export type Path = 'raw' | 'numbered' | 'request'

export interface Lane {
  readonly path: Path
  readonly from: TestDevice
  readonly to: TestDevice
  /** The recipient is away while there is load. */
  readonly isAway: boolean
  sender: Client | undefined
  recipient: Client | undefined
  isLoading: boolean
  sent: number
  /** By message: PUBACK came, or `accepted` in its place. */
  readonly acked: boolean[]
  ackedCount: number
  /** Refused until later: sent again, oldest first, under the same stamp. */
  readonly refused: Set<number>
  retry: NodeJS.Timeout | undefined
  /** By message: seq as it was seen first, in a delivery or an `accepted`; 0 on the raw paths. */
  readonly seqs: (number | undefined)[]
  /** Messages that `accepted` was said of. */
  readonly accepted: Set<number>
  deliveredSeq: number
  /** Messages that arrived: 0 to arrived-1, or something is misordered. */
  arrived: number
  repeats: number
  /** What must not be, one sentence each. */
  readonly faults: string[]
}

const WINDOW = 20
/** What an absent recipient finds after one round, at most. */
const WAITING_MAX = 400
const BODY_BYTES = 250
const SETTLE_MS_MAX = 15_000
/** Longer than a refusal holds (RETRY_IN_S). */
const RETRY_MS = 5_200
/** Stamps are unix ms, always above the last one: message i of a lane has this one plus i. */
const STAMP_BASE = Date.now()

export function createLane(path: Path, from: TestDevice, to: TestDevice, isAway: boolean): Lane {
  return {
    path,
    from,
    to,
    isAway,
    sender: undefined,
    recipient: undefined,
    isLoading: false,
    sent: 0,
    acked: [],
    ackedCount: 0,
    refused: new Set(),
    retry: undefined,
    seqs: [],
    accepted: new Set(),
    deliveredSeq: 0,
    arrived: 0,
    repeats: 0,
    faults: [],
  }
}

// ---------------------------------------------------------------- sending

/** Connects the sender, which sends again what it has no PUBACK for. */
export async function connectSender(lane: Lane, port: number): Promise<void> {
  const isFirst = lane.sender === undefined
  const sender = await connect({ port }, lane.from)
  lane.sender = sender
  if (isFirst && lane.path === 'request') await sender.subscribe(`d/${lane.from.id}/in`)
  follow(sender, (packet) => {
    if (packet.cmd === 'puback') onPuback(lane, packet.messageId as number)
    else if (packet.cmd === 'publish') onMarks(lane, packet.payload as Buffer)
  })
  lane.refused.clear()
  for (let i = 0; i < lane.sent; i++) if (lane.acked[i] !== true) post(lane, i, true)
}

/** Load until `isLoading` is false. What gathers for a recipient that is away is bounded. */
export function startLoad(lane: Lane): void {
  lane.isLoading = true
  fill(lane)
}

function fill(lane: Lane): void {
  const sentMax = lane.isAway ? lane.arrived + WAITING_MAX : Number.POSITIVE_INFINITY
  // What comes later must not pass what was refused.
  if (lane.refused.size > 0) return
  while (lane.isLoading && lane.sent - lane.ackedCount < WINDOW && lane.sent < sentMax) post(lane, lane.sent++, false)
}

function post(lane: Lane, i: number, dup: boolean): void {
  const { from, to, path } = lane
  const options = { messageId: (i % 65_535) + 1, dup }
  if (path === 'raw') lane.sender?.post(`d/${from.id}/raw/d-${to.id}`, String(i), options)
  else if (path === 'numbered') lane.sender?.post(`d/${from.id}/raw/d-${to.id}/${i + 1}`, String(i), options)
  else lane.sender?.post(`d/${from.id}/out`, requestOf(lane, i), options)
}

/** The same bytes at every resend: the body's filling depends on the number alone. */
function requestOf({ to }: Lane, i: number): Uint8Array {
  const whisper = Buffer.alloc(BODY_BYTES, i)
  whisper.writeUInt32BE(i)
  const devices = [{ whisper, device: to.number, registrationId: to.registrationId }]
  return encodeSendRequest({ stamp: STAMP_BASE + i, pair: { peer: to.user, devices } })
}

function onPuback(lane: Lane, messageId: number): void {
  let i = messageId - 1
  while (i + 65_535 < lane.sent) i += 65_535
  if (!lane.refused.has(i)) return onAnswer(lane, i)
  lane.retry ??= setTimeout(sendAgain, RETRY_MS, lane).unref()
}

function sendAgain(lane: Lane): void {
  lane.retry = undefined
  const again = [...lane.refused].sort((a, b) => a - b)
  lane.refused.clear()
  for (const i of again) post(lane, i, true)
  fill(lane)
}

function onAnswer(lane: Lane, i: number): void {
  if (lane.acked[i] !== true) lane.ackedCount++
  lane.acked[i] = true
  fill(lane)
}

function onMarks(lane: Lane, payload: Buffer): void {
  const delivery = decodeDelivery(payload)
  if (delivery.fault) return void lane.faults.push(`${lane.path}: not a Delivery`)
  if (delivery.error?.retry === RETRY_LATER) lane.refused.add(delivery.error.stamp - STAMP_BASE)
  else if (delivery.error !== undefined) lane.faults.push(`${lane.path}: error ${delivery.error.code}`)
  for (const { accepted, delivered } of delivery.receipts?.items ?? []) {
    if (delivered !== 0 && delivered < lane.deliveredSeq) lane.faults.push(`delivered fell to ${delivered}`)
    lane.deliveredSeq = Math.max(lane.deliveredSeq, delivered)
    for (let at = 0; at + 1 < accepted.length; at += 2) {
      const i = (accepted[at] as number) - STAMP_BASE
      lane.accepted.add(i)
      // Acknowledging it ends the record: a stamp that is accepted is not sent again, PUBACK or not (WIRE rule 2).
      onAnswer(lane, i)
      noteSeq(lane, i, accepted[at + 1] as number)
    }
  }
}

/** One stamp has one seq, and a later stamp a higher one. */
function noteSeq(lane: Lane, i: number, seq: number): void {
  const known = lane.seqs[i]
  if (known !== undefined && known !== seq) lane.faults.push(`stamp ${i} under seq ${known} and seq ${seq}`)
  if (known !== undefined) return
  lane.seqs[i] = seq
  const [before, after] = [lane.seqs[i - 1], lane.seqs[i + 1]]
  if (before !== undefined && before >= seq)
    lane.faults.push(`seq ${seq} of stamp ${i} is not above that of the one before`)
  if (after !== undefined && after <= seq)
    lane.faults.push(`seq ${seq} of stamp ${i} is not below that of the one behind`)
}

// ---------------------------------------------------------------- receiving

/** Connects the recipient, which acknowledges everything at once. */
export async function connectRecipient(lane: Lane, port: number): Promise<void> {
  const isFirst = lane.recipient === undefined
  const recipient = await connect({ port }, lane.to)
  lane.recipient = recipient
  const filter = lane.path === 'request' ? `d/${lane.to.id}/in` : `d/${lane.to.id}/from/#`
  if (isFirst) await recipient.subscribe(filter)
  else if (recipient.connack?.sessionPresent !== true) lane.faults.push(`the session of ${lane.to.id} is gone`)
  follow(recipient, (packet) => {
    if (packet.cmd === 'publish' && packet.qos === 1) onArrival(lane, packet.payload as Buffer, packet.dup)
  })
}

function onArrival(lane: Lane, payload: Buffer, dup: boolean): void {
  let i = Number(String(payload))
  if (lane.path === 'request') {
    const delivery = decodeDelivery(payload)
    if (delivery.fault || delivery.whisper === undefined) return void lane.faults.push('not a message')
    i = Buffer.from(delivery.whisper).readUInt32BE()
    noteSeq(lane, i, delivery.seq)
  }
  if (i === lane.arrived) lane.arrived++
  else if (i > lane.arrived) lane.faults.push(`${lane.path}: message ${i} arrived when ${lane.arrived} was due`)
  else {
    lane.repeats++
    // Without <n> the sender's own resend is a second message.
    if (!dup && lane.path !== 'raw') lane.faults.push(`${lane.path}: message ${i} arrived again without DUP`)
  }
}

// ---------------------------------------------------------------- waiting

/** Hands over every packet, those that came before included. */
function follow(client: Client, take: (packet: Packet) => void): void {
  let at = 0
  const isOver = (): boolean => {
    while (at < client.packets.length) take(client.packets[at++] as Packet)
    return client.isClosed
  }
  client.until(isOver, 'the end of the connection', 600_000).catch(() => undefined)
}

/** Resolves when all that was sent is acknowledged, there, and marked so; rejects with what is missing. */
export async function settled(lane: Lane): Promise<void> {
  const { sender, recipient } = lane
  if (sender === undefined || recipient === undefined) throw new Error('a lane that is not connected')
  const isMarked = () => {
    const last = lane.seqs[lane.sent - 1]
    return (
      lane.path !== 'request' || (lane.accepted.size === lane.sent && last !== undefined && lane.deliveredSeq >= last)
    )
  }
  const state = () =>
    `${lane.path}: ${lane.sent} sent, ${lane.ackedCount} acknowledged, ${lane.arrived} arrived, ` +
    `${lane.accepted.size} accepted, delivered up to ${lane.deliveredSeq} of ${lane.seqs[lane.sent - 1]}`
  try {
    await sender.until(() => lane.ackedCount === lane.sent, 'all PUBACKs', SETTLE_MS_MAX)
    await recipient.until(() => lane.arrived === lane.sent, 'all messages', SETTLE_MS_MAX)
    await sender.until(isMarked, 'all marks', SETTLE_MS_MAX)
  } catch (error) {
    throw new Error(`${(error as Error).message}: ${state()}`)
  }
}

/** Random bytes of a ciphertext's size. */
export function ciphertext(): Uint8Array {
  return randomBytes(BODY_BYTES)
}
