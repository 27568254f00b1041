/**
 * Writes the seeds of the corpus: `node test/fuzz/write-corpus.ts`. They are valid inputs of every shape and the
 * hostile ones of test/bad-input, one of each kind. Findings of the past are files of their own and stay.
 */

import {
  type ConnectParts,
  connectBytes,
  join,
  packet,
  publishBytes,
  subscribeBytes,
  text,
  u16,
  unsubscribeBytes,
} from '../bad-input/bytes.ts'
import * as hostileConnects from '../bad-input/connects.ts'
import * as hostileEnvelopes from '../bad-input/envelopes.ts'
import * as hostileFrames from '../bad-input/frames.ts'
import type { Attack, Cast } from '../bad-input/scene.ts'
import * as hostileTopics from '../bad-input/topics.ts'
import { oracleBytes } from '../wire/oracle.ts'
import { OBSERVER_PASSWORD, type TestDevice } from '../world/world.ts'
import { type Seed, writeSeeds } from './corpus.ts'
import { BOB, BOB_REGISTRATION, fuzzUser, NEIGHBOUR, PERSON, THING, TOKEN, VICTIM } from './devices.ts'
import { journalSeeds } from './journal-seeds.ts'

const SEED_BYTES_MAX = 1_024

const bob = fuzzUser(BOB, 'person')
const thingUser = fuzzUser(VICTIM, 'thing')
const body = Buffer.from('a body of some bytes')
const seed = (name: string, bytes: Uint8Array): Seed => ({ name, bytes: Buffer.from(bytes) })

// ---------------------------------------------------------------- SendRequest, Delivery, Now

const toBob = { whisper: body, device: 1, registrationId: BOB_REGISTRATION }
const requests: { readonly [name: string]: object } = {
  pair: { stamp: 1_700_000_000_000, pair: { peer: bob, devices: [toBob] } },
  'pair to three devices': {
    stamp: 5,
    pair: { peer: bob, devices: [toBob, { ...toBob, device: 2 }], own: [{ prekey: body, device: 3 }] },
  },
  'retry request': {
    stamp: 6,
    pair: { peer: bob, group: thingUser, devices: [{ plaintext: body, device: 1 }], scope: 2 },
  },
  call: { stamp: 7, pair: { peer: bob, devices: [toBob], scope: 1 }, urgency: 3, expiresInS: 60, afterSeq: 2 ** 52 },
  group: { stamp: 8, group: { group: thingUser, roster: 300, senderKey: body, devices: [{ ...toBob, member: 9 }] } },
  raw: { stamp: 9, raw: { peer: thingUser, raw: body }, urgency: 2 },
  receipts: {
    receipts: {
      items: [
        { peer: bob, read: 2 ** 51 },
        { group: bob, played: [1, 300, 70_000] },
      ],
    },
  },
  sync: { sync: { peer: bob, afterSeq: 99, limit: 50 } },
  'group log': { groupLog: { group: bob, fromEpoch: 3 } },
  'group change': { stamp: 10, groupChange: { entry: body, signature: new Uint8Array(64).fill(7) } },
  withdraw: { stamp: 11, withdraw: { peer: bob, seqs: [5, 6, 7] } },
}
const nows: { readonly [name: string]: object } = {
  typing: { typing: 1, peer: bob },
  presence: { presence: { state: 1, lastSeen: 9 } },
  watch: { watch: { users: [bob, thingUser] } },
  signal: { signal: { call: '7', sealed: body }, peer: bob, device: 2 },
}
const deliveries: { readonly [name: string]: object } = {
  message: { whisper: body, peer: bob, device: 1, seq: 2 ** 50 },
  receipts: { receipts: { items: [{ peer: bob, delivered: 5, accepted: [100, 7, 130, 9] }] } },
  error: { error: { stamp: 5, code: 22, retry: 1, missing: [{ device: 2, registrationId: 9 }], lastStamp: 7 } },
  'caught up': { caughtUp: { serverMs: 5, wire: 1 } },
  notice: { notice: { prekeysLow: { ec: 1, kem: 2 } } },
  'sender key': { senderKey: body, group: bob, member: 900, distribution: { whisper: body, device: 2 } },
}

