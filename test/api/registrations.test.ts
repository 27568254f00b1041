import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createApi } from '../../api/index.ts'
import { createRegistry } from '../../api/metrics.ts'
import { secret } from '../../core/config.ts'
import type { Sms } from '../../core/ports.ts'
import { limits } from '../../topics/limits.ts'
import { call, codeOf, type HttpAnswer, makeKeys, register } from '../world/person.ts'
import { assertProblem, startTestNode, type TestNode } from './node.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

describe('POST /v1/registrations', () => {
  let test: TestNode
  const ask = (phone: unknown): Promise<HttpAnswer> => call(test.url, 'POST', '/v1/registrations', { body: { phone } })
  beforeEach(async () => {
    test = await startTestNode()
  })
  afterEach(() => test.stop())

  it('sends a code of six digits, and says how long it is good', async () => {
    const { status, body, headers } = await ask('+49 (0)151 1234-5678')
    assert.deepEqual([status, body], [202, { digits: 6, expiresInS: 600, resendInS: 30 }])
    assert.equal(headers.get('cache-control'), 'no-store')
    assert.match(codeOf(test.folder, '+4915112345678'), /^\d{6}$/)
  })

  it('answers the same for a number that has an account and for one that has none', async () => {
    await register(test, '+447700900123')
    test.clock.offsetMs += limits.codeResendMs
    const [known, unknown] = [await ask('+447700900123'), await ask('+447700900124')]
    assert.deepEqual([known.status, known.body], [unknown.status, unknown.body])
    const names = ({ headers }: HttpAnswer) => [...headers.keys()]
    assert.deepEqual(names(known), names(unknown))
  })

  it('refuses what is no text, empty or longer than a number can be', async () => {
    for (const phone of [15_550_001_111, null, ['+15550001111'], {}, '', `+${'1'.repeat(limits.phoneCharsMax)}`]) {
      assertProblem(await ask(phone), 400, 'malformed')
    }
    assertProblem(await call(test.url, 'POST', '/v1/registrations', { body: {} }), 400, 'malformed')
  })

  it(`sends one code in ${limits.codeResendMs} ms to a number, however it is written, and says how long to wait`, async () => {
    assert.equal((await ask('+15550001111')).status, 202)
    test.clock.offsetMs += limits.codeResendMs - 10_000
    const early = await ask('+1 555 000 1111')
    assertProblem(early, 429, 'rate_limited')
    const waitS = Number(early.headers.get('retry-after'))
    assert.ok(waitS >= 8 && waitS <= 10, `${waitS} s`)
    assert.equal((await ask('+15550001112')).status, 202)
    test.clock.offsetMs += waitS * 1_000
    assert.equal((await ask('+15550001111')).status, 202)
  })

  it(`sends ${limits.codesPerNumberPerHourMax} codes to a number, and then one more in its time`, async () => {
    for (let i = 0; i < limits.codesPerNumberPerHourMax; i++) {
      assert.equal((await ask('+15550001111')).status, 202)
      test.clock.offsetMs += limits.codeResendMs
    }
    const refusal = await ask('+15550001111')
    assertProblem(refusal, 429, 'rate_limited')
    const waitS = Number(refusal.headers.get('retry-after'))
    assert.ok(waitS > 5 * 60 && waitS <= HOUR_MS / limits.codesPerNumberPerHourMax / 1_000, `${waitS} s`)
    test.clock.offsetMs += waitS * 1_000
    assert.equal((await ask('+15550001111')).status, 202)
  })

  it('makes a new code void the old one', async () => {
    await ask('+15550001111')
    const old = codeOf(test.folder, '+15550001111')
    test.clock.offsetMs += limits.codeResendMs
    await ask('+15550001111')
    const fresh = codeOf(test.folder, '+15550001111')
    const { body } = makeKeys()
    const begin = (code: string) =>
      call(test.url, 'POST', '/v1/sessions', { body: { phone: '+15550001111', code, ...body } })
    if (old !== fresh) assertProblem(await begin(old), 401, 'code_wrong')
    assert.equal((await begin(fresh)).status, 201)
  })

  it('shows the code in the log and in a file for the owner alone, and the number in neither log line', async () => {
    await ask('+4915112345678')
    const code = codeOf(test.folder, '+4915112345678')
    const file = join(test.folder, 'sms-console.jsonl')
    assert.equal(statSync(file).mode & 0o777, 0o600)
    const [line = ''] = readFileSync(file, 'utf8').split('\n')
    const kept = JSON.parse(line) as Record<string, unknown>
    assert.deepEqual([kept['phone'], kept['code']], ['+4915112345678', code])
    assert.match(String(kept['text']), new RegExp(code))
    assert.ok(Math.abs(Number(kept['ms']) - Date.now()) < MINUTE_MS)
    const logged = JSON.stringify(test.logged)
    assert.match(logged, new RegExp(code))
    assert.match(logged, /\*78/)
    assert.doesNotMatch(logged, /15112345678/)
  })

  it('keeps the last 64 messages in that file', async () => {
    const { sms } = test.node.server.opened.ports
    for (let i = 0; i < 66; i++) {
      await sms.send('+15550001111', { text: `code ${100_000 + i}`, code: String(100_000 + i) })
    }
    const lines = readFileSync(join(test.folder, 'sms-console.jsonl'), 'utf8').trim().split('\n')
    const codes = lines.map((line) => (JSON.parse(line) as { code: string }).code)
    assert.deepEqual(
      codes,
      Array.from({ length: 64 }, (_, i) => String(100_002 + i)),
    )
  })

  it('keeps the number nowhere in the store', async () => {
    await register(test, '+15550001111')
    for (const name of ['heliograph.db', 'heliograph.db-wal']) {
      const bytes = readFileSync(join(test.folder, name))
      assert.equal(bytes.includes('15550001111'), false)
    }
  })
})

