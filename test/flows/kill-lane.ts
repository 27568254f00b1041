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

export interface FaultCounts {
  misordered: number
  /** Arrived at another device. */
  misdelivered: number
  /** One stamp under two seqs, or again without DUP. */
  shownTwice: number
}

export interface Lane {
  readonly path: Path
  readonly from: TestDevice
  readonly to: TestDevice
  /** The recipient is away while there is load. */
  readonly isAway: boolean
  sender: Client | undefined
  recipient: Client | undefined
  isLoading: boolean
  /** Nothing is sent beyond, for load at a pace. */
  sentMax: number
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
  /** Messages that arrived: 0 to arrived-1, but for those that were passed over. */
  arrived: number
  /** Misordered when they come, lost when they do not. */
  readonly passedOver: Set<number>
  repeats: number
  readonly counts: FaultCounts
  /** What must not be, one sentence each. */
  readonly faults: string[]
}

const WINDOW = 20
/** What an absent recipient finds after one round, at most. */
const WAITING_MAX = 400
const BODY_BYTES = 250
const SETTLE_MS_MAX = 15_000
const FOLLOWED_MS_MAX = 86_400_000
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
    sentMax: Number.POSITIVE_INFINITY,
    sent: 0,
    acked: [],
    ackedCount: 0,
    refused: new Set(),
    retry: undefined,
    seqs: [],
    accepted: new Set(),
    deliveredSeq: 0,
    arrived: 0,
    passedOver: new Set(),
    repeats: 0,
    counts: { misordered: 0, misdelivered: 0, shownTwice: 0 },
    faults: [],
  }
}

function fault(lane: Lane, kind: keyof FaultCounts, text: string): void {
  lane.counts[kind]++
  lane.faults.push(text)
}

/** Rejects when the server does not let it in; nothing is left of the try then, which would take over from the next. */
export async function open(port: number, device: TestDevice): Promise<Client> {
  const client = await connect({ port }, device, { lazy: true })
  try {
    await client.until(({ connack, isClosed }) => connack !== undefined || isClosed, 'CONNACK or close')
    const code = client.connack?.returnCode
    if (code !== 0) throw new Error(`${device.id} was not let in: ${code ?? 'closed'}`)
    return client
  } catch (error) {
    client.destroy()
    throw error
  }
}

// ---------------------------------------------------------------- sending