function codecSeeds(): Seed[] {
  const all = [
    ['SendRequest', requests],
    ['Now', nows],
    ['Delivery', deliveries],
  ] as const
  return all.flatMap(([type, messages]) =>
    Object.entries(messages).map(([name, message]) => seed(`${type}: ${name}`, oracleBytes(type, message))),
  )
}

// ---------------------------------------------------------------- CONNECT and its like

const bodyOf = (frame: Buffer): Buffer => {
  let at = 1
  while (((frame[at] as number) & 128) !== 0) at++
  return frame.subarray(at + 1)
}

const login = (id: string, parts: ConnectParts = {}): Buffer =>
  connectBytes({ clientId: id, username: id, password: TOKEN, ...parts })
const observer = connectBytes({ clientId: 'ops', username: 'observer', password: OBSERVER_PASSWORD, clean: true })

function connectSeeds(): Seed[] {
  const will = { topic: `d/${THING}/gone`, payload: 'gone' }
  return [
    seed('a device', bodyOf(login(THING))),
    seed('a device with a will', bodyOf(login(THING, { will }))),
    seed(
      'a clean one with a retained will',
      bodyOf(login(THING, { clean: true, will: { ...will, qos: 2, retain: true } })),
    ),
    seed('an observer', bodyOf(observer)),
    seed('nobody', bodyOf(connectBytes({ clientId: '' }))),
    seed('MQTT 3.1', bodyOf(login(THING, { name: 'MQIsdp', level: 3 }))),
    seed('letters of many bytes', bodyOf(login('zoë-漢字-😀'))),
  ]
}

const filterSeeds = (): Seed[] => [
  seed('one filter', bodyOf(subscribeBytes([`d/${THING}/from/#`]))),
  seed('three filters', bodyOf(subscribeBytes(['#', '$SYS/broker/+', 'd/漢/😀'], 2))),
  seed('no QoS', bodyOf(unsubscribeBytes([`d/${THING}/from/#`, '+/+']))),
]

const frameSeeds = (): Seed[] => [
  seed('a topic and a payload', join(5, u16(7), 'a/b/cpayload')),
  seed('letters of many bytes', join(10, u16(65_535), '漢字/😀', body)),
  seed('no payload', join(3, u16(1), 'abc')),
]

const topicSeeds = (): Seed[] =>
  [
    ['d/me/in', 'd/me/in'],
    ['d/me/from/#', 'd/me/from/d-you/direct'],
    ['d/+/from/#', 'd/me/from'],
    ['#', '$SYS/broker/uptime'],
    ['+/+/+/+', 'd/me/raw/home'],
    ['$SYS/broker/#', '$SYS/broker/clients/connected'],
    ['ops/node/+', 'd/me/raw/u-aaaaaaaaaaaaaaaaaaaaaaaaaa/17'],
    ['/+//#', 'd/me/raw/@fleet/9007199254740991'],
    ['a/+/c', 'd/me/raw/g-qaaaaaaaaaaaaaaaaaaaaaaaaa'],
    ['x/'.repeat(15).concat('#'), 'x/'.repeat(15).concat('y')],
    ['漢/+', 'd/me/out'],
    ['😀/#', 'd/me/now'],
  ].map(([filter, topic]) => seed(`${filter} and ${topic}`, Buffer.from(`${filter}\n${topic}`)))

// ---------------------------------------------------------------- whole conversations

const isAttacks = (value: unknown): value is readonly Attack[] =>
  Array.isArray(value) && typeof (value[0] as Attack | undefined)?.bytes === 'function'

