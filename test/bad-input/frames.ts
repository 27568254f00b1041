/** Hostile packets after CONNECT (reliability rows: MQTT packet level). */
import { limits } from '../../topics/limits.ts'
import {
  connectBytes,
  join,
  length,
  type Part,
  packet,
  publishBytes,
  subscribeBytes,
  text,
  u16,
  unsubscribeBytes,
} from './bytes.ts'
import { badTexts } from './connects.ts'
import { type Attack, CANARY, inboxFilter, type Login } from './scene.ts'

function closed(counted: Attack['counted'], name: string, bytes: Attack['bytes'], as: Login = 'thing'): Attack {
  return { as, name, bytes, answer: 'close', counted }
}

const malformed = (name: string, ...bytes: readonly Part[]): Attack =>
  closed('malformed_packet', name, () => join(...bytes))

export const foreignTypes: readonly Attack[] = [
  closed('second_connect', 'a second CONNECT', ({ me }) =>
    connectBytes({ clientId: me.id, username: me.id, password: me.token }),
  ),
  closed('second_connect', 'a second CONNECT of somebody else', ({ victim }) =>
    connectBytes({ clientId: victim.id, username: victim.id, password: victim.token }),
  ),
  malformed('a packet of type 0', packet(0x00)),
  malformed('a CONNACK', packet(0x20, 0, 0)),
  malformed('a PUBREC', packet(0x50, u16(1))),
  malformed('a PUBREL', packet(0x62, u16(1))),
  malformed('a PUBCOMP', packet(0x70, u16(1))),
  malformed('a SUBACK', packet(0x90, u16(1), 0)),
  malformed('an UNSUBACK', packet(0xb0, u16(1))),
  malformed('a PINGRESP', packet(0xd0)),
  malformed('a packet of type 15', packet(0xf0)),
]

export const badFlags: readonly Attack[] = [
  closed('malformed_packet', 'a SUBSCRIBE with flags of 0', () => join(0x80, subscribeBytes(['a']).subarray(1))),
  closed('malformed_packet', 'a SUBSCRIBE with flags of 3', () => join(0x83, subscribeBytes(['a']).subarray(1))),
  closed('malformed_packet', 'an UNSUBSCRIBE with flags of 0', () => join(0xa0, unsubscribeBytes(['a']).subarray(1))),
  malformed('a PUBACK with a flag', packet(0x41, u16(1))),
  malformed('a PINGREQ with a flag', packet(0xc1)),
  malformed('a PINGREQ with a body', packet(0xc0, 0)),
  malformed('a DISCONNECT with a flag', packet(0xe1)),
  malformed('a DISCONNECT with a body', packet(0xe0, 0, 0)),
  closed('malformed_packet', 'a PUBLISH of QoS 3', ({ me }) =>
    publishBytes(`d/${me.id}/raw/d-victim`, CANARY, 1, 0x36),
  ),
  closed('malformed_packet', 'a PUBLISH of QoS 0 with DUP', ({ me }) =>
    publishBytes(`d/${me.id}/raw/d-victim`, CANARY, 1, 0x38),
  ),
  closed('qos2', 'a PUBLISH of QoS 2', ({ me }) => publishBytes(`d/${me.id}/raw/d-victim`, CANARY, 1, 0x34)),
  closed('retain', 'a retained PUBLISH', ({ me }) => publishBytes(`d/${me.id}/raw/d-victim`, CANARY, 1, 0x33)),
  closed('retain', 'a retained PUBLISH of QoS 0', ({ me }) => publishBytes(`d/${me.id}/raw/d-victim`, CANARY, 1, 0x31)),
  closed('bad_qos', 'a message of QoS 0 from a thing', ({ me }) =>
    publishBytes(`d/${me.id}/raw/d-victim`, CANARY, 0, 0x30),
  ),
  closed(
    'bad_qos',
    'a message of QoS 0 from a person',
    ({ me }) => publishBytes(`d/${me.id}/out`, CANARY, 0, 0x30),
    'person',
  ),
  closed('bad_qos', 'typing with QoS 1', ({ me }) => publishBytes(`d/${me.id}/now`, CANARY), 'person'),
]

