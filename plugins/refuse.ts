/**
 * How a refusal is told (A4): QoS 0 on the device's inbox topic, on the same connection, in front of the PUBACK; no
 * row. Persons get `Delivery.error`; things get one JSON line on `from/error/<code>`.
 */

import type { DeviceListFault } from '../core/device-list.ts'
import { encodeDelivery } from '../topics/codec.ts'
import { type ErrorCode, errorOf, RETRY_LATER } from '../topics/errors.ts'
import { publishQos0 } from '../topics/frames.ts'
import { errorTopic } from '../topics/topic.ts'
import type { Connection } from './connection.ts'
import { writeFrame } from './outbound.ts'

/** Requests to the same conversation are refused for so long after RETRY_LATER (WIRE rule 8). */
export const RETRY_IN_S = 5

export interface Refusal {
  readonly code: ErrorCode
  /** Which limit, for people. Only things see it: the wire's Error has no text. */
  readonly text: string
  readonly stamp: number
  readonly lastStamp: number
  readonly devices: DeviceListFault | undefined
  /** The lists in `devices` are the sender's own devices. */
  readonly own: boolean
  /** Of a thing: `<to>` and `<n>` as they were written. */
  readonly to: string
  readonly n: string
}

export function refusal(code: ErrorCode, stamp: number, text = ''): Refusal {
  return { code, text, stamp, lastStamp: 0, devices: undefined, own: false, to: '', n: '' }
}

/** Temporary refusals of things are not answered: no PUBACK, hold, then close (A4). */
export function isTemporary(code: ErrorCode): boolean {
  return errorOf(code).retry === RETRY_LATER
}

export function writeRefusal(connection: Connection, refused: Refusal): void {
  if (connection.principal.account.kind === 'person') writeFrame(connection, personFrame(connection, refused))
  else writeFrame(connection, thingFrame(connection, refused))
}

function personFrame(connection: Connection, refused: Refusal): Uint8Array {
  const { number, retry } = errorOf(refused.code)
  const { devices } = refused
  const payload = encodeDelivery({
    error: {
      stamp: refused.stamp,
      code: number,
      retry,
      retryInS: retry === RETRY_LATER ? RETRY_IN_S : 0,
      missing: devices?.missing ?? [],
      extra: devices?.extra ?? [],
      stale: devices?.stale ?? [],
      own: refused.own,
      lastStamp: refused.lastStamp,
    },
  })
  return publishQos0(connection.inTopic, payload)
}

function thingFrame(connection: Connection, refused: Refusal): Uint8Array {
  const line = { to: refused.to, n: refused.n, text: refused.text || errorOf(refused.code).about }
  return publishQos0(Buffer.from(errorTopic(connection.device, refused.code)), Buffer.from(`${JSON.stringify(line)}\n`))
}