describe('a phone number that is typed', () => {
  let test: TestNode
  const ask = (phone: unknown): Promise<HttpAnswer> => call(test.url, 'POST', '/v1/registrations', { body: { phone } })
  before(async () => {
    test = await startTestNode()
  })
  after(() => test.stop())

  for (const phone of ['+15550001111', '+447700900123', ' +49 151 12345678 ', '+49-151-123.456.79']) {
    it(`is taken as ${phone}`, async () => assert.equal((await ask(phone)).status, 202))
  }

  const refused: [what: string, phone: string][] = [
    ['no country code', '015112345678'],
    ['a prefix of a carrier instead of +', '004915112345678'],
    ['too few digits', '+49151'],
    ['too many digits', '+4915112345678901234'],
    ['a country code that there is not', '+999123456789'],
    ['a premium-rate number', '+19005551234'],
    ['a shared-cost number', '+448451234567'],
    ['a pager', '+447640123456'],
    ['a satellite network', '+88213123456'],
    ['an extension', '+4915112345678 ext. 5'],
    ['words around it', 'call +4915112345678'],
    ['two numbers', '+4915112345678+4915112345679'],
  ]
  for (const [what, phone] of refused) {
    it(`is refused with ${what}`, async () => {
      assert.match(assertProblem(await ask(phone), 400, 'phone_invalid'), /country code/)
      assert.doesNotMatch(JSON.stringify((await ask(phone)).body), new RegExp(phone.replace(/\D/g, '')))
    })
  }
})

