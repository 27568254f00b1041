import assert from 'node:assert/strict'
import { Buffer } from 'node:buffer'
import { IntakeFault } from '../../core/envelope.ts'
import { decodeDelivery } from '../../topics/codec.ts'
import { parseUuid } from '../../topics/ids.ts'
import { limits } from '../../topics/limits.ts'
import type { Client } from '../world/client.ts'
import { askCode, call, codeOf, type HttpAnswer, link, makeKeys, type Person, register } from '../world/person.ts'
import { assertProblem, type MadeDevice, startTestNode, type TestNode } from './node.ts'

const ANN = '+15550001111'
const SESSIONS = '/v1/sessions'

/** Users of whom a client was told that their device list has changed. */
function changesOf(client: Client): string[] {
  return client.received.flatMap(({ payload }) => {
    const delivery = decodeDelivery(payload)
    if (delivery.fault || delivery.notice?.devicesChanged === undefined) return []
    return [Buffer.from(delivery.notice.devicesChanged).toString('hex')]
  })
}

describe('POST /v1/sessions', () => {
  let test: TestNode
  const begin = (body: object): Promise<HttpAnswer> => call(test.url, 'POST', SESSIONS, { body })
  const online = async (person: Person): Promise<Client> => {
    const client = await test.connect(person as unknown as MadeDevice)
    assert.equal(client.connack?.returnCode, 0)
    await client.subscribe(`d/${person.device}/in`)
    return client
  }
  const isKnown = async ({ token }: { token: string }): Promise<boolean> =>
    (await call(test.url, 'GET', '/v1/account', { token })).status === 200
  const codeAgain = async (phone: string): Promise<string> => {
    test.clock.offsetMs += limits.codeResendMs
    return askCode(test, phone)
  }
  beforeEach(async () => {
    test = await startTestNode()
  })
  afterEach(() => test.stop())

  it('makes an account for a new number, whose device may connect at once', async () => {
    const ann = await register(test, ANN, { handle: 'ann', name: 'c2VhbGVk' })
    assert.match(ann.device, /^[a-z0-9]{12}$/)
    assert.match(ann.user, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    assert.match(ann.token, /^[A-Za-z0-9_-]{43}$/)
    assert.equal(ann.number, 1)
    assert.equal(ann.handle, 'ann')
    assert.equal(ann.ws, `${test.url.replace('http', 'ws')}/v1/ws`)
    await online(ann)
    const { body } = await call(test.url, 'GET', '/v1/devices', { token: ann.token })
    const [{ lastActive, ...shown } = {}, ...others] = body['devices'] as Record<string, unknown>[]
    assert.equal(typeof lastActive, 'string')
    assert.deepEqual(
      [shown, ...others],
      [
        {
          device: ann.device,
          number: 1,
          registrationId: ann.keys.body.registrationId,
          name: 'c2VhbGVk',
          created: new Date().toISOString().slice(0, 10),
          primary: true,
          current: true,
        },
      ],
    )
  })

  it('says where MQTT over WebSocket is as the operator names it', async () => {
    const named = await startTestNode({ PUBLIC_URL: 'https://chat.example.org' })
    assert.equal((await register(named, ANN)).ws, 'wss://chat.example.org/v1/ws')
    await named.stop()
  })

  it('answers a wrong code, a code of another number, a number without one and a late code with one answer', async () => {
    const code = await askCode(test, ANN)
    await askCode(test, '+15550002222')
    const { body } = makeKeys()
    const wrong = code === '000000' ? '000001' : '000000'
    const answers = [
      await begin({ phone: ANN, code: wrong, ...body }),
      await begin({ phone: '+15550003333', code, ...body }),
    ]
    test.clock.offsetMs += limits.codeTtlMs
    answers.push(await begin({ phone: ANN, code, ...body }))
    for (const answer of answers) assertProblem(answer, 401, 'code_wrong')
    assert.equal(new Set(answers.map((answer) => JSON.stringify(answer.body))).size, 1)
  })

  it('takes a code until the end of its time, once', async () => {
    const code = await askCode(test, ANN)
    test.clock.offsetMs += limits.codeTtlMs - 5_000
    const { body } = makeKeys()
    assert.equal((await begin({ phone: ANN, code, ...body })).status, 201)
    assertProblem(await begin({ phone: ANN, code, ...body }), 401, 'code_wrong')
  })

  it(`lets nobody guess a code: after ${limits.codeTriesMax} tries the right one is wrong too`, async () => {
    const code = await askCode(test, ANN)
    const { body } = makeKeys()
    for (let i = 0; i < limits.codeTriesMax; i++) {
      const guess = String((Number(code) + 1 + i) % 1_000_000).padStart(6, '0')
      assertProblem(await begin({ phone: ANN, code: guess, ...body }), 401, 'code_wrong')
    }
    assertProblem(await begin({ phone: ANN, code, ...body }), 401, 'code_wrong')
    assert.equal((await begin({ phone: ANN, code: await codeAgain(ANN), ...body })).status, 201)
  })

  it('takes the right code at the last try', async () => {
    const code = await askCode(test, ANN)
    const { body } = makeKeys()
    for (let i = 1; i < limits.codeTriesMax; i++) {
      const guess = String((Number(code) + i) % 1_000_000).padStart(6, '0')
      assertProblem(await begin({ phone: ANN, code: guess, ...body }), 401, 'code_wrong')
    }
    assert.equal((await begin({ phone: ANN, code, ...body })).status, 201)
  })

  it('lets one address try so many codes in an hour, and says when there is another try', async () => {
    const bounded = await startTestNode({ CODES_TRIED_PER_ADDRESS_PER_HOUR_MAX: '3' })
    const { body } = makeKeys()
    const guess = (n: number) =>
      call(bounded.url, 'POST', SESSIONS, { body: { phone: `+1555000111${n}`, code: '123456', ...body } })
    for (let n = 0; n < 3; n++) assertProblem(await guess(n), 401, 'code_wrong')
    const refusal = await guess(3)
    assertProblem(refusal, 429, 'rate_limited')
    bounded.clock.offsetMs += Number(refusal.headers.get('retry-after')) * 1_000
    assertProblem(await guess(4), 401, 'code_wrong')
    await bounded.stop()
  })

  it('verifies the keys first, and spends no try on keys that are wrong', async () => {
    const code = await askCode(test, ANN)
    const { body } = makeKeys()
    const signedPrekey = { ...body.keys.signedPrekey, signature: Buffer.alloc(64).toString('base64url') }
    for (let i = 0; i <= limits.codeTriesMax; i++) {
      const answer = await begin({ phone: ANN, code, ...body, keys: { ...body.keys, signedPrekey } })
      assertProblem(answer, 422, 'signature_wrong')
    }
    assert.equal((await begin({ phone: ANN, code, ...body })).status, 201)
  })

  it('makes one session when one code is sent many times at once', async () => {
    const code = await askCode(test, ANN)
    const { body } = makeKeys()
    const answers = await Promise.all(Array.from({ length: 5 }, () => begin({ phone: ANN, code, ...body })))
    assert.equal(answers.filter(({ status }) => status === 201).length, 1)
    assert.equal(answers.filter(({ status }) => status === 401).length, 4)
  })

  it('refuses a handle that is taken, and the code is still good for another one', async () => {
    await register(test, ANN, { handle: 'ann' })
    const code = await askCode(test, '+15550002222')
    const { body } = makeKeys()
    const taken = await begin({ phone: '+15550002222', code, handle: 'ann', ...body })
    assert.match(assertProblem(taken, 409, 'conflict'), /@ann/)
    const made = await begin({ phone: '+15550002222', code, handle: 'ann.b', ...body })
    assert.deepEqual([made.status, made.body['handle']], [201, 'ann.b'])
  })

  it('gives a code back that a taken handle did not use: with the tries it had, and its end', async () => {
    await register(test, ANN, { handle: 'ann' })
    const phone = '+15550002222'
    const { body } = makeKeys()
    const code = await askCode(test, phone)
    const wrong = code === '000000' ? '000001' : '000000'
    for (let i = 2; i < limits.codeTriesMax; i++)
      assertProblem(await begin({ phone, code: wrong, ...body }), 401, 'code_wrong')
    for (let i = 0; i < 3; i++) {
      const taken = await begin({ phone, code, handle: 'ann', ...body })
      assert.match(assertProblem(taken, 409, 'conflict'), /still good/)
    }
    // Two were left: the second wrong one ends it.
    for (let i = 0; i < 2; i++) assertProblem(await begin({ phone, code: wrong, ...body }), 401, 'code_wrong')
    assertProblem(await begin({ phone, code, ...body }), 401, 'code_wrong')

    const later = await codeAgain(phone)
    test.clock.offsetMs += limits.codeTtlMs - 5_000
    assertProblem(await begin({ phone, code: later, handle: 'ann', ...body }), 409, 'conflict')
    test.clock.offsetMs += 5_000
    assertProblem(await begin({ phone, code: later, ...body }), 401, 'code_wrong')
  })

  it('takes the same code, under the same Idempotency-Key, when the store could not write at first', async () => {
    const { accounts } = test.node.server.opened.ports
    const { register: write } = accounts
    const body = { phone: ANN, code: await askCode(test, ANN), handle: 'ann', ...makeKeys().body }
    const ask = () => call(test.url, 'POST', SESSIONS, { body, headers: { 'idempotency-key': 'of-ann' } })
    accounts.register = async () => {
      throw new IntakeFault('disk_full', 'no room')
    }
    for (let i = 0; i < limits.codeTriesMax + 1; i++) assertProblem(await ask(), 507, 'disk_full')
    accounts.register = write
    const made = await ask()
    assert.deepEqual([made.status, made.body['handle'], made.body['number']], [201, 'ann', 1])
    assert.deepEqual((await ask()).body, made.body)
    // Spent now, for every other request.
    assertProblem(await begin(body), 401, 'code_wrong')
  })

  it('gives nobody the handle that owns what is provisioned without an owner, and spends no code on it', async () => {
    const body = { phone: ANN, code: await askCode(test, ANN), ...makeKeys().body }
    assertProblem(await begin({ ...body, handle: 'fleet' }), 409, 'conflict')
    assert.equal((await begin({ ...body, handle: 'fleet2' })).status, 201)
  })

  it('takes two persons who want one handle at once, and gives it to one of them', async () => {
    const phones = ['+15550002222', '+15550003333']
    const codes = [await askCode(test, phones[0] as string), await askCode(test, phones[1] as string)]
    const answers = await Promise.all(
      phones.map((phone, i) => begin({ phone, code: codes[i], handle: 'same', ...makeKeys().body })),
    )
    assert.deepEqual(answers.map(({ status }) => status).sort(), [201, 409])
  })

  describe('for a number that has an account', () => {
    it('ends everything when the identity key is another, and keeps user and handle', async () => {
      const before = await register(test, ANN, { handle: 'ann' })
      const linked = await link(test, before)
      const [one, two] = [await online(before), await online(linked)]
      const keys = makeKeys()
      const made = await begin({ phone: ANN, code: await codeAgain(ANN), ...keys.body })
      assert.equal(made.status, 201)
      await Promise.all([one.closed(limits.revokeDelayMsMax), two.closed(limits.revokeDelayMsMax)])
      assert.deepEqual([await isKnown(before), await isKnown(linked)], [false, false])
      const { body } = await call(test.url, 'GET', '/v1/account', { token: String(made.body['token']) })
      assert.deepEqual([body['user'], body['handle']], [before.user, 'ann'])
      assert.equal(body['identityKey'], keys.body.identityKey)
      const devices = body['devices'] as { device: string; number: number; primary: boolean }[]
      assert.deepEqual(
        devices.map(({ device, number, primary }) => [device, number, primary]),
        [[made.body['device'], 3, true]],
      )
      const { ports } = test.node.server.opened
      assert.deepEqual(await ports.inbox.page(before.device, 0, 0, 10), [])
    })

    it('replaces the primary device alone when the identity key is the same, and tells the others', async () => {
      const before = await register(test, ANN)
      const linked = await link(test, before)
      const [one, two] = [await online(before), await online(linked)]
      const keys = makeKeys({ identity: before.keys.identity })
      const made = await begin({ phone: ANN, code: await codeAgain(ANN), ...keys.body })
      assert.deepEqual([made.status, made.body['user'], made.body['number']], [201, before.user, 3])
      await one.closed(limits.revokeDelayMsMax)
      assert.deepEqual([await isKnown(before), await isKnown(linked)], [false, true])
      await two.until((client) => changesOf(client).length > 0, 'a notice')
      assert.deepEqual(changesOf(two), [before.user.replaceAll('-', '')])
      const { body } = await call(test.url, 'GET', '/v1/devices', { token: linked.token })
      const devices = body['devices'] as { device: string; primary: boolean }[]
      assert.deepEqual(
        devices.map(({ device, primary }) => [device, primary]),
        [
          [linked.device, false],
          [made.body['device'], true],
        ],
      )
    })

    it('sets the handle that is asked for', async () => {
      const before = await register(test, ANN, { handle: 'ann' })
      const keys = makeKeys({ identity: before.keys.identity })
      const made = await begin({ phone: ANN, code: await codeAgain(ANN), handle: 'anna', ...keys.body })
      assert.deepEqual([made.status, made.body['handle']], [201, 'anna'])
      const [old, fresh] = [
        await call(test.url, 'GET', '/v1/users/ann', { token: String(made.body['token']) }),
        await call(test.url, 'GET', '/v1/users/anna', { token: String(made.body['token']) }),
      ]
      assertProblem(old, 404, 'unknown_recipient')
      assert.deepEqual(fresh.body, { user: before.user, handle: 'anna' })
    })

    it('gives a new account when all device numbers of the old one were used', async () => {
      const before = await register(test, ANN, { handle: 'ann' })
      const { directory } = test.node.server.opened.ports
      const user = parseUuid(before.user) as Uint8Array
      const last = { id: 'last', user, number: limits.devicesPerUserMax, registrationId: 1, numbered: false }
      await directory.create([], [{ ...last, tokenHash: new Uint8Array(32) }])
      const keys = makeKeys({ identity: before.keys.identity })
      const made = await begin({ phone: ANN, code: await codeAgain(ANN), ...keys.body })
      assert.deepEqual([made.status, made.body['number'], made.body['handle']], [201, 1, 'ann'])
      assert.notEqual(made.body['user'], before.user)
      assert.equal(await isKnown(before), false)
    })
  })

  describe('with a link token', () => {
    const grant = async (person: Person): Promise<string> =>
      String((await call(test.url, 'POST', '/v1/link-tokens', { token: person.token })).body['linkToken'])

    it('adds a device with the next number, once, and tells the others', async () => {
      const ann = await register(test, ANN, { handle: 'ann' })
      const client = await online(ann)
      const linkToken = await grant(ann)
      const { body } = makeKeys({ identity: ann.keys.identity })
      const made = await begin({ linkToken, ...body })
      assert.deepEqual([made.status, made.body['user'], made.body['number']], [201, ann.user, 2])
      assert.equal(made.body['handle'], 'ann')
      await client.until(() => changesOf(client).length > 0, 'a notice')
      assertProblem(await begin({ linkToken, ...body }), 401, 'link_expired')
    })

    it('refuses one that nobody made, and one that is too old, with one answer', async () => {
      const ann = await register(test, ANN)
      const { body } = makeKeys({ identity: ann.keys.identity })
      const unknown = await begin({ linkToken: 'nobody', ...body })
      const linkToken = await grant(ann)
      test.clock.offsetMs += limits.linkTtlMs
      const late = await begin({ linkToken, ...body })
      for (const answer of [unknown, late]) assertProblem(answer, 401, 'link_expired')
      assert.deepEqual(unknown.body, late.body)
    })

    it('refuses another identity key than the one of the account', async () => {
      const ann = await register(test, ANN)
      const answer = await begin({ linkToken: await grant(ann), ...makeKeys().body })
      assertProblem(answer, 409, 'identity_differs')
      const { body } = await call(test.url, 'GET', '/v1/devices', { token: ann.token })
      assert.equal((body['devices'] as unknown[]).length, 1)
    })

    it(`links ${limits.linkedDevicesMax} devices and not one more, also when they come at once`, async () => {
      const ann = await register(test, ANN)
      const tokens: string[] = []
      for (let i = 0; i < limits.linkedDevicesMax + 2; i++) tokens.push(await grant(ann))
      const { identity } = ann.keys
      const answers = await Promise.all(tokens.map((linkToken) => begin({ linkToken, ...makeKeys({ identity }).body })))
      const made = answers.filter(({ status }) => status === 201)
      assert.equal(made.length, limits.linkedDevicesMax)
      for (const answer of answers) {
        if (answer.status !== 201) assert.match(assertProblem(answer, 409, 'devices_full'), /at most 5 .*remove one/)
      }
      const { token, device } = (made[0] as HttpAnswer).body as { token: string; device: string }
      assert.equal((await call(test.url, 'DELETE', `/v1/devices/${device}`, { token })).status, 204)
      assert.equal((await begin({ linkToken: await grant(ann), ...makeKeys({ identity }).body })).status, 201)
    })

    it('says what to do when the account has had all its device numbers', async () => {
      const ann = await register(test, ANN)
      const { directory } = test.node.server.opened.ports
      const user = parseUuid(ann.user) as Uint8Array
      const last = { id: 'last', user, number: limits.devicesPerUserMax, registrationId: 1, numbered: false }
      await directory.create([], [{ ...last, tokenHash: new Uint8Array(32) }])
      await directory.revoke('last')
      const { body } = makeKeys({ identity: ann.keys.identity })
      const answer = await begin({ linkToken: await grant(ann), ...body })
      const detail = assertProblem(answer, 409, 'devices_full')
      assert.match(detail, /device numbers; register the phone again/)
      assert.doesNotMatch(detail, /at most/)
    })

    it('does not take a handle, a phone number or a code beside it', async () => {
      const ann = await register(test, ANN)
      const linkToken = await grant(ann)
      const { body } = makeKeys({ identity: ann.keys.identity })
      for (const more of [{ handle: 'ann' }, { phone: ANN }, { phone: ANN, code: '123456' }]) {
        assertProblem(await begin({ linkToken, ...body, ...more }), 400, 'malformed')
      }
      assert.equal((await begin({ linkToken, ...body })).status, 201)
    })
  })

  it('takes all one-time keys that a device may have', async () => {
    const keys = makeKeys({ oneTime: limits.oneTimePrekeysMax })
    await register(test, ANN, { keys })
  })

  it('takes a name of 225 bytes and gives it back', async () => {
    const name = Buffer.alloc(limits.deviceNameBytesMax, 7).toString('base64url')
    const ann = await register(test, ANN, { name })
    const { body } = await call(test.url, 'GET', '/v1/devices', { token: ann.token })
    assert.equal((body['devices'] as { name: string }[])[0]?.name, name)
  })

  it('logs ids, and neither number nor code nor token nor key', async () => {
    const ann = await register(test, ANN)
    const code = codeOf(test.folder, ANN)
    const lines = test.logged.filter(({ text }) => !text.includes('text message'))
    const text = JSON.stringify(lines)
    assert.match(text, new RegExp(ann.device))
    for (const secret of [code, '5550001111', ann.token, ann.keys.body.identityKey]) assert.ok(!text.includes(secret))
  })
})

describe('a session that is asked for wrongly', () => {
  let test: TestNode
  let nextNumber = 1_000
  const begin = (body: object): Promise<HttpAnswer> => call(test.url, 'POST', SESSIONS, { body })
  before(async () => {
    test = await startTestNode()
  })
  after(() => test.stop())

  const wrong: [what: string, change: object][] = [
    ['a code of five digits', { code: '12345' }],
    ['a code that is a number', { code: 123_456 }],
    ['a handle that begins with a digit', { handle: '1ann' }],
    ['a handle in capitals', { handle: 'Ann' }],
    ['a handle of 33 characters', { handle: 'a'.repeat(33) }],
    ['a handle of 2 characters', { handle: 'an' }],
    ['a name of 226 bytes', { name: Buffer.alloc(limits.deviceNameBytesMax + 1).toString('base64url') }],
    ['a name with padding', { name: 'YQ==' }],
    ['a name that is not canonical', { name: 'YR' }],
    ['a registration id of 0', { registrationId: 0 }],
    ['a registration id of 16381', { registrationId: 16_381 }],
    ['an identity key of 32 bytes', { identityKey: Buffer.alloc(32, 5).toString('base64url') }],
    ['no keys', { keys: undefined }],
    ['a device id of its own choice', { device: 'mine' }],
    ['a user of its own choice', { user: '00000000-0000-4000-8000-000000000000' }],
    ['a device number of its own choice', { number: 1 }],
    ['a say in who is primary', { primary: true }],
  ]
  for (const [what, change] of wrong) {
    it(`is refused for ${what}, and spends no code`, async () => {
      const phone = `+1555000${nextNumber++}`
      const code = await askCode(test, phone)
      const { body } = makeKeys()
      assertProblem(await begin({ phone, code, ...body, ...change }), 400, 'malformed')
      assert.equal((await begin({ phone, code, ...body })).status, 201)
    })
  }
})