export const badIds: readonly Attack[] = [
  closed('bad_packet_id', 'a PUBLISH with packet id 0', ({ me }) => publishBytes(`d/${me.id}/raw/d-victim`, CANARY, 0)),
  closed('bad_packet_id', 'a SUBSCRIBE with packet id 0', ({ me }) => subscribeBytes([inboxFilter(me)], 1, 0)),
  closed('bad_packet_id', 'an UNSUBSCRIBE with packet id 0', ({ me }) => unsubscribeBytes([inboxFilter(me)], 0)),
  closed('malformed_packet', 'a PUBLISH with half a packet id', ({ me }) =>
    packet(0x32, text(`d/${me.id}/raw/d-victim`), 1),
  ),
  closed('malformed_packet', 'a PUBLISH without its packet id', ({ me }) =>
    packet(0x32, text(`d/${me.id}/raw/d-victim`)),
  ),
  malformed('a SUBSCRIBE with half a packet id', packet(0x82, 1)),
  malformed('a SUBSCRIBE without a body', packet(0x82)),
  malformed('a PUBACK with half a packet id', packet(0x40, 1)),
  malformed('a PUBACK with bytes behind its packet id', packet(0x40, u16(1), 0)),
  malformed('a PUBLISH without a body', packet(0x32)),
  malformed('a PUBLISH with half a topic length', packet(0x32, 0)),
  malformed(
    'a PUBLISH whose topic is longer than itself',
    packet(0x32, u16(999), 'd/mallory/raw/d-victim', u16(1), CANARY),
  ),
  closed('malformed_packet', 'a PUBLISH whose topic reaches into the packet behind it', ({ me }) => {
    const topic = `d/${me.id}/raw/d-victim`
    return join(packet(0x32, u16(topic.length), topic.slice(0, 9)), topic.slice(9), u16(1), CANARY)
  }),
]

export const badSubscribes: readonly Attack[] = [
  closed('bad_subscribe', 'a SUBSCRIBE without a filter', () => packet(0x82, u16(1))),
  closed('bad_subscribe', 'an UNSUBSCRIBE without a filter', () => packet(0xa2, u16(1))),
  closed('bad_subscribe', 'a SUBSCRIBE with an empty filter', () => subscribeBytes([''])),
  closed('bad_subscribe', 'a SUBSCRIBE of the own inbox and an empty filter', ({ me }) =>
    subscribeBytes([inboxFilter(me), '']),
  ),
  closed('malformed_packet', 'a SUBSCRIBE of QoS 3', ({ me }) => subscribeBytes([inboxFilter(me)], 3)),
  closed('malformed_packet', 'a SUBSCRIBE with a reserved bit beside its QoS', ({ me }) =>
    subscribeBytes([inboxFilter(me)], 0x81),
  ),
  closed('malformed_packet', 'a SUBSCRIBE that ends before its QoS', ({ me }) =>
    packet(0x82, u16(1), text(inboxFilter(me))),
  ),
  closed('malformed_packet', 'a SUBSCRIBE that ends in its filter', () => packet(0x82, u16(1), u16(40), 'd/mallory')),
  closed('malformed_packet', 'an UNSUBSCRIBE that ends in its filter', () =>
    packet(0xa2, u16(1), u16(40), 'd/mallory'),
  ),
  ...['a+', '+a', 'a#', '#a', 'a/+b', 'a/#/b', '#/a', '##', '++', 'd/mallory/from/#/', 'a/b#'].flatMap((filter) => [
    closed('bad_subscribe', `a SUBSCRIBE of ${filter}`, () => subscribeBytes([filter])),
    closed('bad_subscribe', `an UNSUBSCRIBE of ${filter}`, () => unsubscribeBytes([filter])),
  ]),
]

export const badFrameTexts: readonly Attack[] = badTexts.flatMap(([name, bad]) => [
  closed('bad_utf8', `${name} in a SUBSCRIBE`, () => subscribeBytes([join('d/', bad)])),
  closed('bad_utf8', `${name} in an UNSUBSCRIBE`, () => unsubscribeBytes([join('d/', bad)])),
  closed('bad_utf8', `${name} in a topic of the own`, ({ me }) =>
    publishBytes(join(`d/${me.id}/raw/d-victim`, bad), CANARY),
  ),
  closed('bad_utf8', `${name} in a number`, ({ me }) => publishBytes(join(`d/${me.id}/raw/d-victim/1`, bad), CANARY)),
  closed('bad_utf8', `${name} in a foreign topic`, () => publishBytes(join('d/victim/', bad), CANARY)),
])

const beyond = join(0x32, length(limits.frameBytesMax - 3))
export const frameLengths: readonly Attack[] = [
  malformed('a length of five bytes', 0x32, 0xff, 0xff, 0xff, 0xff, 1),
  malformed('a length of five bytes, cut behind the fourth', 0x32, 0xff, 0xff, 0xff, 0xff),
  closed('frame_too_large', 'a length of 256 MiB', () => join(0x32, 0xff, 0xff, 0xff, 0x7f)),
  closed('frame_too_large', 'a packet of a byte more than is allowed, cut behind its header', () => beyond),
  closed('frame_too_large', 'the same behind a packet that is sound', () => join(packet(0x40, u16(9)), beyond)),
]

export const observers: readonly Attack[] = [
  closed(
    'foreign_topic',
    "an observer's PUBLISH for operators",
    () => publishBytes('ops/node/one', CANARY),
    'observer',
  ),
  closed(
    'foreign_topic',
    "an observer's PUBLISH to an inbox",
    () => publishBytes('d/victim/from/ops/direct', CANARY),
    'observer',
  ),
  closed(
    'foreign_topic',
    "an observer's retained PUBLISH",
    () => publishBytes('$SYS/broker/uptime', CANARY, 1, 0x33),
    'observer',
  ),
]
