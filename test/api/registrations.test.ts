import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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
    for (let i = 0; i < 66; i++) await test.node.server.opened.ports.sms.send('+15550001111', `code ${100_000 + i}`)
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
  it('is made at first start, for its owner alone, and finds the accounts after a restart', async () => {
    const first = await startTestNode()
    const folder = mkdtempSync(join(tmpdir(), 'heliograph-'))
    const start = (env: Record<string, string> = {}) => startTestNode({ DATA_DIR: folder, ...env })
    const users: string[] = []
    const keys = makeKeys()
    for (const env of [{}, {}, { PHONE_KEY: 'another key than before' }]) {
      const test = await start(env)
      users.push((await register({ url: test.url, folder }, '+15550001111', { keys })).user)
      await test.stop()
    }
    assert.equal(users[0], users[1])
    assert.notEqual(users[1], users[2])
    const file = join(folder, 'phone-key')
    assert.equal(statSync(file).mode & 0o777, 0o600)
    assert.match(readFileSync(file, 'utf8'), /^[A-Za-z0-9_-]{32}\n$/)
    assert.notEqual(readFileSync(file, 'utf8'), readFileSync(join(first.folder, 'phone-key'), 'utf8'))
    await first.stop()
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

  it('are asked again when the text message cannot be sent, and nobody hears why but the log', async () => {
    const test = await startTestNode()
    test.node.server.opened.ports.sms.send = async () => {
      throw new Error('the provider is down')
    }
    const answer = await call(test.url, 'POST', '/v1/registrations', { body: { phone: '+15550001111' } })
    assertProblem(answer, 503, 'overloaded')
    assert.doesNotMatch(JSON.stringify(answer.body), /provider/)
    assert.match(JSON.stringify(test.logged), /the provider is down/)
    await test.stop()
  })
})
