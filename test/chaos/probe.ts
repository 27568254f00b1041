/**
 * Probes: between two persons of a known shard, requests at a pace that is never sent again. They tell how long after a
 * fault the first message that was sent since then is there, over a connection of the recipient that lived through it. What
 * was acknowledged must arrive, once, in order, and at nobody else.
 */
import { decodeDelivery, encodeSendRequest } from '../../topics/codec.ts'
import { RETRY_LATER } from '../../topics/errors.ts'
import { follow, open } from '../flows/kill-lane.ts'
import type { Client } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import type { BrokerProcess } from './deployment.ts'

interface Post {
  readonly stamp: number
  readonly postedMs: number
  /** Refused: it may not arrive any more, or it was stored before the answer was lost. */
  state: 'open' | 'acknowledged' | 'refused'
  seq: number | undefined
  hasArrived: boolean
}

export interface Probe {
  readonly shard: number
  readonly from: TestDevice
  readonly to: TestDevice
  readonly senderAt: BrokerProcess
  readonly recipientAt: BrokerProcess
  sender: Client | undefined
  recipient: Client | undefined
  isConnecting: boolean
  readonly posts: Post[]
  /** By stamp: the number of the post. */
  readonly numbers: Map<number, number>
  ackedCount: number
  /** Numbers that arrived are below. */
  arrived: number
  /** Numbers below were judged. */
  judged: number
  /** Posts since then are fresh. */
  sinceMs: number
  freshMs: number | undefined
  readonly counts: { lost: number; misordered: number; misdelivered: number; shownTwice: number }
  readonly faults: string[]
}

const UNANSWERED_MAX = 50

export function createProbe(
  shard: number,
  pair: { from: TestDevice; to: TestDevice; senderAt: BrokerProcess; recipientAt: BrokerProcess },
): Probe {
  return {
    shard,
    ...pair,
    sender: undefined,
    recipient: undefined,
    isConnecting: false,
    posts: [],
    numbers: new Map(),
    ackedCount: 0,
    arrived: 0,
    judged: 0,
    sinceMs: 0,
    freshMs: undefined,
    counts: { lost: 0, misordered: 0, misdelivered: 0, shownTwice: 0 },
    faults: [],
  }
}

function fault(probe: Probe, kind: keyof Probe['counts'], text: string): void {
  probe.counts[kind]++
  probe.faults.push(`probe of shard ${probe.shard}: ${text}`)
}

/** Connects what is not, the recipient first. Rejects when a broker does not let it in: again a little later. */
export async function connectProbe(probe: Probe): Promise<void> {
  if (probe.recipient?.isClosed !== false) {
    const isFirst = probe.recipient === undefined
    const client = await open(probe.recipientAt.port, probe.to)
    probe.recipient = client
    if (isFirst) await client.subscribe(`d/${probe.to.id}/in`)
    else if (client.connack?.sessionPresent !== true) fault(probe, 'lost', `the session of ${probe.to.id} is gone`)
    follow(client, (packet) => {
      if (packet.cmd === 'publish' && packet.qos === 1) onArrival(probe, packet.payload as Buffer, packet.dup)
    })
  }
  if (probe.sender?.isClosed !== false) {
    const isFirst = probe.sender === undefined
    const client = await open(probe.senderAt.port, probe.from)
    if (isFirst) await client.subscribe(`d/${probe.from.id}/in`)
    probe.sender = client
    const refused = new Set<number>()
    follow(client, (packet) => {
      if (packet.cmd === 'puback') onPuback(probe, refused, packet.messageId as number)
      else if (packet.cmd === 'publish') onAnswer(probe, refused, packet.payload as Buffer, client)
    })
  }
}

export function post(probe: Probe): void {
  const { sender, posts } = probe
  if (sender === undefined || sender.isClosed) return
  // One that gets no answers does not fill up what holds it.
  if (posts.length > UNANSWERED_MAX && posts.slice(-UNANSWERED_MAX).every(({ state }) => state === 'open')) return
  const number = posts.length
  const stamp = Math.max(Date.now(), (posts.at(-1)?.stamp ?? 0) + 1)
  const whisper = Buffer.from(`${number} ${probe.to.id} ${'.'.repeat(100)}`)
  const { number: device, registrationId, user } = probe.to
  posts.push({ stamp, postedMs: performance.now(), state: 'open', seq: undefined, hasArrived: false })
  probe.numbers.set(stamp, number)
  const bytes = encodeSendRequest({ stamp, pair: { peer: user, devices: [{ whisper, device, registrationId }] } })
  sender.post(`d/${probe.from.id}/out`, bytes, { messageId: (number % 65_535) + 1 })
}

