/**
 * Topics as text: built from the rows of the table, parsed back, and matched against filters as MQTT 3.1.1 section
 * 4.7 says. Texts are canonical: a topic that this file would not build is not parsed.
 */
import type { ErrorCode } from './errors.ts'
import { base32, isDeviceId, isHandle, parseBase32 } from './ids.ts'
import { limits } from './limits.ts'
import { patternOf, type TopicName, topicTable } from './table.ts'

export type DeviceKind = 'person' | 'thing' | 'service'

/** The topic of a row with its levels filled in. Throws RangeError when a level has no value or is not one level. */
export function topicOf(name: TopicName, levels: Readonly<Record<string, string>>): string {
  return patternOf(name).replace(/<(\w+)(\.\.\.)?>/g, (_, level: string, rest: string | undefined) => {
    const value = levels[level]
    if (value === undefined || !isValidTopic(value)) throw new RangeError(`topic ${name} needs a level ${level}`)
    if (rest === undefined && value.includes('/')) throw new RangeError(`level ${level} of topic ${name} has a slash`)
    return value
  })
}

/** The one filter that a device may subscribe to for its inbox. */
export function inboxFilterOf(device: string, kind: DeviceKind): string {
  return kind === 'person' ? inboxTopicOf(device) : inDevice(FROM_ALL, device)
}

/** Patterns that every CONNECT fills in, cut where the device id goes once and for all. */
const IN = patternOf('in').split('<device>')
const OUT_PREFIX = patternOf('out').slice(0, -'out'.length).split('<device>')
const FROM_ALL = patternOf('from').replace('<sender>/<conversation>', '#').split('<device>')

function inDevice(pattern: readonly string[], device: string): string {
  if (!isDeviceId(device)) throw new RangeError(`${device} is no device id`)
  return pattern.join(device)
}

/** Inbox topic of a person's device. */
export function inboxTopicOf(device: string): string {
  return inDevice(IN, device)
}

/**
 * Topic of raw bytes for a thing or service; `sender` and `conversation` are levels as `rawLevel` writes them, or
 * `direct`.
 */
export function fromTopic(device: string, sender: string, conversation: string, seq?: number): string {
  if (seq === undefined) return topicOf('from', { device, sender, conversation })
  return topicOf('fromNumbered', { device, sender, conversation, seq: String(seq) })
}

/** Topic of the line that tells a thing or service what was refused. */
export function errorTopic(device: string, code: ErrorCode): string {
  return topicOf('fromError', { device, code })
}

/** A recipient `<to>` of raw bytes. The owner's service account is `home`. */
export type RawTo =
  | { readonly kind: 'home' }
  | { readonly kind: 'handle'; readonly handle: string }
  | { readonly kind: 'device'; readonly device: string }
  | { readonly kind: 'user'; readonly user: Uint8Array }
  | { readonly kind: 'group'; readonly group: Uint8Array }

/** Reads a `<to>`; undefined when it is none. */
export function rawTo(text: string): RawTo | undefined {
  if (text === 'home') return { kind: 'home' }
  const rest = text.slice(1)
  if (text[0] === '@') return isHandle(rest) ? { kind: 'handle', handle: rest } : undefined
  if (text[1] !== '-') return undefined
  const name = text.slice(2)
  if (text[0] === 'd') return isDeviceId(name) ? { kind: 'device', device: name } : undefined
  const id = text[0] === 'u' || text[0] === 'g' ? parseBase32(name) : undefined
  if (id === undefined) return undefined
  return text[0] === 'u' ? { kind: 'user', user: id } : { kind: 'group', group: id }
}

/** Inverse of `rawTo`: one level of a topic, as recipient, sender or conversation. */
export function rawLevel(recipient: RawTo): string {
  switch (recipient.kind) {
    case 'home':
      return 'home'
    case 'handle':
      return `@${recipient.handle}`
    case 'device':
      return `d-${recipient.device}`
    case 'user':
      return `u-${base32(recipient.user)}`
    case 'group':
      return `g-${base32(recipient.group)}`
  }
}

