/**
 * The fleet of persons: SendRequest up, Delivery and Receipts down. The protobuf is encoded here, once per pair.
 */
import { randomBytes } from 'node:crypto'
import { encodeSendRequest } from '../../topics/codec.ts'
import { parseUuid } from '../../topics/ids.ts'
import { type Account, type Fleet, loginOf, type Member, type PairPlan, requireAccounts, type Shape } from './fleet.ts'
import { publishTemplate } from './frames.ts'
import { STAMP_BYTES, writeStamp } from './message.ts'

/** A 100-character text as libsignal makes it (WIRE.md, sizes). */
export const BODY_BYTES = 250

/** Persons: SendRequest up `d/<a>/out`, Delivery down `d/<b>/in`; a sender has its own inbox for the receipts. */
export function personFleet(shape: Shape, accounts: readonly Account[]): Fleet {
  const sending = accounts.slice(0, shape.pairs)
  const receiving = accounts.slice(shape.pairs, shape.pairs + shape.recipients)
  requireAccounts(shape, accounts)
  const member = (account: Account): Member => ({ login: loginOf(account), filter: `d/${account.device}/in` })
  return {
    path: 'send-request',
    senders: sending.map(member),
    recipients: receiving.map(member),
    pairs: sending.map((account, i) => {
      const to = i % shape.recipients
      return requestPair(to, `d/${account.device}/out`, receiving[to] as Account)
    }),
  }
}

/** Encodes one SendRequest with random bytes as body and finds in it the places that change from message to message. */
function requestPair(recipient: number, topic: string, to: Account): PairPlan {
  const body = randomBytes(BODY_BYTES)
  const stamp = Date.now()
  const peer = parseUuid(to.user)
  if (peer === undefined) throw new Error(`the user id of ${to.device} is not a UUID: ${to.user}`)
  const device = { whisper: body, device: to.number, registrationId: to.registrationId }
  const payload = encodeSendRequest({ stamp, pair: { peer, devices: [device] } })
  const stampVarint = Buffer.alloc(STAMP_BYTES)
  writeStamp(stampVarint, 0, stamp)
  const { frame, packetIdAt, payloadAt } = publishTemplate(topic, payload)
  const markAt = frame.indexOf(body, payloadAt)
  const stampAt = frame.indexOf(stampVarint, payloadAt)
  if (markAt < 0 || stampAt < 0 || stampAt > markAt)
    throw new Error('a SendRequest no longer holds stamp and body as expected')
  return { recipient, frame, packetIdAt, markAt, stampAt }
}
