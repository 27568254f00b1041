import assert from 'node:assert/strict'
import fc from 'fast-check'
import { limits } from '../../topics/limits.ts'
import { type TopicName, topicTable } from '../../topics/table.ts'
import {
  errorTopic,
  fromTopic,
  inboxFilterOf,
  inboxTopicOf,
  isOperatorTopic,
  isValidFilter,
  isValidTopic,
  matches,
  ownPrefix,
  parseUpTopic,
  type RawTo,
  rawLevel,
  rawNumber,
  rawTo,
  topicOf,
} from '../../topics/topic.ts'

const user = Uint8Array.from({ length: 16 }, (_, i) => i * 17)
const BASE32 = 'aaisem2ekvthpcezvk54zxpo74'

/** MQTT 3.1.1 section 4.7 as a regular expression: nothing in common with the matcher. */
function matchesByExpression(filter: string, topic: string): boolean {
  if (topic.startsWith('$') && /^[+#]/.test(filter)) return false
  const pattern = filter
    .split('/')
    .map((level) => (level === '+' ? '[^/]*' : level === '#' ? '.*' : level.replace(/[.*?^${}()|[\]\\]/g, '\\$&')))
    .join('/')
    .replace(/^\.\*$/, '[^]*')
    .replace(/\/\.\*$/, '(/[^]*)?')
  return new RegExp(`^${pattern}$`).test(topic)
}

describe('topics', () => {
  it('are built from the rows of the table', () => {
    assert.equal(inboxTopicOf('abc'), 'd/abc/in')
    assert.equal(topicOf('out', { device: 'abc' }), 'd/abc/out')
    assert.equal(topicOf('rawNumbered', { device: 'abc', to: 'home', n: '7' }), 'd/abc/raw/home/7')
    assert.equal(fromTopic('abc', '@ann', 'direct'), 'd/abc/from/@ann/direct')
    assert.equal(fromTopic('abc', 'd-x', 'direct', 16_384), 'd/abc/from/d-x/direct/16384')
    assert.equal(errorTopic('abc', 'not_allowed'), 'd/abc/from/error/not_allowed')
    assert.equal(topicOf('sys', { name: 'load/messages/sent/1min' }), '$SYS/broker/load/messages/sent/1min')
    assert.equal(inboxFilterOf('abc', 'person'), 'd/abc/in')
    assert.equal(inboxFilterOf('abc', 'thing'), 'd/abc/from/#')
    assert.equal(inboxFilterOf('abc', 'service'), 'd/abc/from/#')
    assert.equal(ownPrefix('abc'), 'd/abc/')
  })

  it('cannot be built from a level that is missing, empty, a wildcard or more than one level', () => {
    for (const device of ['', '+', '#', 'a/b', 'a\0', '/'])
      assert.throws(() => inboxTopicOf(device), RangeError, device)
    assert.throws(() => topicOf('raw', { device: 'a' }), RangeError)
    assert.throws(() => topicOf('sys', { name: 'a/#' }), RangeError)
  })

  it('of every row are valid, and no longer than a topic may be with the longest levels', () => {
    const longest = {
      device: 'd'.repeat(limits.deviceIdCharsMax),
      to: `@${'h'.repeat(limits.handleCharsMax)}`,
      n: String(Number.MAX_SAFE_INTEGER),
      sender: `@${'h'.repeat(limits.handleCharsMax)}`,
      conversation: `g-${BASE32}`,
      seq: String(Number.MAX_SAFE_INTEGER),
      code: 'storage_unavailable',
      user: BASE32,
      node: 'n'.repeat(64),
      store: 'intake',
      queue: 'storage',
      name: 'load/messages/received/15min',
    }
    for (const { name } of topicTable) assert.ok(isValidTopic(topicOf(name as TopicName, longest)), name)
  })

  it('of everything that a device receives match its one inbox filter, and nobody else’s', () => {
    const down = [
      fromTopic('abc', 'd-x', 'direct'),
      fromTopic('abc', '@ann', `g-${BASE32}`, 5),
      errorTopic('abc', 'malformed'),
    ]
    for (const topic of down) {
      assert.ok(matches(inboxFilterOf('abc', 'thing'), topic))
      assert.ok(!matches(inboxFilterOf('ab', 'thing'), topic) && !matches(inboxFilterOf('abcd', 'thing'), topic))
    }
    assert.ok(matches(inboxFilterOf('abc', 'person'), inboxTopicOf('abc')))
    assert.ok(!matches(inboxFilterOf('abc', 'person'), inboxTopicOf('abcd')))
  })
})

describe('the topics of operators', () => {
  it('are those under ops/ and $SYS/broker/, and no others', () => {
    for (const topic of [
      'ops/node/a',
      'ops/store/intake',
      'ops/queue/push',
      '$SYS/broker/uptime',
      '$SYS/broker/load/sent/1min',
    ]) {
      assert.ok(isOperatorTopic(topic), topic)
    }
    for (const topic of [
      'ops',
      'ops/',
      'ops/other/a',
      'xops/node/a',
      '$SYS',
      '$SYS/other',
      'd/ops/in',
      'u/a/presence',
      '',
    ]) {
      assert.ok(!isOperatorTopic(topic), topic)
    }
  })
})

describe('a topic that a device publishes to', () => {
  it('is read when it is one of its own', () => {
    assert.deepEqual(parseUpTopic('d/abc/out', 'abc'), { name: 'out' })
    assert.deepEqual(parseUpTopic('d/abc/now', 'abc'), { name: 'now' })
    assert.deepEqual(parseUpTopic('d/abc/gone', 'abc'), { name: 'gone' })
    assert.deepEqual(parseUpTopic('d/abc/raw/home', 'abc'), { name: 'raw', to: 'home', n: undefined })
    assert.deepEqual(parseUpTopic('d/abc/raw/@ann/08', 'abc'), { name: 'raw', to: '@ann', n: '08' })
  })

  it('is none when it is another device’s, a downward one, or has a level too many', () => {
    const foreign = [
      'd/ab/out',
      'd/abcd/out',
      'D/abc/out',
      'd/ABC/out',
      '/d/abc/out',
      'd//out',
      'd/abc',
      'd/abc/',
      'd/%61bc/out',
    ]
    const down = [
      'd/abc/in',
      'd/abc/live',
      'd/abc/from/d-x/direct',
      'u/abc/presence',
      'ops/node/a',
      '$SYS/broker/x',
      'out',
      '',
    ]
    const levels = [
      'd/abc/out/',
      'd/abc/out/x',
      'd/abc//out',
      'd/abc/raw',
      'd/abc/raw/',
      'd/abc/raw//1',
      'd/abc/raw/a/1/2',
      'd/abc/raw/a/',
    ]
    for (const topic of [...foreign, ...down, ...levels]) assert.equal(parseUpTopic(topic, 'abc'), undefined, topic)
  })
})

describe('a recipient of raw bytes', () => {
  const recipients: [string, RawTo][] = [
    ['home', { kind: 'home' }],
    ['@ann', { kind: 'handle', handle: 'ann' }],
    ['d-s1', { kind: 'device', device: 's1' }],
    [`u-${BASE32}`, { kind: 'user', user }],
    [`g-${BASE32}`, { kind: 'group', group: user }],
  ]
  for (const [text, recipient] of recipients) {
    it(`may be ${text}`, () => {
      assert.deepEqual(rawTo(text), recipient)
      assert.equal(rawLevel(recipient), text)
    })
  }

  it('is nothing else', () => {
    const wrong = [
      '',
      'Home',
      'home ',
      '@',
      '@an',
      '@Ann',
      'd-',
      'd-ABC',
      `d-${'a'.repeat(13)}`,
      'x-abc',
      'd',
      'u-abc',
      'direct',
    ]
    const odd = [
      `u-${BASE32.slice(0, -1)}7`,
      `u-${BASE32.toUpperCase()}`,
      `G-${BASE32}`,
      `g-${BASE32}a`,
      'd_abc',
      '@ann/',
      'error',
    ]
    for (const text of [...wrong, ...odd]) assert.equal(rawTo(text), undefined, text)
  })

  it('has one text: what is read is written alike', () => {
    const text = fc.oneof(
      fc.string({ maxLength: 34 }),
      fc.string({ unit: fc.constantFrom(...'adghmou@-._27'), maxLength: 30 }),
      fc.string({ unit: fc.constantFrom(...'ab27'), minLength: 26, maxLength: 26 }).map((id) => `u-${id}`),
    )
    const property = fc.property(text, (given) => {
      const recipient = rawTo(given)
      if (recipient !== undefined) assert.equal(rawLevel(recipient), given)
    })
    fc.assert(property, { numRuns: 2_000 })
  })
})

describe('the number of a raw topic', () => {
  it('is a decimal of 1 to 2^53 - 1', () => {
    for (const text of ['1', '10', '9007199254740991']) assert.equal(rawNumber(text), Number(text))
  })

  it('is nothing else', () => {
    const wrong = [
      '',
      '0',
      '01',
      '-1',
      '+1',
      '1.0',
      '1e3',
      ' 1',
      '1 ',
      '1\n',
      '0x1',
      '٣',
      '9007199254740992',
      '99999999999999999999',
    ]
    for (const text of wrong) assert.equal(rawNumber(text), undefined, JSON.stringify(text))
  })
})

describe('the matcher of topic filters', () => {
  it('does what the examples of MQTT 3.1.1 section 4.7 say', () => {
    const examples: [filter: string, topic: string, expected: boolean][] = [
      ['sport/tennis/player1/#', 'sport/tennis/player1', true],
      ['sport/tennis/player1/#', 'sport/tennis/player1/ranking', true],
      ['sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon', true],
      ['sport/#', 'sport', true],
      ['#', 'a/b', true],
      ['sport/tennis/+', 'sport/tennis/player1', true],
      ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
      ['sport/+', 'sport', false],
      ['sport/+', 'sport/', true],
      ['+/+', '/finance', true],
      ['/+', '/finance', true],
      ['+', '/finance', false],
      ['#', '$SYS/broker', false],
      ['+/monitor/Clients', '$SYS/monitor/Clients', false],
      ['$SYS/#', '$SYS/broker', true],
      ['$SYS/monitor/+', '$SYS/monitor/Clients', true],
      ['ACCOUNTS', 'Accounts', false],
      ['a//b', 'a/b', false],
      ['a/+/b', 'a//b', true],
    ]
    for (const [filter, topic, expected] of examples)
      assert.equal(matches(filter, topic), expected, `${filter} ${topic}`)
  })

  it('agrees with a regular expression for every valid filter and topic', () => {
    const level = fc.constantFrom('a', 'b', '', '$a', '.')
    const topic = fc.array(level, { minLength: 1, maxLength: 5 }).map((levels) => levels.join('/'))
    const filter = fc
      .tuple(fc.array(fc.oneof(level, fc.constant('+')), { maxLength: 5 }), fc.boolean())
      .map(([levels, isOpen]) => [...levels, ...(isOpen ? ['#'] : [])].join('/'))
    let matched = 0
    const property = fc.property(filter, topic, (some, given) => {
      fc.pre(some !== '' && given !== '')
      assert.ok(isValidFilter(some) && isValidTopic(given))
      assert.equal(matches(some, given), matchesByExpression(some, given))
      if (matches(some, given)) matched += 1
    })
    fc.assert(property, { numRuns: 5_000 })
    assert.ok(matched > 100, `only ${matched} matched`)
  })

  it('takes no filter with a wildcard in the wrong place', () => {
    for (const filter of ['a+', '+a', 'a/b+', 'a#', '#a', 'a/#/b', '#/a', '##', '++', 'a/+b/c', '', 'a\0', '\ud800']) {
      assert.ok(!isValidFilter(filter), filter)
      assert.ok(!matches(filter, filter), filter)
    }
    for (const filter of ['#', '+', '+/+/#', '/', 'a/+/#', '$share/g/a', '/#']) assert.ok(isValidFilter(filter), filter)
  })

  it('takes no topic with a wildcard, NUL or half a character, or without a character', () => {
    for (const topic of ['', '+', 'a/#', 'a+b', 'a\0b', '\udc00a', 'a/\ud83d']) {
      assert.ok(!isValidTopic(topic), topic)
      assert.ok(!matches('#', topic), topic)
    }
    for (const topic of ['/', 'a', 'ä/\u{1f600}', ' ', 'd/abc/in']) assert.ok(isValidTopic(topic), topic)
  })

  it('takes as many bytes and levels as the limits allow, and not one more', () => {
    const bytes = limits.topicBytesMax
    for (const check of [isValidTopic, isValidFilter]) {
      assert.ok(check('a'.repeat(bytes)) && !check('a'.repeat(bytes + 1)))
      assert.ok(check('ä'.repeat(bytes / 2)) && !check(`${'ä'.repeat(bytes / 2)}a`))
      assert.ok(check('/'.repeat(limits.topicLevelsMax - 1)) && !check('/'.repeat(limits.topicLevelsMax)))
    }
  })

  it('never throws', () => {
    const given = fc.string({ unit: 'binary', maxLength: 300 })
    fc.assert(fc.property(given, given, (filter, topic) => typeof matches(filter, topic) === 'boolean'))
  })
})
