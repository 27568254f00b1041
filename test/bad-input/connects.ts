/** Hostile first packets and CONNECTs (reliability rows: MQTT packet level). */
import { limits } from '../../topics/limits.ts'
import { OBSERVER_PASSWORD } from '../world/world.ts'
import {
  type ConnectParts,
  connectBytes,
  join,
  type Part,
  packet,
  publishBytes,
  subscribeBytes,
  text,
  u16,
} from './bytes.ts'
import { type Attack, CANARY, type Cast } from './scene.ts'

const NOBODY = { as: 'nobody' } as const

function notConnect(name: string, bytes: Uint8Array): Attack {
  return {
    ...NOBODY,
    name: `a first packet that is ${name}`,
    bytes: () => bytes,
    answer: 'close',
    counted: 'not_connect',
  }
}

export const firstPackets: readonly Attack[] = [
  notConnect('of type 0', packet(0x00)),
  notConnect('CONNACK', packet(0x20, 0, 0)),
  notConnect('PUBLISH', publishBytes('d/victim/raw/home', CANARY)),
  notConnect('PUBACK', packet(0x40, u16(1))),
  notConnect('PUBREC', packet(0x50, u16(1))),
  notConnect('PUBREL', packet(0x62, u16(1))),
  notConnect('PUBCOMP', packet(0x70, u16(1))),
  notConnect('SUBSCRIBE', subscribeBytes(['#'])),
  notConnect('SUBACK', packet(0x90, u16(1), 0)),
  notConnect('UNSUBSCRIBE', packet(0xa2, u16(1), text('#'))),
  notConnect('UNSUBACK', packet(0xb0, u16(1))),
  notConnect('PINGREQ', packet(0xc0)),
  notConnect('PINGRESP', packet(0xd0)),
  notConnect('DISCONNECT', packet(0xe0)),
  notConnect('of type 15', packet(0xf0)),
  notConnect('a request of HTTP', join(`GET / HTTP/1.1\r\nhost: ${CANARY}\r\n\r\n`)),
]

/** CONNECT of a device that exists, with its true token, but for `parts`. */
function withParts(parts: ConnectParts | ((cast: Cast) => ConnectParts)): Attack['bytes'] {
  return (cast) => {
    const { id, token } = cast.me
    return connectBytes({
      clientId: id,
      username: id,
      password: token,
      ...(typeof parts === 'function' ? parts(cast) : parts),
    })
  }
}

function malformed(name: string, bytes: Attack['bytes']): Attack {
  return { ...NOBODY, name, bytes, answer: 'close', counted: 'malformed_packet' }
}

function refused(code: number, counted: Attack['counted'], name: string, bytes: Attack['bytes']): Attack {
  return { ...NOBODY, name, bytes, answer: { connack: code }, counted }
}

const body =
  (...parts: readonly Part[]) =>
  () =>
    packet(0x10, text('MQTT'), 4, ...parts)

export const malformedConnects: readonly Attack[] = [
  malformed('a CONNECT with a reserved bit in its first byte', withParts({ first: 0x11 })),
  malformed('the greeting of a TLS client', () => join(0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0)),
  malformed('a CONNECT without a body', () => packet(0x10)),
  malformed('a CONNECT of another protocol', withParts({ name: 'AMQP' })),
  malformed('a CONNECT that ends after its protocol level', body()),
  malformed('a CONNECT that ends in its keepalive', body(2, 0)),
  malformed('a CONNECT without a client id', body(2, u16(60))),
  malformed('a CONNECT whose client id is longer than the packet', body(2, u16(60), u16(9), 'short')),
  malformed('a CONNECT that ends before its user name', body(0x82, u16(60), text('mallory'))),
  malformed('a CONNECT that ends in its password', body(0xc2, u16(60), text('m'), text('m'), u16(99), CANARY)),
  malformed('a CONNECT that ends in its will', body(0x0e, u16(60), text('m'), text('d/m/gone'), u16(99), CANARY)),
  malformed('a CONNECT with bytes behind its end', withParts({ tail: Buffer.from(CANARY) })),
  malformed('a CONNECT with its reserved flag', withParts({ flags: 0xc1 })),
  malformed('a CONNECT with a password and no user name', () => body(0x42, u16(60), text('m'), text(CANARY))()),
  malformed('a CONNECT with a QoS for no will', withParts({ flags: 0xc8 })),
  malformed('a CONNECT that retains no will', withParts({ flags: 0xe0 })),
  malformed(
    'a CONNECT with a will of QoS 3',
    withParts(({ me }) => ({ will: { topic: `d/${me.id}/gone`, payload: CANARY, qos: 3 } })),
  ),
]

