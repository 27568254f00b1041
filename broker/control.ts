/** Control packets of a connection: everything that is neither PUBLISH nor PUBACK. */
import {
  bodyAt,
  CONNECT,
  DISCONNECT,
  PINGREQ,
  PUBACK,
  PUBLISH,
  parseFilters,
  SUBSCRIBE,
  UNSUBSCRIBE,
} from '../topics/frames.ts'
import { limits } from '../topics/limits.ts'
import { isValidFilter } from '../topics/topic.ts'
import { end, type Guard, type Guards } from './guarded.ts'

/** Everything that is neither PUBLISH nor PUBACK: rare, checked strictly, then aedes' business. */
export function control(guards: Guards, guard: Guard, first: number, frame: Buffer): void {
  guards.metrics.controlsIn++
  const now = guards.now()
  if (now - guard.controlSinceMs > 10_000) {
    guard.controlSinceMs = now
    guard.controlCount = 0
  }
  if (++guard.controlCount > limits.controlPacketsPer10SMax) return end(guards, guard, 'flood')
  const type = first >> 4
  if (type === CONNECT) return end(guards, guard, 'second_connect')
  if (type === SUBSCRIBE || type === UNSUBSCRIBE) return onFilters(guards, guard, type, first, frame)
  const isEmpty = frame.length === 2 && (first & 15) === 0
  if (type === PINGREQ && isEmpty) return guard.client?.take({ cmd: 'pingreq' })
  if (type === DISCONNECT && isEmpty) {
    guard.reason ??= 'client_disconnect'
    guard.client?.take({ cmd: 'disconnect' })
    return end(guards, guard, 'client_disconnect')
  }
  // An observer's PUBACK for retained packets that were sent with QoS 0 does not exist; it publishes nothing either.
  if (type === PUBLISH) return end(guards, guard, 'foreign_topic')
  if (type === PUBACK && guard.connection === undefined && frame.length === 4) return
  end(guards, guard, 'malformed_packet')
}

function onFilters(guards: Guards, guard: Guard, type: number, first: number, frame: Buffer): void {
  const filters = (first & 15) === 2 ? parseFilters(frame, type === SUBSCRIBE) : 'malformed_packet'
  if (typeof filters === 'string') return end(guards, guard, filters)
  if (filters.length > limits.filtersPerSubscribeMax || !filters.every(({ topic }) => isValidFilter(topic))) {
    return end(guards, guard, 'bad_subscribe')
  }
  const messageId = frame.readUInt16BE(bodyAt(frame))
  if (type === UNSUBSCRIBE) {
    guard.client?.take({ cmd: 'unsubscribe', messageId, unsubscriptions: filters.map(({ topic }) => topic) })
    return
  }
  // QoS 2 is granted as 1 (B1): aedes answers with what it is asked for.
  const subscriptions = filters.map(({ topic, qos }) => ({ topic, qos: Math.min(qos, 1) }))
  guard.client?.take({ cmd: 'subscribe', messageId, subscriptions })
}
