/** The readers of SendRequest, Now, Delivery and Content: bounded by their bytes, and of one opinion with protobufjs. */
import { isDeepStrictEqual } from 'node:util'
import {
  type DeviceBody,
  decodeContent,
  decodeDelivery,
  decodeNow,
  decodeSendRequest,
  type SendRequest,
  unpad,
} from '../../../topics/codec.ts'
import { type MessageType, oracleView, type View, viewOf, viewOfRequest } from '../../wire/oracle.ts'
import { check, type Target } from '../target.ts'

/** Bytes in front of and behind the input, as a frame has them: no reader may look there. */
const AROUND = 8
/** protobufjs is slow: it is asked about one accepted input of so many. */
const ASK_ONCE_IN = 64

function checkBodies(bodies: readonly DeviceBody[], start: number, end: number): void {
  for (const body of bodies) checkRange(body.start, body.end, start, end)
}

function checkRange(from: number, to: number, start: number, end: number): void {
  if (from === 0 && to === 0) return
  check(from >= start && from <= to && to <= end, `a range ${from}..${to} leaves ${start}..${end}`)
}

function checkRanges({ pair, group, raw, groupChange }: SendRequest, start: number, end: number): void {
  if (pair !== undefined) {
    checkBodies(pair.devices, start, end)
    checkBodies(pair.own, start, end)
    checkRange(pair.peerAt, pair.peerAt + 16, start, end)
  }
  if (group !== undefined) {
    checkBodies(group.devices, start, end)
    checkRange(group.start, group.end, start, end)
  }
  if (raw !== undefined) checkRange(raw.start, raw.end, start, end)
  if (groupChange === undefined) return
  checkRange(groupChange.start, groupChange.end, start, end)
  checkRange(groupChange.signatureStart, groupChange.signatureEnd, start, end)
}

function compare(type: MessageType, bytes: Uint8Array, ours: View): void {
  let theirs: View
  try {
    theirs = oracleView(type, bytes)
  } catch (error) {
    throw new Error(`${type} was taken, but protobufjs says: ${(error as Error).message}`)
  }
  check(isDeepStrictEqual(ours, theirs), `${type} is read differently: ${JSON.stringify([ours, theirs])}`)
}

export const codec: Target = {
  name: 'codec',
  run(input, random) {
    const bytes = Buffer.alloc(input.length + 2 * AROUND, 0x08)
    bytes.set(input, AROUND)
    const end = AROUND + input.length
    const request = decodeSendRequest(bytes, AROUND, end)
    if (!request.fault) {
      checkRanges(request, AROUND, end)
      if (random.once(ASK_ONCE_IN)) compare('SendRequest', input, viewOfRequest(bytes, request))
    } else check(Number.isSafeInteger(request.stamp) && request.stamp >= 0, `the stamp is ${request.stamp}`)
    const now = decodeNow(bytes, AROUND, end)
    if (!now.fault && random.once(ASK_ONCE_IN)) compare('Now', input, viewOf(now))
    decodeDelivery(input)
    decodeContent(input)
    const content = unpad(input)
    check(content === undefined || content.length < input.length, 'a padding of no byte was taken')
  },
}