export const refusedConnects: readonly Attack[] = [
  refused(1, 'protocol_version', 'MQTT 3.1', withParts({ name: 'MQIsdp', level: 3 })),
  refused(1, 'protocol_version', 'MQTT 3.1 under the name of 3.1.1', withParts({ level: 3 })),
  refused(1, 'protocol_version', 'MQTT 5', withParts({ level: 5, tail: Buffer.of(0) })),
  refused(1, 'protocol_version', 'the bridge bit on level 3', withParts({ name: 'MQIsdp', level: 0x83 })),
  refused(1, 'protocol_version', 'the bridge bit on level 4', withParts({ level: 0x84 })),
  refused(5, 'bad_keepalive', 'no keepalive', withParts({ keepaliveS: 0 })),
  refused(5, 'bad_keepalive', 'the longest keepalive that MQTT can say', withParts({ keepaliveS: 65_535 })),
  ...[
    '',
    'd/mallory',
    'mallory+',
    'mallory#',
    '#',
    '+',
    '$SYS',
    'mallory:1',
    'Mallory',
    'mallory ',
    '__proto__',
    'mällory',
    'observer/x',
    'heliograph-1',
    'a'.repeat(65),
    'a'.repeat(limits.deviceIdCharsMax + 1),
    'mallory\n',
  ].map((clientId) => {
    const name = `the client id ${JSON.stringify(clientId).slice(0, 20)} of ${clientId.length} characters`
    return refused(2, 'bad_client_id', name, withParts({ clientId, username: clientId }))
  }),
]

const will = (
  name: string,
  of: (cast: Cast) => { topic: string; qos?: number; retain?: boolean; payload?: string },
): Attack =>
  refused(
    5,
    'bad_will',
    name,
    withParts((cast) => ({ will: { payload: CANARY, ...of(cast) } })),
  )

export const wills: readonly Attack[] = [
  will("a will for another's inbox", () => ({ topic: 'd/victim/from/d-mallory/direct' })),
  will("a will for a person's inbox", () => ({ topic: 'd/bob/in' })),
  will("another's will", () => ({ topic: 'd/victim/gone' })),
  will('a will for everybody', () => ({ topic: '#' })),
  will("a will under the broker's own name", () => ({ topic: '$SYS/broker/uptime' })),
  will('a will for operators', () => ({ topic: 'ops/node/one', retain: true })),
  will('a will that would be a message', ({ me }) => ({ topic: `d/${me.id}/raw/d-victim` })),
  will('an own will in capitals', ({ me }) => ({ topic: `d/${me.id}/GONE` })),
  will('an own will with a level more', ({ me }) => ({ topic: `d/${me.id}/gone/` })),
  will('an own will of QoS 0', ({ me }) => ({ topic: `d/${me.id}/gone`, qos: 0 })),
  will('an own will of QoS 2', ({ me }) => ({ topic: `d/${me.id}/gone`, qos: 2 })),
  will('an own will that is retained', ({ me }) => ({ topic: `d/${me.id}/gone`, retain: true })),
  refused(
    5,
    'bad_will',
    "an observer's will",
    withParts({
      clientId: 'ops',
      username: 'observer',
      password: OBSERVER_PASSWORD,
      clean: true,
      will: { topic: 'ops/node/one', payload: CANARY },
    }),
  ),
]