describe('the key of phone numbers', () => {
  /** One number, registered at a node that is started anew with each of these settings. */
  async function usersAt(folder: string, settings: readonly Record<string, string>[]): Promise<string[]> {
    const users: string[] = []
    const keys = makeKeys()
    for (const env of settings) {
      const test = await startTestNode({ DATA_DIR: folder, ...env })
      // A cluster remembers across restarts when a number was last sent a code.
      test.clock.offsetMs += (users.length + 1) * HOUR_MS
      users.push((await register({ url: test.url, folder }, '+15550001111', { keys })).user)
      await test.stop()
    }
    return users
  }

  it('is made at first start, for its owner alone, and finds the accounts after a restart', async () => {
    const other = await startTestNode()
    const folder = mkdtempSync(join(tmpdir(), 'heliograph-'))
    const [first, second] = await usersAt(folder, [{}, {}])
    assert.equal(second, first)
    const file = join(folder, 'phone-key')
    assert.equal(statSync(file).mode & 0o777, 0o600)
    assert.match(readFileSync(file, 'utf8'), /^[A-Za-z0-9_-]{32}\n$/)
    assert.notEqual(readFileSync(file, 'utf8'), readFileSync(join(other.folder, 'phone-key'), 'utf8'))
    await other.stop()
    rmSync(folder, { recursive: true })
  })

  it('finds no account of another key', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'heliograph-'))
    const [first, second] = await usersAt(folder, [{}, { PHONE_KEY: 'another key than before' }])
    assert.notEqual(second, first)
    rmSync(folder, { recursive: true })
  })
})

describe('codes for many', () => {
  it('are bounded by address', async () => {
    const test = await startTestNode({ CODES_PER_ADDRESS_PER_HOUR_MAX: '3' })
    const ask = (n: number) => call(test.url, 'POST', '/v1/registrations', { body: { phone: `+1555000111${n}` } })
    for (let n = 0; n < 3; n++) assert.equal((await ask(n)).status, 202)
    const refusal = await ask(3)
    assertProblem(refusal, 429, 'rate_limited')
    const waitS = Number(refusal.headers.get('retry-after'))
    assert.ok(waitS > HOUR_MS / 3 / 1_000 - 60 && waitS <= HOUR_MS / 3 / 1_000, `${waitS} s`)
    await test.stop()
  })

  it('are bounded for the whole service', async () => {
    const test = await startTestNode({ CODES_PER_MINUTE_MAX: '2' })
    const ask = (n: number) => call(test.url, 'POST', '/v1/registrations', { body: { phone: `+1555000111${n}` } })
    for (let n = 0; n < 2; n++) assert.equal((await ask(n)).status, 202)
    const refusal = await ask(2)
    assertProblem(refusal, 429, 'rate_limited')
    test.clock.offsetMs += Number(refusal.headers.get('retry-after')) * 1_000
    assert.equal((await ask(3)).status, 202)
    await test.stop()
  })

  it('are asked again when they wait for others: no code is on its way then', async () => {
    const test = await startTestNode({ CODES_PER_MINUTE_MAX: '1' })
    const ask = (phone: string) => call(test.url, 'POST', '/v1/registrations', { body: { phone } })
    assert.equal((await ask('+15550001111')).status, 202)
    for (let i = 0; i < limits.codesPerNumberPerHourMax + 1; i++) {
      assert.match(assertProblem(await ask('+15550001112'), 429, 'rate_limited'), /Many people/)
    }
    await test.stop()
  })
})

