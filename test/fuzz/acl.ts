/**
 * Who may do what, said once more in regular expressions, and asked at random: nothing that the plugins allow may be
 * outside of it. Devices are called `me`; everybody else is called something like it.
 */
import {
  authorizeForward,
  authorizeObserver,
  authorizePublish,
  authorizeSubscribe,
  authorizeWill,
} from '../../plugins/authorize.ts'
import type { Connection } from '../../plugins/connection.ts'
import { isValidFilter, isValidTopic } from '../../topics/topic.ts'
import { isFilterByStandard, matchesByStandard } from './matcher.ts'
import type { Random } from './random.ts'

export type ClientKind = 'person' | 'thing' | 'service' | 'observer'
type DeviceKind = Exclude<ClientKind, 'observer'>

/** What the rules look at in a connection of device `me`. */
export function deviceOf(kind: DeviceKind): Connection {
  const filter = kind === 'person' ? 'd/me/in' : 'd/me/from/#'
  const known = { device: 'me', prefix: Buffer.from('d/me/'), filter, principal: { account: { kind } } }
  return known as unknown as Connection
}

const DEVICES: { readonly [kind in DeviceKind]: Connection } = {
  person: deviceOf('person'),
  thing: deviceOf('thing'),
  service: deviceOf('service'),
}

/** Topics that reach a client of this kind. */
const READS: { readonly [kind in ClientKind]: RegExp } = {
  person: /^d\/me\/in$/s,
  thing: /^d\/me\/from(\/.*)?$/s,
  service: /^d\/me\/from(\/.*)?$/s,
  observer: /^(ops\/(node|store|queue)\/[^/]*|\$SYS\/broker(\/.*)?)$/s,
}
/** Topics that it may publish to; what stands behind `raw/` is judged by the raw plugin. */
const WRITES: { readonly [kind in DeviceKind]: RegExp } = {
  person: /^d\/me\/(out|now)$/s,
  thing: /^d\/me\/raw\/.+$/s,
  service: /^d\/me\/raw\/.+$/s,
}

const ROOTS = ['d', 'd', 'd', 'd', 'D', 'ԁ', 'u', 'ops', '$SYS', '$share', '$queue', '', '+', '#', 'd%2F', '$']
const NAMES = [
  'me',
  'me',
  'me',
  'you',
  'Me',
  'ME',
  'me ',
  'm',
  'mee',
  '',
  '+',
  '#',
  'node',
  'broker',
  'g',
  'мe',
  '..',
  'me\0',
]
const REST = [
  'in',
  'out',
  'now',
  'live',
  'gone',
  'from',
  'raw',
  'from',
  'raw',
  '+',
  '#',
  '',
  'IN',
  'presence',
  'uptime',
]
const ENDS = ['d-you', 'direct', '#', '+', '', 'home', 'one', '1', 'from', 'me', 'd', 'in', '/']

/** A filter or topic that is nearly right, or right. */
function randomTopic(random: Random): string {
  const levels = [random.pick(ROOTS), random.pick(NAMES)]
  if (!random.once(8)) levels.push(random.pick(REST))
  while (random.once(2) && levels.length < 20) levels.push(random.pick(ENDS))
  if (random.once(16)) levels.unshift(random.pick(ROOTS))
  return levels.join('/')
}

/** Undefined when the plugins allow nothing that they should not; else what leaked. */
export function leakIn(random: Random): string | undefined {
  const kind = random.pick<ClientKind>(['person', 'thing', 'service', 'observer'])
  const filter = randomTopic(random)
  const topic = randomTopic(random)
  if (kind === 'observer') return leakToObserver(filter, topic)
  const connection = DEVICES[kind]
  const qos = random.int(3)
  const bytes = Buffer.from(topic)
  if (authorizePublish(connection, bytes, 0, bytes.length) !== undefined && !WRITES[kind].test(topic)) {
    return `a ${kind} publishes to ${topic}`
  }
  if (authorizeWill('me', topic, qos, random.once(2)) && !(topic === 'd/me/gone' && qos === 1))
    return `a will for ${topic}`
  if (!authorizeSubscribe(connection, filter, qos)) return undefined
  if (qos === 0) return `a ${kind} subscribes ${filter} with QoS 0`
  return matchesByStandard(filter, topic) && !READS[kind].test(topic)
    ? `a ${kind} reads ${topic} by ${filter}`
    : undefined
}

function leakToObserver(filter: string, topic: string): string | undefined {
  const isForwarded = authorizeObserver(filter) && matchesByStandard(filter, topic) && authorizeForward(topic)
  return isForwarded && !READS.observer.test(topic) ? `an observer reads ${topic} by ${filter}` : undefined
}

/** The other way round: what is to be allowed is, or nothing leaks because nothing works. */
export function assertAllowed(assert: (holds: boolean, what: string) => void): void {
  for (const kind of ['person', 'thing', 'service'] as const) {
    const connection = DEVICES[kind]
    for (const topic of kind === 'person' ? ['d/me/out', 'd/me/now'] : ['d/me/raw/home', 'd/me/raw/d-you/1']) {
      const bytes = Buffer.from(topic)
      assert(authorizePublish(connection, bytes, 0, bytes.length) !== undefined, `a ${kind} publishes to ${topic}`)
    }
    assert(authorizeSubscribe(connection, connection.filter, 1), `a ${kind} subscribes ${connection.filter}`)
    assert(isValidFilter(connection.filter) && isFilterByStandard(connection.filter), connection.filter)
  }
  for (const topic of ['ops/node/one', 'ops/store/sqlite', 'ops/queue/intake', '$SYS/broker/clients/connected']) {
    assert(isValidTopic(topic) && authorizeForward(topic), `an observer reads ${topic}`)
  }
  assert(authorizeWill('me', 'd/me/gone', 1, false), 'a will for d/me/gone')
}