export const strangers: readonly Attack[] = [
  refused(4, 'bad_credentials', 'a wrong token', withParts({ password: CANARY })),
  refused(4, 'bad_credentials', 'an empty token', withParts({ password: '' })),
  refused(
    4,
    'bad_credentials',
    'a device called constructor',
    withParts({ clientId: 'constructor', username: 'constructor' }),
  ),
  refused(4, 'bad_credentials', 'a device that does not exist', withParts({ clientId: 'ghost', username: 'ghost' })),
  refused(4, 'bad_credentials', 'neither user name nor token', ({ me }) => connectBytes({ clientId: me.id })),
  refused(4, 'bad_credentials', 'a user name without a token', ({ me }) =>
    connectBytes({ clientId: me.id, username: me.id }),
  ),
  refused(4, 'bad_credentials', "an own token under another's client id", withParts({ clientId: 'victim' })),
  refused(
    4,
    'bad_credentials',
    "an own token under another's name",
    withParts({ clientId: 'victim', username: 'victim' }),
  ),
  refused(4, 'bad_credentials', "another's user name beside the own client id", withParts({ username: 'victim' })),
  refused(4, 'bad_credentials', 'an observer with a wrong password', () =>
    connectBytes({ clientId: 'ops', username: 'observer', password: CANARY, clean: true }),
  ),
  refused(5, 'bad_client_id', 'an observer who wants to be remembered', () =>
    connectBytes({ clientId: 'ops', username: 'observer', password: OBSERVER_PASSWORD }),
  ),
]

/** Texts that are no UTF-8 of MQTT 1.5.3, or not as Unicode would write them; `around` stands before and behind. */
export const badTexts: readonly (readonly [string, Uint8Array])[] = [
  ['bytes that are no UTF-8', Buffer.of(0xc3, 0x28)],
  ['half a character', Buffer.of(0xe2, 0x82)],
  ['an overlong slash', Buffer.of(0xc0, 0xaf)],
  ['half a surrogate pair', Buffer.of(0xed, 0xa0, 0x80)],
  ['a NUL', Buffer.of(0x61, 0x00)],
  ['a byte order mark', Buffer.of(0xef, 0xbb, 0xbf)],
  ['an accent that stands alone', Buffer.from('e\u0301')],
]

function badText(where: string, parts: (bad: Uint8Array, cast: Cast) => ConnectParts): Attack[] {
  return badTexts.map(([name, bad]) => ({
    ...NOBODY,
    name: `${name} in ${where}`,
    bytes: (cast) => withParts(parts(bad, cast))(cast),
    answer: 'close',
    counted: 'bad_utf8',
  }))
}

export const badConnectTexts: readonly Attack[] = [
  ...badText('the client id', (bad) => ({ clientId: join('m', bad) })),
  ...badText('the user name', (bad) => ({ username: join(bad, CANARY) })),
  ...badText("the will's topic", (bad, { me }) => ({ will: { topic: join(`d/${me.id}/gone`, bad), payload: CANARY } })),
  { ...(badText('the protocol name', (bad) => ({ name: bad }))[0] as Attack) },
]

/** Lengths that lie; only the header is sent, and that is enough. */
export const connectLengths: readonly Attack[] = [
  malformed('five bytes of length in a first packet', () => join(0x10, 0xff, 0xff, 0xff, 0xff, 0x01)),
  {
    ...NOBODY,
    name: 'a first packet of 256 MiB, cut behind its header',
    bytes: () => join(0x10, 0xff, 0xff, 0xff, 0x7f),
    answer: 'close',
    counted: 'frame_too_large',
  },
  {
    ...NOBODY,
    name: 'a CONNECT of a byte more than is allowed, cut behind its header',
    bytes: () => connectBytes({ clientId: 'a'.repeat(limits.frameBeforeConnectBytesMax - 14) }).subarray(0, 3),
    answer: 'close',
    counted: 'frame_too_large',
  },
]