/** Connects the sender, which sends again what it has no PUBACK for. */
export async function connectSender(lane: Lane, port: number): Promise<void> {
  const isFirst = lane.sender === undefined
  const sender = await open(port, lane.from)
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

/** So many more, as soon as the window has room. */
export function allow(lane: Lane, more: number): void {
  lane.sentMax = lane.sent + more
  fill(lane)
}

function fill(lane: Lane): void {
  const sentMax = lane.isAway ? Math.min(lane.sentMax, lane.arrived + WAITING_MAX) : lane.sentMax
  // What comes later must not pass what was refused.
  if (lane.refused.size > 0) return
  while (lane.isLoading && lane.sent - lane.ackedCount < WINDOW && lane.sent < sentMax) post(lane, lane.sent++, false)
}

function post(lane: Lane, i: number, dup: boolean): void {
  const { from, to, path } = lane
  const options = { messageId: (i % 65_535) + 1, dup }
  if (path === 'raw') lane.sender?.post(`d/${from.id}/raw/d-${to.id}`, `${i} ${to.id}`, options)
  else if (path === 'numbered') lane.sender?.post(`d/${from.id}/raw/d-${to.id}/${i + 1}`, `${i} ${to.id}`, options)
  else lane.sender?.post(`d/${from.id}/out`, requestOf(lane, i), options)
}

/** The same bytes at every resend: the body's filling depends on the number alone. */
function requestOf({ to }: Lane, i: number): Uint8Array {
  const whisper = Buffer.alloc(BODY_BYTES, i)
  whisper.write(`${i} ${to.id} `)
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
  if (known !== undefined && known !== seq) {
    fault(lane, 'shownTwice', `stamp ${i} under seq ${known} and seq ${seq}`)
  }
  if (known !== undefined) return
  lane.seqs[i] = seq
  const [before, after] = [lane.seqs[i - 1], lane.seqs[i + 1]]
  if (before !== undefined && before >= seq) {
    fault(lane, 'misordered', `seq ${seq} of stamp ${i} is not above that of the one before`)
  }
  if (after !== undefined && after <= seq) {
    fault(lane, 'misordered', `seq ${seq} of stamp ${i} is not below that of the one behind`)
  }
}

// ---------------------------------------------------------------- receiving

/** Connects the recipient, which acknowledges everything at once. */
export async function connectRecipient(lane: Lane, port: number): Promise<void> {
  const isFirst = lane.recipient === undefined
  const recipient = await open(port, lane.to)
  lane.recipient = recipient
  const filter = lane.path === 'request' ? `d/${lane.to.id}/in` : `d/${lane.to.id}/from/#`
  if (isFirst) await recipient.subscribe(filter)
  else if (recipient.connack?.sessionPresent !== true) lane.faults.push(`the session of ${lane.to.id} is gone`)
  follow(recipient, (packet) => {
    if (packet.cmd === 'publish' && packet.qos === 1) onArrival(lane, packet.payload as Buffer, packet.dup)
  })
}

/** What the recipient got. */
export function onArrival(lane: Lane, payload: Buffer, dup: boolean): void {
  let said = payload
  let seq: number | undefined
  if (lane.path === 'request') {
    const delivery = decodeDelivery(payload)
    if (delivery.fault || delivery.whisper === undefined) return void lane.faults.push('not a message')
    said = Buffer.from(delivery.whisper)
    seq = delivery.seq
  }
  const [number, name] = said.toString('latin1').split(' ', 2)
  if (name !== lane.to.id) return fault(lane, 'misdelivered', `${lane.path}: a message to ${name} at ${lane.to.id}`)
  const i = Number(number)
  if (seq !== undefined) noteSeq(lane, i, seq)
  if (i === lane.arrived) lane.arrived++
  else if (i > lane.arrived) {
    fault(lane, 'misordered', `${lane.path}: message ${i} arrived when ${lane.arrived} was due`)
    for (; lane.arrived < i; lane.arrived++) lane.passedOver.add(lane.arrived)
    lane.arrived++
  } else if (!lane.passedOver.delete(i)) {
    lane.repeats++
    // Without <n> the sender's own resend is a second message.
    if (!dup && lane.path !== 'raw') fault(lane, 'shownTwice', `${lane.path}: message ${i} arrived again without DUP`)
  }
}

// ---------------------------------------------------------------- waiting

/** Hands over every packet, those that came before included; they are not kept. */
export function follow(client: Client, take: (packet: Packet) => void): void {
  const isOver = (): boolean => {
    for (const packet of client.packets.splice(0)) take(packet)
    client.received.length = 0
    return client.isClosed
  }
  client.until(isOver, 'the end of the connection', FOLLOWED_MS_MAX).catch(() => undefined)
}

/** All that was sent is acknowledged, there, and marked so. */
export function isSettled(lane: Lane): boolean {
  if (lane.ackedCount < lane.sent || lane.arrived < lane.sent || lane.passedOver.size > 0) return false
  const last = lane.seqs[lane.sent - 1] ?? 0
  return lane.path !== 'request' || (lane.accepted.size === lane.sent && lane.deliveredSeq >= last)
}

/** Acknowledged, and not there. */
export function missing(lane: Lane): number {
  let count = 0
  for (let i = 0; i < lane.sent; i++) {
    if (lane.acked[i] === true && (i >= lane.arrived || lane.passedOver.has(i))) count++
  }
  return count
}

export function stateOf(lane: Lane): string {
  return (
    `${lane.path}: ${lane.sent} sent, ${lane.ackedCount} acknowledged, ${lane.arrived} arrived, ` +
    `${lane.accepted.size} accepted, delivered up to ${lane.deliveredSeq} of ${lane.seqs[lane.sent - 1]}`
  )
}

/** Resolves when the lane is settled; rejects with what is missing. */
export async function settled(lane: Lane): Promise<void> {
  const { sender, recipient } = lane
  if (sender === undefined || recipient === undefined) throw new Error('a lane that is not connected')
  try {
    await sender.until(() => lane.ackedCount === lane.sent, 'all PUBACKs', SETTLE_MS_MAX)
    await recipient.until(() => lane.arrived === lane.sent, 'all messages', SETTLE_MS_MAX)
    await sender.until(() => isSettled(lane), 'all marks', SETTLE_MS_MAX)
  } catch (error) {
    throw new Error(`${(error as Error).message}: ${stateOf(lane)}`)
  }
}

/** Random bytes of a ciphertext's size. */
export function ciphertext(): Uint8Array {
  return randomBytes(BODY_BYTES)
}