function acknowledge(probe: Probe, number: number): void {
  const each = probe.posts[number]
  if (each === undefined || each.state === 'acknowledged') return
  each.state = 'acknowledged'
  probe.ackedCount++
}

function onPuback(probe: Probe, refused: Set<number>, messageId: number): void {
  let number = messageId - 1
  while (number + 65_535 < probe.posts.length) number += 65_535
  if (!refused.delete(number)) acknowledge(probe, number)
}

function onAnswer(probe: Probe, refused: Set<number>, payload: Buffer, client: Client): void {
  const delivery = decodeDelivery(payload)
  if (delivery.fault) return fault(probe, 'misdelivered', 'not a Delivery')
  if (delivery.error !== undefined) {
    const number = probe.numbers.get(delivery.error.stamp)
    const each = number === undefined ? undefined : probe.posts[number]
    if (number === undefined || each === undefined) return
    refused.add(number)
    if (each.state === 'open') each.state = 'refused'
    if (delivery.error.retry !== RETRY_LATER) fault(probe, 'lost', `error ${delivery.error.code}`)
    // A conversation is refused for some seconds after "later" (WIRE rule 8), on this connection.
    client.destroy()
  }
  for (const { accepted } of delivery.receipts?.items ?? []) {
    for (let at = 0; at + 1 < accepted.length; at += 2) {
      const number = probe.numbers.get(accepted[at] as number)
      if (number === undefined) continue
      acknowledge(probe, number)
      noteSeq(probe, number, accepted[at + 1] as number)
    }
  }
}

function noteSeq(probe: Probe, number: number, seq: number): void {
  const each = probe.posts[number]
  if (each === undefined) return
  if (each.seq !== undefined && each.seq !== seq) {
    fault(probe, 'shownTwice', `post ${number} under seq ${each.seq} and seq ${seq}`)
  }
  each.seq = seq
}

function onArrival(probe: Probe, payload: Buffer, dup: boolean): void {
  const delivery = decodeDelivery(payload)
  if (delivery.fault || delivery.whisper === undefined) return fault(probe, 'misdelivered', 'not a message')
  const [text, name] = Buffer.from(delivery.whisper).toString('latin1').split(' ', 2)
  if (name !== probe.to.id) return fault(probe, 'misdelivered', `a message to ${name} at ${probe.to.id}`)
  const number = Number(text)
  const each = probe.posts[number]
  if (each === undefined) return fault(probe, 'misdelivered', `post ${number} was not sent`)
  noteSeq(probe, number, delivery.seq)
  if (number < probe.arrived) {
    if (!each.hasArrived) fault(probe, 'misordered', `post ${number} arrived when ${probe.arrived} was due`)
    else if (!dup) fault(probe, 'shownTwice', `post ${number} arrived again without DUP`)
  }
  each.hasArrived = true
  probe.arrived = Math.max(probe.arrived, number + 1)
  if (each.postedMs >= probe.sinceMs) probe.freshMs ??= performance.now()
}

/** From now on `freshMs` waits for a post that is made after this. */
export function mark(probe: Probe): void {
  probe.sinceMs = performance.now()
  probe.freshMs = undefined
}

/** Posts that were acknowledged and are not there, of those that were not judged. */
export function missingOf({ posts, judged }: Probe): number {
  return posts.slice(judged).filter(({ state, hasArrived }) => state === 'acknowledged' && !hasArrived).length
}

/** What is missing now is lost. */
export function judge(probe: Probe): void {
  const lost = missingOf(probe)
  if (lost > 0) {
    probe.counts.lost += lost
    probe.faults.push(`probe of shard ${probe.shard}: ${lost} posts were acknowledged and did not arrive`)
  }
  probe.judged = probe.posts.length
}
