/** Bad input over HTTP, row by row: what is refused, with which status, and that nothing happened. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import { createApi } from '../../api/index.ts'
import { parseJson } from '../../api/json.ts'
import { addressOf } from '../../api/limit.ts'
import { createRegistry } from '../../api/metrics.ts'
import { secret } from '../../core/config.ts'
import { limits } from '../../topics/limits.ts'
import { askCode, call, type HttpAnswer, link, makeKeys, type Person, register } from '../world/person.ts'
import { assertProblem, startTestNode, type TestNode } from './node.ts'

const ANN = '+15550001111'
const BOB = '+15550002222'
const PHONE = JSON.stringify({ phone: ANN })

/** Sends bytes as they are and gives what comes back until the end. */
async function rawHttp(url: string, text: string | Buffer): Promise<string> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  let answer = ''
  socket.on('data', (bytes) => {
    answer += String(bytes)
  })
  socket.on('error', () => undefined)
  socket.write(text)
  await once(socket, 'close')
  return answer
}

describe('HTTP from somebody who means no good', () => {
  let test: TestNode
  let ann: Person
  before(async () => {
    test = await startTestNode({
      CODES_PER_ADDRESS_PER_HOUR_MAX: '1000',
      CODES_TRIED_PER_ADDRESS_PER_HOUR_MAX: '1000',
    })
    ann = await register(test, ANN)
  })
  after(() => test.stop())

  const post = async (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string>): Promise<HttpAnswer> => {
    const response = await fetch(`${test.url}/v1/registrations`, { method: 'POST', headers, body })
    return { status: response.status, headers: response.headers, body: JSON.parse(await response.text()) }
  }
  const json = (body: string | Uint8Array<ArrayBuffer>): Promise<HttpAnswer> =>
    post(body, { 'content-type': 'application/json' })

  describe('content types', () => {
    const refused = [
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      'application/xml',
      'application/jsonx',
      'application/json-patch+json',
      'application/json; charset=utf-16',
      'application/json; charset=latin1',
      'text/json',
      'json',
      'application/json, text/plain',
    ]
    for (const type of refused) {
      it(`refuses ${type}`, async () => assertProblem(await post(PHONE, { 'content-type': type }), 415, undefined))
    }

    it('judges a body by the one schema of its route, however its type is written', async () => {
      for (const type of ['APPLICATION/JSON', 'application/json;charset=UTF-8', 'application/json ; charset="utf-8"']) {
        assertProblem(await post('{"phone":7}', { 'content-type': type }), 400, 'malformed')
      }
    })

    it('refuses a type with a tab, and two types', async () => {
      const head = 'POST /v1/registrations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n'
      const body = `Content-Length: ${PHONE.length}\r\n\r\n${PHONE}`
      for (const types of [
        'Content-Type: text/plain\r\nContent-Type: application/json\r\n',
        'Content-Type: application\t/json\r\n',
        'Content-Type:\r\n',
        '',
      ]) {
        assert.match(await rawHttp(test.url, head + types + body), /^HTTP\/1\.1 4(15|00) /)
      }
    })
  })

  describe('bodies', () => {
    const malformed: [what: string, body: string | Uint8Array<ArrayBuffer>][] = [
      ['__proto__', `{"phone":"${ANN}","__proto__":{"admin":true}}`],
      ['an escaped __proto__', `{"phone":"${ANN}","\\u005f_proto__":{}}`],
      ['constructor', `{"phone":"${ANN}","constructor":{"prototype":{}}}`],
      ['a property twice', `{"phone":"${BOB}","phone":"${ANN}"}`],
      ['a property twice, once escaped', `{"phone":"${BOB}","\\u0070hone":"${ANN}"}`],
      ['a property twice with space', `{ "phone" : "${BOB}" ,\n "phone" : "${ANN}" }`],
      ['deep objects', `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`],
      ['deep arrays', '['.repeat(8_000)],
      ['deep arrays that end', `${'['.repeat(8_000)}${']'.repeat(8_000)}`],
      ['1e400', '{"phone":1e400}'],
      ['a huge array', `[${'1,'.repeat(7_000)}1]`],
      ['a text', '"phone"'],
      ['null', 'null'],
      ['nothing', ''],
      ['NaN', '{"phone":NaN}'],
      ['two values', `${PHONE}${PHONE}`],
      ['a byte order mark', `\ufeff${PHONE}`],
      ['a lone surrogate', '{"phone":"\\ud800"}'],
      ['bytes that are no UTF-8', Uint8Array.from(Buffer.from(PHONE.replace('phone', 'ph\xf6ne'), 'latin1'))],
      ['UTF-16', Uint8Array.from(Buffer.from(PHONE, 'utf16le'))],
    ]
    for (const [what, body] of malformed) {
      it(`refuses ${what}`, async () => {
        const answer = await json(body)
        const isPhone = what === 'a lone surrogate'
        if (answer.status === 413) assertProblem(answer, 413, 'too_large')
        else assertProblem(answer, 400, isPhone ? 'phone_invalid' : 'malformed')
        assert.equal(({} as Record<string, unknown>)['admin'], undefined)
      })
    }

    it('reads names where they are names, and not where they are values', () => {
      const text = '{"a":"a","b":["a","a",{"a":"\\"a\\\\"}],"c":{"a":1},"d":"{\\"a\\":1,\\"a\\":2}"}'
      assert.deepEqual(parseJson(Buffer.from(text)), JSON.parse(text))
      assert.throws(() => parseJson(Buffer.from('{"a":{"b":1,"c":[{}],"b":2}}')), /twice/)
      assert.throws(() => parseJson(Buffer.from('[{"a":[],"a":{}}]')), /twice/)
      assert.throws(() => parseJson(Buffer.from('[[{"prototype":1}]]')), /prototype/)
    })

    it('refuses what is compressed, and does not unpack it', async () => {
      const type = { 'content-type': 'application/json' }
      const packed = Uint8Array.from(gzipSync(PHONE))
      const bomb = Uint8Array.from(gzipSync(Buffer.alloc(10_000_000, ' ')))
      for (const body of [packed, bomb]) {
        assertProblem(await post(body, { ...type, 'content-encoding': 'gzip' }), 415, undefined)
      }
      assertProblem(await json(packed), 400, 'malformed')
    })

    it('refuses a body above its limit: 16 KiB without keys, 256 KiB with keys', async () => {
      assertProblem(await json(JSON.stringify({ phone: 'x'.repeat(16_384) })), 413, 'too_large')
      const body = { phone: ANN, code: '123456', ...makeKeys().body, name: 'x'.repeat(256 * 1024) }
      assertProblem(await call(test.url, 'POST', '/v1/sessions', { body }), 413, 'too_large')
      const chunks = new ReadableStream({
        pull(controller) {
          controller.enqueue(new Uint8Array(10_000).fill(0x20))
        },
      })
      const headers = { 'content-type': 'application/json' }
      const init = { method: 'POST', headers, body: chunks, duplex: 'half' } as RequestInit
      const status = await fetch(`${test.url}/v1/registrations`, init).then(
        (response) => response.status,
        () => 413,
      )
      assert.equal(status, 413)
    })

    it('ends a request whose body does not come', async () => {
      const { ports } = test.node.server.opened
      const registry = createRegistry({
        metrics: test.node.server.metrics,
        version: 'x',
        storeFacts: () => ({}),
        refusal: () => undefined,
        loopDelay: () => ({ p50: 0, p99: 0, p999: 0 }),
      })
      const api = await createApi({
        ports,
        adminToken: secret('x'),
        phoneKey: secret('y'),
        bounds: test.node.server.config,
        ws: () => '',
        version: 'x',
        registry,
        missing: () => [],
        requestTimeoutMs: 200,
      })
      const url = await api.listen({ host: '127.0.0.1', port: 0 })
      const head = 'POST /v1/registrations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
      assert.match(await rawHttp(url, `${head}Content-Length: 30\r\n\r\n{"phone":`), /^HTTP\/1\.1 408 /)
      await api.close()
    })
  })

  it('refuses a property that a request does not have, on every route that takes a body', async () => {
    const keys = makeKeys().body
    const routes: [method: string, path: string, body: object][] = [
      ['POST', '/v1/registrations', { phone: BOB }],
      ['POST', '/v1/sessions', { phone: BOB, code: '123456', ...keys }],
      ['POST', '/v1/identity', keys],
      ['POST', '/v1/tokens', {}],
      ['POST', '/v1/link-tokens', {}],
      ['POST', '/v1/links', {}],
      ['PUT', '/v1/links/x', { sealed: 'YWJj' }],
      ['PATCH', `/v1/devices/${ann.device}`, { name: 'YWJj' }],
      ['DELETE', `/v1/devices/${ann.device}`, {}],
      ['DELETE', '/v1/account', {}],
    ]
    for (const [method, path, body] of routes) {
      for (const more of [
        { user: ann.user },
        { primary: true },
        { verified: true },
        { role: 'admin' },
        { kind: 'x' },
      ]) {
        const answer = await call(test.url, method, path, { token: ann.token, body: { ...body, ...more } })
        assertProblem(answer, 400, 'malformed')
      }
    }
    assert.equal((await call(test.url, 'GET', '/v1/account', { token: ann.token })).status, 200)
  })

  it('finds nothing of others by their ids: the answer is that of what there is not', async () => {
    const bob = await register(test, BOB)
    const tablet = await link(test, bob)
    const asks: ((id: string) => Promise<HttpAnswer>)[] = [
      (id) => call(test.url, 'DELETE', `/v1/devices/${id}`, { token: ann.token }),
      (id) => call(test.url, 'PATCH', `/v1/devices/${id}`, { token: ann.token, body: { name: 'YWJj' } }),
    ]
    for (const ask of asks) {
      const [theirs, linked, none] = [await ask(bob.device), await ask(tablet.device), await ask('nobody')]
      for (const answer of [theirs, linked, none]) {
        assertProblem(answer, 404, 'unknown_recipient')
        assert.deepEqual(answer.body, none.body)
      }
    }
    const { body } = await call(test.url, 'GET', '/v1/devices', { token: bob.token })
    assert.equal((body['devices'] as unknown[]).length, 2)
  })

  it('gives no session to guesses that come all at once', async () => {
    const phone = '+15550003333'
    const code = await askCode(test, phone)
    const { body } = makeKeys()
    const guesses = Array.from({ length: 40 }, (_, i) => String((Number(code) + 1 + i) % 1_000_000).padStart(6, '0'))
    const answers = await Promise.all(
      guesses.map((guess) => call(test.url, 'POST', '/v1/sessions', { body: { phone, code: guess, ...body } })),
    )
    for (const answer of answers) assertProblem(answer, 401, 'code_wrong')
    assert.equal(new Set(answers.map((answer) => JSON.stringify(answer.body))).size, 1)
    const late = await call(test.url, 'POST', '/v1/sessions', { body: { phone, code, ...body } })
    assertProblem(late, 401, 'code_wrong')
  })

  it('sends no codes to a range of numbers from one address, beyond its hour', async () => {
    const bounded = await startTestNode()
    const ask = (n: number) =>
      call(bounded.url, 'POST', '/v1/registrations', { body: { phone: `+1555000${1_000 + n}` } })
    for (let n = 0; n < limits.codesPerAddressPerHourMax; n++) assert.equal((await ask(n)).status, 202)
    assertProblem(await ask(5_000), 429, 'rate_limited')
    const forged = await call(bounded.url, 'POST', '/v1/registrations', {
      body: { phone: '+15550009999' },
      headers: { 'x-forwarded-for': '203.0.113.9', forwarded: 'for=203.0.113.9', 'x-real-ip': '203.0.113.9' },
    })
    assertProblem(forged, 429, 'rate_limited')
    await bounded.stop()
  })

  it('takes an IPv6 network for one caller, and IPv4 in IPv6 for what it is', () => {
    const of = (ip: string) => addressOf(ip)
    assert.equal(of('2001:db8:1:2:3:4:5:6'), of('2001:db8:1:2::9'))
    assert.notEqual(of('2001:db8:1:2::9'), of('2001:db8:1:3::9'))
    assert.equal(of('::1'), of('0:0:0:0:0:0:0:1'))
    assert.equal(of('::ffff:192.0.2.7'), '192.0.2.7')
    assert.notEqual(of('192.0.2.7'), of('192.0.2.8'))
    assert.equal(of('fe80::1%eth0'), of('fe80::2'))
  })

  it('serves nothing at a path that is only like one', async () => {
    const paths = [
      '/v1/account/',
      '//v1/account',
      '/v1//account',
      '/v1/account/..',
      '/V1/account',
      '/v1/ACCOUNT',
      '/v1/account;a=b',
      '/v1/account%00',
      '/v1/account%2f',
      '/v1/./account',
      '/v2/account',
      '/v1/admin/../account',
      '/v1/devices/%2e%2e/account',
      '/.git/config',
      '/etc/passwd',
    ]
    for (const path of paths) {
      const head = `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ${ann.token}\r\n\r\n`
      assert.match(await rawHttp(test.url, head), /^HTTP\/1\.1 40[04] /, path)
    }
    assert.match(
      await rawHttp(test.url, 'GET /v1/devices/%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'),
      /^HTTP\/1\.1 40[04] /,
    )
  })

  it('answers a path that cannot be read with a problem, and does not say it back', async () => {
    for (const [part, status] of [
      ['x'.repeat(101), 414],
      ['%zz', 400],
    ] as const) {
      for (const path of ['/v1/users/', '/v1/keys/', '/v1/links/', '/v1/admin/devices/']) {
        const answer = await call(test.url, 'GET', path + part, { token: ann.token })
        const detail = assertProblem(answer, status, undefined)
        assert.ok(!detail.includes(part), detail)
      }
    }
  })

  it('takes the method of the request and no other', async () => {
    for (const headers of [
      { 'x-http-method-override': 'DELETE' },
      { 'x-http-method': 'DELETE' },
      { 'x-method-override': 'DELETE' },
    ]) {
      assert.equal((await call(test.url, 'GET', '/v1/account', { token: ann.token, headers })).status, 200)
      const posted = await call(test.url, 'POST', '/v1/account?_method=DELETE', { token: ann.token, body: {}, headers })
      assertProblem(posted, 404, undefined)
    }
    for (const method of ['PUT', 'PATCH', 'OPTIONS', 'PROPFIND']) {
      assert.ok((await call(test.url, method, '/v1/account', { token: ann.token })).status >= 400, method)
    }
    assert.equal((await call(test.url, 'GET', '/v1/account', { token: ann.token })).status, 200)
  })

  it('lets no page of another origin in', async () => {
    const headers = {
      origin: 'https://evil.example',
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization',
    }
    const preflight = await call(test.url, 'OPTIONS', '/v1/sessions', { headers })
    assertProblem(preflight, 404, undefined)
    const read = await call(test.url, 'GET', '/v1/account', { token: ann.token, headers })
    for (const answer of [preflight, read]) {
      for (const name of answer.headers.keys()) assert.doesNotMatch(name, /^access-control/)
    }
  })

  it('tells nobody where it is by the Host that it was asked for', async () => {
    const phone = '+15550004444'
    const code = await askCode(test, phone)
    const body = JSON.stringify({ phone, code, ...makeKeys().body })
    const head = 'POST /v1/sessions HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\n'
    const rest = `Connection: close\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
    const answer = await rawHttp(test.url, head + rest)
    assert.match(answer, /^HTTP\/1\.1 201 /)
    assert.doesNotMatch(answer, /evil/)
    assert.ok(answer.includes(`${test.url.replace('http', 'ws')}/v1/ws`))
  })

  it('takes a token in the header only, once', async () => {
    const asks = [
      call(test.url, 'GET', `/v1/account?access_token=${ann.token}`),
      call(test.url, 'GET', '/v1/account', { headers: { cookie: `token=${ann.token}` } }),
      call(test.url, 'GET', '/v1/account', { headers: { authorization: `Bearer ${ann.token} ${ann.token}` } }),
      call(test.url, 'GET', '/v1/account', { headers: { authorization: `Bearer  ${ann.token}` } }),
      call(test.url, 'GET', '/v1/account', { headers: { authorization: ann.token } }),
      call(test.url, 'GET', '/v1/account', { token: `${ann.token}.${ann.token}` }),
      call(test.url, 'GET', '/v1/account', { token: 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.' }),
      call(test.url, 'GET', '/v1/account', { token: `' OR 1=1 --`.replaceAll(' ', '') }),
    ]
    const answers = await Promise.all(asks)
    for (const answer of answers) assertProblem(answer, 401, 'unauthorized')
    assert.equal(new Set(answers.map(({ body }) => JSON.stringify(body))).size, 1)
  })
})