/** First levels of the rows that only observers receive. */
const OPERATOR_PREFIXES = topicTable
  .filter(({ who }) => who.every((role) => role === 'observer'))
  .map(({ pattern }) => pattern.slice(0, pattern.indexOf('<')))

const DECIMAL = /^[1-9][0-9]{0,15}$/

/** Reads an `<n>`: a decimal of 1 to 2^53 - 1 without zeros in front; undefined for anything else. */
export function rawNumber(text: string): number | undefined {
  if (!DECIMAL.test(text)) return undefined
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : undefined
}

/** What a device publishes to. `to` and `n` are texts as they stand, for `rawTo` and `rawNumber` to judge. */
export type UpTopic =
  | { readonly name: 'out' | 'now' | 'gone' }
  | { readonly name: 'raw'; readonly to: string; readonly n: string | undefined }

/** Prefix of everything that is a device's own: only these topics are up to it. */
export function ownPrefix(device: string): string {
  return inDevice(OUT_PREFIX, device)
}

/** Reads a topic that `device` publishes to; undefined when it is not one of its own. */
export function parseUpTopic(topic: string, device: string): UpTopic | undefined {
  const prefix = ownPrefix(device)
  if (!topic.startsWith(prefix)) return undefined
  const levels = topic.slice(prefix.length).split('/')
  const [name, to, n] = levels
  if (name === 'out' || name === 'now' || name === 'gone') return levels.length === 1 ? { name } : undefined
  if (name !== 'raw' || to === undefined || levels.length > 3 || levels.includes('')) return undefined
  return { name: 'raw', to, n }
}

/**
 * May this be the topic of a PUBLISH (4.7.3)? At least one character, no wildcard, no NUL, no half of a surrogate
 * pair, and within the limits on bytes and levels.
 */
export function isValidTopic(topic: string): boolean {
  return isWithinLimits(topic) && !topic.includes('+') && !topic.includes('#')
}

/** May this be a topic filter (4.7.1)? `#` is the last level and alone in it, `+` is alone in its level. */
export function isValidFilter(filter: string): boolean {
  if (!isWithinLimits(filter)) return false
  const levels = filter.split('/')
  return levels.every((level, i) => {
    if (level === '#') return i === levels.length - 1
    return level === '+' || (!level.includes('+') && !level.includes('#'))
  })
}

function isWithinLimits(text: string): boolean {
  if (text === '' || text.length > limits.topicBytesMax || text.includes('\0') || !text.isWellFormed()) return false
  if (Buffer.byteLength(text) > limits.topicBytesMax) return false
  let levels = 1
  for (let at = text.indexOf('/'); at >= 0; at = text.indexOf('/', at + 1)) levels += 1
  return levels <= limits.topicLevelsMax
}

/**
 * Does a valid filter match a valid topic? `#` takes any number of levels, its parent included; `+` exactly one; a
 * filter that begins with a wildcard takes no topic that begins with `$` (4.7.2). False for a filter or topic that is
 * not valid.
 */
export function matches(filter: string, topic: string): boolean {
  if (!isValidFilter(filter) || !isValidTopic(topic)) return false
  if (topic[0] === '$' && (filter[0] === '+' || filter[0] === '#')) return false
  const wanted = filter.split('/')
  const levels = topic.split('/')
  for (let i = 0; i < wanted.length; i += 1) {
    if (wanted[i] === '#') return levels.length >= i
    if (i >= levels.length || (wanted[i] !== '+' && wanted[i] !== levels[i])) return false
  }
  return wanted.length === levels.length
}

/** Is it one of the topics that only operators read? */
export function isOperatorTopic(topic: string): boolean {
  return OPERATOR_PREFIXES.some((prefix) => topic.startsWith(prefix))
}

const SHARED_PREFIX = `${patternOf('opsNode').split('/')[0]}/`
/** Operators' topics that all nodes of a cluster share; `$SYS` is each node's own. */
export const SHARED_FILTER = `${SHARED_PREFIX}#`
export const isSharedTopic = (topic: string): boolean => topic.startsWith(SHARED_PREFIX)
