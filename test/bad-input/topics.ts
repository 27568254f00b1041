/** Hostile filters and topics, and raw recipients that are none (reliability rows: topic level). */
import type { ErrorCode } from '../../topics/errors.ts'
import { limits } from '../../topics/limits.ts'
import { publishBytes, subscribeBytes } from './bytes.ts'
import { type Attack, CANARY, type Cast, inboxFilter, type Login } from './scene.ts'

/** `<me>` stands for the attacker's device, `<ME>` for it in capitals. */
function written(text: string, { me }: Cast): string {
  return text.replaceAll('<me>', me.id).replaceAll('<ME>', me.id.toUpperCase())
}

function denied(as: Login, filter: string, qos = 1): Attack {
  return {
    as,
    name: `a SUBSCRIBE of ${filter}${qos === 1 ? '' : ` with QoS ${qos}`} by a ${as}`,
    bytes: (cast) => subscribeBytes([written(filter, cast)], qos),
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
  denied('thing', 'd/<me>/#'),
  denied('thing', 'd/<me>/in'),
  denied('thing', 'd/<me>/from/+/+'),
  denied('thing', 'd/<me>/from/+/#'),
  denied('thing', 'd/<me>/from'),
  denied('thing', 'd/<me>/from/'),
  denied('thing', 'd/<me>//from/#'),
  denied('thing', '/d/<me>/from/#'),
  denied('thing', 'D/<me>/from/#'),
  denied('thing', 'd/<me>/FROM/#'),
  denied('thing', 'd/<ME>/from/#'),
  denied('thing', 'd%2F<me>/from/#'),
  denied('thing', 'd/<me> /from/#'),
  denied('thing', 'ԁ/<me>/from/#'),
  denied('thing', 'd/<me>/frоm/#'),
  denied('thing', 'd/<me>/from/#', 0),
  denied('person', 'd/<me>/in', 0),
  denied('person', 'd/<me>/in/'),
  denied('person', 'd/<me>/from/#'),
  denied('person', 'd/<me>/+'),
  denied('person', 'd/<me>/live'),
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

function closed(counted: 'foreign_topic' | 'bad_topic', topic: string, as: Login = 'thing'): Attack {
  return {
    as,
    name: `a PUBLISH to ${nameOf(topic)} by a ${as}`,
    bytes: (cast) => publishBytes(written(topic, cast), CANARY),
    answer: 'close',
    counted,
  }
}

/** Long ones by their size. */
function nameOf(topic: string): string {
  if (topic.length <= 40) return topic === '' ? 'no topic' : topic
  return `a topic of ${topic.length} characters and ${topic.split('/').length} levels`
}

export const foreignTopics: readonly Attack[] = [
  closed('foreign_topic', 'd/victim/from/d-mallory/direct'),
  closed('foreign_topic', 'd/victim/raw/home'),
  closed('foreign_topic', 'd/bob/in'),
  closed('foreign_topic', 'd/bob/out'),
  closed('foreign_topic', 'd/bob/in', 'person'),
  closed('foreign_topic', 'd/bob/out', 'person'),
  closed('foreign_topic', 'd/bob/live', 'person'),
  closed('foreign_topic', '$SYS/broker/uptime'),
  closed('foreign_topic', '$SYS/x/new/clients'),
  closed('foreign_topic', '$SYS/sub/add'),
  closed('foreign_topic', '$share/g/d/victim/raw/home'),
  closed('foreign_topic', 'ops/node/one'),
  closed('foreign_topic', 'u/bob/presence', 'person'),
  closed('foreign_topic', '/'),
  closed('foreign_topic', 'd'),
  closed('foreign_topic', 'd/<me>'),
  closed('foreign_topic', 'd/<me>/'),
  closed('foreign_topic', 'd/<me>x/raw/home'),
  closed('foreign_topic', 'D/<me>/raw/home'),
  closed('foreign_topic', 'd/<ME>/raw/home'),
  closed('foreign_topic', '/d/<me>/raw/home'),
  closed('foreign_topic', 'd/<me>/from/d-victim/direct'),
  closed('foreign_topic', 'd/<me>/gone'),
  closed('foreign_topic', 'd/<me>/out'),
  closed('foreign_topic', 'd/<me>/now'),
  closed('foreign_topic', 'd/<me>/raw'),
  closed('foreign_topic', 'd/<me>/raw/'),
  closed('foreign_topic', 'd/<me>/raw//1'),
  closed('foreign_topic', 'd/<me>/raw/d-victim/'),
  closed('foreign_topic', 'd/<me>/raw/d-victim/1/'),
  closed('foreign_topic', 'd/<me>/raw/d-victim/1/2'),
  closed('foreign_topic', 'd/<me>/raw/d-victim', 'person'),
  closed('foreign_topic', 'd/<me>/in', 'person'),
  closed('foreign_topic', 'd/<me>/out/', 'person'),
  closed('foreign_topic', 'd/<me>/live', 'person'),
]

const levels = (count: number): string => 'x/'.repeat(count).slice(0, -1)

export const badTopics: readonly Attack[] = [
  closed('bad_topic', ''),
  closed('bad_topic', '#'),
  closed('bad_topic', '+/victim/raw/home'),
  closed('bad_topic', 'd/+/raw/home'),
  closed('bad_topic', 'd/<me>/raw/#'),
  closed('bad_topic', 'd/<me>/raw/+'),
  closed('bad_topic', 'd/<me>/raw/d-vic+im'),
  closed('bad_topic', 'd/<me>/raw/d-victim/+'),
  closed('bad_topic', 'd/<me>/+', 'person'),
  closed('bad_topic', levels(101)),
  closed('bad_topic', levels(limits.topicLevelsMax + 1)),
  closed('bad_topic', `d/<me>/raw/${levels(limits.topicLevelsMax)}`),
  closed('bad_topic', 'x'.repeat(limits.topicBytesMax + 1)),
  closed('bad_topic', 'd/<me>/raw/d-victim/'.padEnd(limits.topicBytesMax + 1, '1')),
  closed('bad_topic', 'd/<me>/raw/'.padEnd(limits.topicBytesMax + 1, 'x')),
  closed('bad_topic', 'x'.repeat(65_000)),
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
  ...['0', '01', '-1', '1.5', '1e3', '0x1', ' 1', '9007199254740992', '99999999999999999', 'one'].map((n) =>
    refused('number_invalid', `d-victim/${n}`),
  ),
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
