/**
 * Who may use which topic: the connection's own prefix and what the rows of the topic table say (default deny). The
 * levels that devices publish to are spelled here again, as bytes, since every PUBLISH is compared. Asked at publish,
 * subscribe (restored sessions too), forward, and for wills.
 */
import type { Principal } from '../core/ports.ts'
import { readText } from '../topics/frames.ts'
import { topicTable } from '../topics/table.ts'
import { inboxFilterOf, isValidFilter, isValidTopic, matches, topicOf } from '../topics/topic.ts'
import type { Connection } from './connection.ts'

export type UpRoute = 'out' | 'raw' | 'now' | undefined

const OUT = Buffer.from('out')
const NOW = Buffer.from('now')
const RAW = Buffer.from('raw/')

function equalsAt(source: Uint8Array, at: number, wanted: Uint8Array): boolean {
  for (let i = 0; i < wanted.length; i++) if (source[at + i] !== wanted[i]) return false
  return true
}

/**
 * Where a PUBLISH to `source[start..end)` goes; undefined: a foreign topic, or one that is not for this kind of
 * device.
 */
export function authorizePublish(connection: Connection, source: Uint8Array, start: number, end: number): UpRoute {
  const { prefix } = connection
  const at = start + prefix.length
  if (end <= at || !equalsAt(source, start, prefix)) return undefined
  const isPerson = connection.principal.account.kind === 'person'
  if (end - at === OUT.length) {
    if (isPerson && equalsAt(source, at, OUT)) return 'out'
    return isPerson && equalsAt(source, at, NOW) ? 'now' : undefined
  }
  return !isPerson && end - at > RAW.length && equalsAt(source, at, RAW) ? 'raw' : undefined
}

/** Why a PUBLISH to a topic that leads nowhere ends the connection: its text, its form, or whose it is. */
export function judgeTopic(source: Uint8Array, start: number, end: number): 'bad_utf8' | 'bad_topic' | 'foreign_topic' {
  const topic = readText(source.subarray(start, end))
  if (topic === undefined) return 'bad_utf8'
  return isValidTopic(topic) ? 'foreign_topic' : 'bad_topic'
}

/** The only subscription of a device is its inbox, with QoS 1. */
export function authorizeSubscribe(connection: Connection, filter: string, qos: number): boolean {
  return filter === connection.filter && qos > 0
}

/** Filters that an observer's subscription is made of: everything that operators may see, and no more. */
const OBSERVED = topicTable
  .filter((row) => row.who.includes('observer'))
  .map((row) => row.pattern.replace(/<\w+\.\.\.>/, '#').replace(/<\w+>/g, '+'))

/** An observer may ask for anything well-formed: `authorizeForward` decides what it sees of it. */
export function authorizeObserver(filter: string): boolean {
  return isValidFilter(filter) && !filter.startsWith('$share/') && !filter.startsWith('$queue/')
}

/** May this topic reach an observer? Asked for every packet that aedes forwards, retained ones too. */
export function authorizeForward(topic: string): boolean {
  return OBSERVED.some((filter) => matches(filter, topic))
}

/** The only will of a device: its own `gone`, QoS 1, not retained. */
export function authorizeWill(device: string, topic: string, qos: number, retain: boolean): boolean {
  return qos === 1 && !retain && topic === topicOf('gone', { device })
}

export function filterOf(principal: Principal): string {
  return inboxFilterOf(principal.device.id, principal.account.kind)
}
