/**
 * The topic table: the contract. One row per topic: who says what to whom, how surely, how much, and which plugin
 * answers for it. Topics are built from it (topic.ts), and documents, observers' rights and tests read it. Only
 * `parseUpTopic` and plugins/authorize.ts spell levels again, those that devices publish to. `<name>` is one level,
 * `<name...>` any number of levels from one on.
 */
import { limits } from './limits.ts'

/** Who is on a connection. An observer is an operator's login and has no device. */
export type Role = 'person' | 'thing' | 'service' | 'observer'
/**
 * up: a device publishes; down: a device or observer receives; will: the broker publishes for a device that went
 * silent.
 */
export type Direction = 'up' | 'down' | 'will'

export interface TopicRow {
  readonly name: string
  readonly pattern: string
  readonly direction: Direction
  readonly qos: 0 | 1
  /** Up: PUBACK means stored. Down: it waits in the inbox of the device until PUBACK. */
  readonly durable: boolean
  readonly retained: boolean
  /** A message of wire.proto, 'bytes' or 'json'. */
  readonly payload: 'SendRequest' | 'Delivery' | 'Now' | 'bytes' | 'json'
  readonly bytesMax: number
  /** Up and will: who publishes. Down: who receives. */
  readonly who: readonly Role[]
  /** The plugin that owns it, a file of plugins/ once it is built; 'broker' for what the process says of itself. */
  readonly plugin: string
  readonly about: string
}

const PERSONS: readonly Role[] = ['person']
const RAW: readonly Role[] = ['thing', 'service']
const DEVICES: readonly Role[] = ['person', 'thing', 'service']
const OBSERVERS: readonly Role[] = ['observer']

const rows = {
  out: {
    pattern: 'd/<device>/out',
    direction: 'up',
    qos: 1,
    durable: true,
    retained: false,
    payload: 'SendRequest',
    bytesMax: limits.envelopeBytesMax,
    who: PERSONS,
    plugin: 'ingress',
    about: 'Messages, read marks, group and sync requests.',
  },
  in: {
    pattern: 'd/<device>/in',
    direction: 'down',
    qos: 1,
    durable: true,
    retained: false,
    payload: 'Delivery',
    bytesMax: limits.envelopeBytesMax,
    who: PERSONS,
    plugin: 'delivery',
    about: 'Messages, receipts and notices; most errors and the caught-up marker with QoS 0 and no row.',
  },
  now: {
    pattern: 'd/<device>/now',
    direction: 'up',
    qos: 0,
    durable: false,
    retained: false,
    payload: 'Now',
    bytesMax: limits.nowBytesMax,
    who: PERSONS,
    plugin: 'presence',
    about: 'Typing, presence watch, call candidates: authorise, locate, forward, forget.',
  },
  live: {
    pattern: 'd/<device>/live',
    direction: 'down',
    qos: 0,
    durable: false,
    retained: false,
    payload: 'Now',
    bytesMax: limits.nowBytesMax,
    who: PERSONS,
    plugin: 'presence',
    about: 'The same, forwarded to a device that is connected.',
  },
  gone: {
    pattern: 'd/<device>/gone',
    direction: 'will',
    qos: 1,
    durable: false,
    retained: false,
    payload: 'bytes',
    bytesMax: limits.willBytesMax,
    who: DEVICES,
    plugin: 'presence',
    about: 'The last will of a device: a hint for presence, never the truth.',
  },
  raw: {
    pattern: 'd/<device>/raw/<to>',
    direction: 'up',
    qos: 1,
    durable: true,
    retained: false,
    payload: 'bytes',
    bytesMax: limits.rawBytesMax,
    who: RAW,
    plugin: 'raw',
    about: 'Raw bytes to a recipient, at least once; a resend may arrive twice.',
  },
  rawNumbered: {
    pattern: 'd/<device>/raw/<to>/<n>',
    direction: 'up',
    qos: 1,
    durable: true,
    retained: false,
    payload: 'bytes',
    bytesMax: limits.rawBytesMax,
    who: RAW,
    plugin: 'raw',
    about: 'The same with a rising number: not above the last one is acknowledged and not stored.',
  },
  from: {
    pattern: 'd/<device>/from/<sender>/<conversation>',
    direction: 'down',
    qos: 1,
    durable: true,
    retained: false,
    payload: 'bytes',
    bytesMax: limits.rawBytesMax,
    who: RAW,
    plugin: 'delivery',
    about: 'Raw bytes from the inbox. To answer, send to the sender, or to the group that the conversation is.',
  },
  fromNumbered: {
    pattern: 'd/<device>/from/<sender>/<conversation>/<seq>',
    direction: 'down',
    qos: 1,
    durable: true,
    retained: false,
    payload: 'bytes',
    bytesMax: limits.rawBytesMax,
    who: RAW,
    plugin: 'delivery',
    about: 'The same for a thing provisioned as numbered: it can drop repeats and see the order.',
  },
  fromError: {
    pattern: 'd/<device>/from/error/<code>',
    direction: 'down',
    qos: 0,
    durable: false,
    retained: false,
    payload: 'json',
    bytesMax: limits.operatorBytesMax,
    who: RAW,
    plugin: 'raw',
    about: 'One line of JSON for what was refused: to, n, text.',
  },
  presence: {
    pattern: 'u/<user>/presence',
    direction: 'down',
    qos: 0,
    durable: false,
    retained: true,
    payload: 'json',
    bytesMax: limits.operatorBytesMax,
    who: PERSONS,
    plugin: 'presence',
    about: 'Presence of a user, only for those the user lets see it.',
  },
  opsNode: {
    pattern: 'ops/node/<node>',
    direction: 'down',
    qos: 0,
    durable: false,
    retained: true,
    payload: 'json',
    bytesMax: limits.operatorBytesMax,
    who: OBSERVERS,
    plugin: 'broker',
    about: 'State of a node: version, uptime, connections, rates, counters by reason.',
  },
  opsStore: {
    pattern: 'ops/store/<store>',
    direction: 'down',
    qos: 0,
    durable: false,
    retained: true,
    payload: 'json',
    bytesMax: limits.operatorBytesMax,
    who: OBSERVERS,
    plugin: 'broker',
    about: 'State of a store: rows, free space, last commit, what its promise rests on.',
  },
  opsQueue: {
    pattern: 'ops/queue/<queue>',
    direction: 'down',
    qos: 0,
    durable: false,
    retained: true,
    payload: 'json',
    bytesMax: limits.operatorBytesMax,
    who: OBSERVERS,
    plugin: 'broker',
    about: 'State of a queue: length, bound, oldest entry.',
  },
  sys: {
    pattern: '$SYS/broker/<name...>',
    direction: 'down',
    qos: 0,
    durable: false,
    retained: true,
    payload: 'json',
    bytesMax: limits.operatorBytesMax,
    who: OBSERVERS,
    plugin: 'broker',
    about: 'Counters under the names of Mosquitto, so that its dashboards work: one number or one line of text.',
  },
} as const satisfies Record<string, Omit<TopicRow, 'name'>>

export type TopicName = keyof typeof rows

/** The rows in the order of the reference. */
export const topicTable: readonly TopicRow[] = Object.entries(rows).map(([name, row]) => ({ name, ...row }))

export function topicRow(name: TopicName): TopicRow {
  return { name, ...rows[name] }
}

/** The pattern of a row, to be filled in. */
export function patternOf(name: TopicName): string {
  return rows[name].pattern
}