describe('a text message that fails', () => {
  const ANN = '+15550001111'
  let test: TestNode
  let sms: Sms
  let send: Sms['send']
  const ask = (phone = ANN) => call(test.url, 'POST', '/v1/registrations', { body: { phone } })
  const failOnce = (error: unknown): void => {
    sms.send = async () => {
      sms.send = send
      throw error
    }
  }
  beforeEach(async () => {
    test = await startTestNode()
    ;({ sms } = test.node.server.opened.ports)
    ;({ send } = sms)
  })
  afterEach(() => test.stop())

  it('does not block the next one, whose code is good', async () => {
    failOnce(new Error('down'))
    assertProblem(await ask(), 503, 'overloaded')
    assert.equal((await ask()).status, 202)
    assert.match(assertProblem(await ask(), 429, 'rate_limited'), /on its way/)
    const code = codeOf(test.folder, ANN)
    const made = await call(test.url, 'POST', '/v1/sessions', { body: { phone: ANN, code, ...makeKeys().body } })
    assert.equal(made.status, 201)
  })

  it('is tried so often in an hour and no oftener: the provider may have counted it', async () => {
    sms.send = () => Promise.reject(new Error('down'))
    for (let i = 0; i < limits.codesPerNumberPerHourMax; i++) assertProblem(await ask(), 503, 'overloaded')
    sms.send = send
    assert.match(assertProblem(await ask(), 429, 'rate_limited'), /this number/)
  })

  it('is one of two that were asked for side by side: the other is refused, not sent', async () => {
    let sent = 0
    let fail = (_error: Error): void => undefined
    const begun = new Promise<void>((resolve) => {
      sms.send = () => {
        sent++
        resolve()
        return new Promise((_resolve, reject) => {
          fail = reject
        })
      }
    })
    const first = ask()
    await begun
    assert.match(assertProblem(await ask(), 429, 'rate_limited'), /on its way/)
    fail(new Error('down'))
    assertProblem(await first, 503, 'overloaded')
    assert.equal(sent, 1)
    sms.send = send
    const answers = await Promise.all(Array.from({ length: 4 }, () => ask()))
    assert.deepEqual(answers.map(({ status }) => status).sort(), [202, 429, 429, 429])
  })

  const thrown: [what: string, error: unknown, logged: object][] = [
    ['its name', new TypeError(`no route to ${ANN}`), { error: 'TypeError' }],
    ['its code', Object.assign(new Error(ANN), { code: 'ECONNREFUSED' }), { error: 'Error', code: 'ECONNREFUSED' }],
    ['a number of the provider', Object.assign(new Error(ANN), { code: 21_211 }), { error: 'Error', code: '21211' }],
    ['no code that may be a phone number', Object.assign(new Error(''), { code: ANN }), { error: 'Error' }],
    ['no code that has digits of one', Object.assign(new Error(''), { code: 15550001111 }), { error: 'Error' }],
    ['no name of many words', Object.assign(new Error(''), { name: `to ${ANN}` }), { error: 'Error' }],
    ['nothing of what is no error', ANN, { error: 'Error' }],
    ['nothing of nothing', undefined, { error: 'Error' }],
  ]
  for (const [what, error, logged] of thrown) {
    it(`logs ${what}, and tells nobody else`, async () => {
      failOnce(error)
      const answer = await ask()
      assert.match(assertProblem(answer, 503, 'overloaded'), /ask again/)
      const line = test.logged.find(({ text }) => text === 'a text message could not be sent')
      assert.deepEqual([line?.level, line?.facts], ['error', logged])
      assert.doesNotMatch(JSON.stringify([test.logged, answer.body]), /5550001111/)
    })
  }

  for (const [what, hang] of [
    [
      'hears of it',
      (signal?: AbortSignal) =>
        new Promise<void>((_, no) => signal?.addEventListener('abort', () => no(signal.reason))),
    ],
    ['does not look', () => new Promise<void>(() => undefined)],
  ] as const) {
    it(`is one that took too long, also when its provider ${what}`, async () => {
      const signals: AbortSignal[] = []
      const slow: Sms = {
        send(_phone, _message, signal) {
          if (signal !== undefined) signals.push(signal)
          return hang(signal)
        },
      }
      const { server } = test.node
      const registry = createRegistry({
        metrics: server.metrics,
        version: 'x',
        storeFacts: () => ({}),
        refusal: () => undefined,
        loopDelay: () => ({ p50: 0, p99: 0, p999: 0 }),
      })
      const app = await createApi({
        ports: { ...server.opened.ports, sms: slow },
        adminToken: secret('x'),
        phoneKey: secret('y'),
        bounds: server.config,
        smsTimeoutMs: 20,
        ws: () => '',
        version: 'x',
        registry,
        missing: () => [],
      })
      for (let i = 0; i < 2; i++) {
        const answer = await app.inject({ method: 'POST', url: '/v1/registrations', payload: { phone: ANN } })
        assert.deepEqual([answer.statusCode, answer.json().code], [503, 'overloaded'])
      }
      assert.deepEqual(
        signals.map((signal) => signal.aborted),
        [true, true],
      )
      const facts = test.logged.filter(({ level }) => level === 'error').map((line) => line.facts)
      const timeout = { error: 'TimeoutError', code: '23' }
      assert.deepEqual(facts, [timeout, timeout])
      await app.close()
    })
  }
})