function hostileSeeds(): Seed[] {
  const device = (id: string, kind: 'thing' | 'person', registrationId = 1): TestDevice => ({
    id,
    kind,
    token: TOKEN,
    user: fuzzUser(id, kind),
    number: 1,
    registrationId,
  })
  const [thing, person] = [device(THING, 'thing'), device(PERSON, 'person')]
  const bobDevice = device(BOB, 'person', BOB_REGISTRATION)
  const castOf = (me: TestDevice): Cast => ({
    me,
    victim: device(VICTIM, 'thing'),
    bob: bobDevice,
    amy: person,
    stranger: thing,
    stamp: () => 1_700_000_000_000,
  })
  const lists = [hostileConnects, hostileFrames, hostileTopics, hostileEnvelopes].flatMap((each) =>
    Object.values(each).filter(isAttacks),
  )
  return lists
    .flatMap((list) => [...new Map(list.map((attack) => [`${attack.as} ${attack.counted}`, attack])).values()])
    .map(({ name, as, bytes }) => {
      const me = as === 'person' ? person : thing
      const inbox = as === 'person' ? `d/${PERSON}/in` : `d/${THING}/from/#`
      const first = as === 'nobody' ? [] : as === 'observer' ? [observer] : [login(me.id), subscribeBytes([inbox])]
      return seed(`${as}: ${name}`, join(...first, bytes(castOf(me))))
    })
    .filter(({ bytes }) => bytes.length <= SEED_BYTES_MAX)
}

function guardSeeds(): Seed[] {
  const out = (request: object, id: number) => publishBytes(`d/${PERSON}/out`, oracleBytes('SendRequest', request), id)
  const inbox = subscribeBytes([`d/${THING}/from/#`])
  return [
    seed(
      'a thing that writes to its neighbour, who may be connected',
      join(
        login(THING),
        inbox,
        publishBytes(`d/${THING}/raw/d-${NEIGHBOUR}`, body, 1),
        publishBytes(`d/${THING}/raw/d-${NEIGHBOUR}/1`, body, 2),
        packet(0x40, u16(1)),
        packet(0x40, u16(1_025)),
      ),
    ),
    seed('a thing that writes to another', join(login(THING), inbox, publishBytes(`d/${THING}/raw/d-${VICTIM}`, body))),
    seed(
      'a thing that writes to many, numbered and not',
      join(
        login(THING),
        inbox,
        publishBytes(`d/${THING}/raw/home`, 'one', 1),
        publishBytes(`d/${THING}/raw/d-${VICTIM}/5`, 'two', 2),
        publishBytes(`d/${THING}/raw/d-${VICTIM}/5`, 'two', 3, 0x3a),
        publishBytes(`d/${THING}/raw/d-${VICTIM}`, '', 4),
        publishBytes(`d/${THING}/raw/d-ghost`, 'nobody', 5),
        packet(0xc0),
        packet(0xe0),
      ),
    ),
    seed(
      'a thing that writes to itself and acknowledges',
      join(login(THING), inbox, publishBytes(`d/${THING}/raw/d-${THING}`, 'x'), packet(0x40, u16(1))),
    ),
    seed(
      'a thing that comes and goes',
      join(login(THING, { clean: true }), inbox, unsubscribeBytes([`d/${THING}/from/#`], 2), packet(0xe0)),
    ),
    seed(
      'a person with requests of every kind',
      join(
        login(PERSON),
        subscribeBytes([`d/${PERSON}/in`]),
        ...Object.values(requests).map((request, i) => out(request, i + 1)),
      ),
    ),
    ...Object.entries(requests).map(([name, request]) =>
      seed(
        `a person with a request: ${name}`,
        join(login(PERSON), subscribeBytes([`d/${PERSON}/in`]), out(request, 1)),
      ),
    ),
    seed(
      'a person who types',
      join(login(PERSON), publishBytes(`d/${PERSON}/now`, oracleBytes('Now', { typing: 1, peer: bob }), 0, 0x30)),
    ),
    seed('an observer', join(observer, subscribeBytes(['#', '$SYS/#']), packet(0xc0))),
    seed('two texts', join(login(THING), packet(0x32, text(`d/${THING}/raw/d-${VICTIM}`), u16(9), text('x')))),
    ...hostileSeeds(),
  ]
}

const seeds: { readonly [target: string]: () => Seed[] } = {
  connect: connectSeeds,
  filters: filterSeeds,
  frames: frameSeeds,
  codec: codecSeeds,
  topics: topicSeeds,
  journal: journalSeeds,
  guard: guardSeeds,
}
for (const [target, make] of Object.entries(seeds)) writeSeeds(target, make())
