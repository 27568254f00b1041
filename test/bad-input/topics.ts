/** Hostile filters and topics, and raw recipients that are none (reliability rows: topic level). */
import type { ErrorCode } from '../../topics/errors.ts'
import { limits } from '../../topics/limits.ts'
import { publishBytes, subscribeBytes } from './bytes.ts'
import { type Attack, CANARY, type Cast, inboxFilter, type Login } from './scene.ts'

type Text = (cast: Cast) => string

function denied(as: Login, filter: string | Text, qos = 1): Attack {
  const of = typeof filter === 'string' ? () => filter : filter
  const name =
    typeof filter === 'string'
      ? filter
      : String(filter)
          .replace(/^.*=> /, '')
          .replaceAll(/[`']|\$\{|\}/g, '')
  return {
    as,
    name: `a SUBSCRIBE of ${name}${qos === 1 ? '' : ` with QoS ${qos}`} by a ${as}`,
    bytes: (cast) => subscribeBytes([of(cast)], qos),
    answer: { suback: [0x80] },
    counted: 'not_allowed',
  }
}

const EVERYBODYS: readonly string[] = [
  '#',
  '+',
  '+/+',
  '+/#',
  '+/x',
  '/#',
  'd/#',
  'd/+/in',
  'd/+/from/#',
  'u/#',
  'u/+/presence',
  'ops/#',
  'ops/node/+',
  '$SYS/#',
  '$SYS/broker/uptime',
  '$SYS/broker/clients/connected',
  '$share/g/#',
  '$share/g/d/victim/from/#',
  '$queue/#',
  '$queue/d/bob/in',
]
const OTHERS: readonly string[] = [
  'd/victim/from/#',
  'd/victim/from/+/direct',
  'd/victim/raw/+',
  'd/victim/gone',
  'd/bob/in',
  'd/bob/out',
  'd/bob/live',
]

export const deniedFilters: readonly Attack[] = [
  ...[...EVERYBODYS, ...OTHERS].flatMap((filter) => [denied('thing', filter), denied('person', filter)]),
  denied('thing', ({ me }) => `d/${me.id}/#`),
  denied('thing', ({ me }) => `d/${me.id}/in`),
  denied('thing', ({ me }) => `d/${me.id}/from/+/+`),
  denied('thing', ({ me }) => `d/${me.id}/from/+/#`),
  denied('thing', ({ me }) => `d/${me.id}/from`),
  denied('thing', ({ me }) => `d/${me.id}/from/`),
  denied('thing', ({ me }) => `d/${me.id}//from/#`),
  denied('thing', ({ me }) => `/d/${me.id}/from/#`),
  denied('thing', ({ me }) => `D/${me.id}/from/#`),
  denied('thing', ({ me }) => `d/${me.id}/FROM/#`),
  denied('thing', ({ me }) => `d/${me.id.toUpperCase()}/from/#`),
  denied('thing', ({ me }) => `d%2F${me.id}/from/#`),
  denied('thing', ({ me }) => `d/${me.id} /from/#`),
  denied('thing', ({ me }) => `ԁ/${me.id}/from/#`),
  denied('thing', ({ me }) => `d/${me.id}/frоm/#`),
  denied('thing', ({ me }) => inboxFilter(me), 0),
  denied('person', ({ me }) => `d/${me.id}/in`, 0),
  denied('person', ({ me }) => `d/${me.id}/in/`),
  denied('person', ({ me }) => `d/${me.id}/from/#`),
  denied('person', ({ me }) => `d/${me.id}/+`),
  denied('person', ({ me }) => `d/${me.id}/live`),
  denied('observer', '$share/g/#'),
  denied('observer', '$queue/ops/#'),
  {
    as: 'thing',
    name: 'a SUBSCRIBE of the own inbox and of everything in one packet',
    bytes: ({ me }) => subscribeBytes([inboxFilter(me), '#']),
    answer: { suback: [1, 0x80] },
    counted: 'not_allowed',
  },
  {
    as: 'person',
    name: "a SUBSCRIBE of another's inbox in front of the own",
    bytes: ({ me, bob }) => subscribeBytes([`d/${bob.id}/in`, inboxFilter(me)]),
    answer: { suback: [0x80, 1] },
    counted: 'not_allowed',
  },
]

function closed(counted: 'foreign_topic' | 'bad_topic', topic: Text, as: Login = 'thing'): Attack {
  const name = String(topic)
    .replace(/^.*=> /, '')
    .replaceAll(/[`']|\$\{|\}/g, '')
  return {
    as,
    name: `a PUBLISH to ${name} by a ${as}`,
    bytes: (cast) => publishBytes(topic(cast), CANARY),
    answer: 'close',
    counted,
  }
}

export const foreignTopics: readonly Attack[] = [
  closed('foreign_topic', () => 'd/victim/from/d-mallory/direct'),
  closed('foreign_topic', () => 'd/victim/raw/home'),
  closed('foreign_topic', () => 'd/bob/in'),
  closed('foreign_topic', () => 'd/bob/out'),
  closed('foreign_topic', () => 'd/bob/in', 'person'),
  closed('foreign_topic', () => 'd/bob/out', 'person'),
  closed('foreign_topic', () => 'd/bob/live', 'person'),
  closed('foreign_topic', () => '$SYS/broker/uptime'),
  closed('foreign_topic', () => '$SYS/x/new/clients'),
  closed('foreign_topic', () => '$SYS/sub/add'),
  closed('foreign_topic', () => '$share/g/d/victim/raw/home'),
  closed('foreign_topic', () => 'ops/node/one'),
  closed('foreign_topic', () => 'u/bob/presence', 'person'),
  closed('foreign_topic', () => '/'),
  closed('foreign_topic', () => 'd'),
  closed('foreign_topic', ({ me }) => `d/${me.id}`),
  closed('foreign_topic', ({ me }) => `d/${me.id}/`),
  closed('foreign_topic', ({ me }) => `d/${me.id}x/raw/home`),
  closed('foreign_topic', ({ me }) => `D/${me.id}/raw/home`),
  closed('foreign_topic', ({ me }) => `d/${me.id.toUpperCase()}/raw/home`),
  closed('foreign_topic', ({ me }) => `/d/${me.id}/raw/home`),
  closed('foreign_topic', ({ me }) => `d/${me.id}/from/d-victim/direct`),
  closed('foreign_topic', ({ me }) => `d/${me.id}/gone`),
  closed('foreign_topic', ({ me }) => `d/${me.id}/out`),
  closed('foreign_topic', ({ me }) => `d/${me.id}/now`),
  closed('foreign_topic', ({ me }) => `d/${me.id}/raw`),
  closed('foreign_topic', ({ me }) => `d/${me.id}/raw/`),
  closed('foreign_topic', ({ me }) => `d/${me.id}/raw//1`),
  closed('foreign_topic', ({ me }) => `d/${me.id}/raw/d-victim/`),
  closed('foreign_topic', ({ me }) => `d/${me.id}/raw/d-victim/1/`),
  closed('foreign_topic', ({ me }) => `d/${me.id}/raw/d-victim/1/2`),
  closed('foreign_topic', ({ me }) => `d/${me.id}/raw/d-victim`, 'person'),
  closed('foreign_topic', ({ me }) => `d/${me.id}/in`, 'person'),
  closed('foreign_topic', ({ me }) => `d/${me.id}/out/`, 'person'),
  closed('foreign_topic', ({ me }) => `d/${me.id}/live`, 'person'),
]

const levels = (count: number): string => 'x/'.repeat(count).slice(0, -1)

export const badTopics: readonly Attack[] = [
  closed('bad_topic', () => ''),
  closed('bad_topic', () => '#'),
  closed('bad_topic', () => '+/victim/raw/home'),
  closed('bad_topic', () => 'd/+/raw/home'),
  closed('bad_topic', ({ me }) => `d/${me.id}/raw/#`),
  closed('bad_topic', ({ me }) => `d/${me.id}/raw/+`),
  closed('bad_topic', ({ me }) => `d/${me.id}/raw/d-vic+im`),
  closed('bad_topic', ({ me }) => `d/${me.id}/raw/d-victim/+`),
  closed('bad_topic', ({ me }) => `d/${me.id}/+`, 'person'),
  closed('bad_topic', () => levels(101)),
  closed('bad_topic', () => levels(limits.topicLevelsMax + 1)),
  closed('bad_topic', ({ me }) => `d/${me.id}/raw/${levels(limits.topicLevelsMax)}`),
  closed('bad_topic', () => 'x'.repeat(limits.topicBytesMax + 1)),
  closed('bad_topic', ({ me }) => `d/${me.id}/raw/d-victim/`.padEnd(limits.topicBytesMax + 1, '1')),
  closed('bad_topic', ({ me }) => `d/${me.id}/raw/`.padEnd(limits.topicBytesMax + 1, 'x')),
  closed('bad_topic', () => 'x'.repeat(65_000)),
]

function refused(error: ErrorCode, rest: string, payload: string | Uint8Array = CANARY): Attack {
  return {
    as: 'thing',
    name: `raw bytes to ${rest}`.slice(0, 60),
    bytes: ({ me }) => publishBytes(`d/${me.id}/raw/${rest}`, payload),
    answer: { error },
    counted: error,
  }
}

export const badRecipients: readonly Attack[] = [
  ...[
    'x',
    'Home',
    'home ',
    '@',
    '@ab',
    '@Others',
    '@1st',
    'd-',
    'd-UPPER',
    'd-thirteenchars',
    'u-',
    'u-short',
    'e-victim',
    '-',
  ].map((to) => refused('recipient_invalid', to)),
  refused('recipient_invalid', `u-${'b'.repeat(26)}`),
  refused('recipient_invalid', `u-${'a'.repeat(27)}`),
  refused('recipient_invalid', `@${'a'.repeat(limits.handleCharsMax + 1)}`),
  ...['0', '01', '-1', '+1', '1.5', '1e3', '0x1', ' 1', '9007199254740992', '99999999999999999', 'one']
    .filter((n) => !n.includes('+'))
    .map((n) => refused('number_invalid', `d-victim/${n}`)),
  refused('unknown_recipient', 'd-ghost'),
  refused('unknown_recipient', '@ghost'),
  refused('unknown_recipient', `@${'a'.repeat(limits.handleCharsMax)}`),
  refused('unknown_recipient', `u-${'a'.repeat(26)}`),
  refused('unsupported', `g-${'a'.repeat(26)}`),
  refused('not_allowed', 'd-stranger'),
  refused('not_allowed', '@others'),
  refused('not_allowed', 'd-bob'),
  refused('too_large', 'd-victim', Buffer.alloc(limits.rawBytesMax + 1, CANARY)),
]
