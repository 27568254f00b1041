import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { mock } from 'node:test'
import { type Api, ApiFault, createApi } from '../../client/http/api.ts'

const USER = '0f8fad5b-d9cb-469f-a165-70867728950e'
const OTHER = '7c9e6679-7425-40de-944b-e07fc1f90ae7'
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
const filled = (length: number, first: number): Uint8Array => Uint8Array.of(first, ...randomBytes(length - 1))
const ec = () => text(filled(33, 5))
const kem = () => text(filled(1_569, 8))
const signature = () => text(randomBytes(64))
const bundle = (number = 1) => ({
  number,
  registrationId: 77,
  signedPrekey: { id: 1, key: ec(), signature: signature() },
  oneTimePrekey: { id: 2, key: ec() },
  kemPrekey: { id: 4_294_967_295, key: kem(), signature: signature() },
})
const keys = (user = USER, devices: object[] = [bundle()]) => ({ user, identityKey: ec(), devices })
const session = { device: 'abc123', user: USER, number: 1, token: text(randomBytes(32)), ws: 'wss://host/v1/ws' }

interface Asked {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly body: unknown
}

describe('the HTTP client of the SDK', () => {
  let server: Server
  let url: string
  let api: Api
  let asked: Asked[]
  let answer: (response: ServerResponse) => void
  let token: string | undefined

  beforeEach(async () => {
    asked = []
    token = 'token-of-the-tests'
    server = createServer((request, response) => void take(request, response))
    const take = async (request: IncomingMessage, response: ServerResponse) => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      const body = chunks.length === 0 ? undefined : JSON.parse(Buffer.concat(chunks).toString())
      asked.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, body })
      answer(response)
    }
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    api = createApi(url, () => token)
  })
  afterEach(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })

  function says(status: number, body?: unknown, headers: Record<string, string> = {}): void {
    answer = (response) => {
      response.writeHead(status, { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers })
      response.end(typeof body === 'string' || body === undefined ? body : JSON.stringify(body))
    }
  }
  const problem = (status: number, body: object, headers: Record<string, string> = {}): void =>
    says(status, JSON.stringify(body), { 'content-type': 'application/problem+json', ...headers })

  async function fault(promise: Promise<unknown>): Promise<ApiFault> {
    const error = await promise.then(
      () => assert.fail('it resolved'),
      (reason: unknown) => reason,
    )
    assert.ok(error instanceof ApiFault, String(error))
    return error
  }

  it('sends bytes as base64url, the token and the key of the write', async () => {
    says(204)
    const signed = { id: 9, key: filled(33, 5), signature: randomBytes(64) }
    await api.putKeys({ signedPrekey: signed, oneTimePrekeys: [{ id: 3, key: signed.key }] }, 'key-1')
    const [{ method, url: path, headers, body }] = asked as [Asked]
    assert.deepEqual([method, path], ['PUT', '/v1/keys'])
    assert.equal(headers.authorization, 'Bearer token-of-the-tests')
    assert.equal(headers['idempotency-key'], 'key-1')
    assert.deepEqual(body, {
      signedPrekey: { id: 9, key: text(signed.key), signature: text(signed.signature) },
      oneTimePrekeys: [{ id: 3, key: text(signed.key) }],
    })
  })

  it('reads bundles as bytes', async () => {
    const device = bundle(3)
    const { oneTimePrekey, ...spent } = bundle(4)
    const given = keys(USER, [device, spent])
    says(200, { ...given, somethingNew: 1 })
    const read = await api.takeKeys(USER)
    assert.equal(text(read.identityKey), given.identityKey)
    assert.deepEqual(
      read.devices.map(({ number, registrationId }) => [number, registrationId]),
      [
        [3, 77],
        [4, 77],
      ],
    )
    assert.equal(text(read.devices[0]?.kemPrekey.key as Uint8Array), device.kemPrekey.key)
    assert.equal(read.devices[0]?.oneTimePrekey?.id, 2)
    assert.equal(read.devices[1]?.oneTimePrekey, undefined)
    assert.ok(oneTimePrekey)
  })

  it('asks without a token where nobody is known yet, and not at all where one is needed', async () => {
    token = undefined
    says(202, { digits: 6, expiresInS: 600, resendInS: 30 })
    assert.deepEqual(await api.askCode('+4915112345678'), { digits: 6, expiresInS: 600, resendInS: 30 })
    assert.equal(asked[0]?.headers.authorization, undefined)
    const { code, status } = await fault(api.account())
    assert.deepEqual([code, status, asked.length], ['unauthorized', 0, 1])
  })

  const device = {
    identityKey: filled(33, 5),
    registrationId: 5,
    keys: {
      signedPrekey: { id: 1, key: filled(33, 5), signature: randomBytes(64) },
      lastResortPrekey: { id: 2, key: filled(1_569, 8), signature: randomBytes(64) },
      oneTimePrekeys: [],
      oneTimeKemPrekeys: [],
    },
  }
  const shown = { device: 'a1', number: 1, registrationId: 5, created: '2026-01-31', primary: true, current: true }
  const account = { user: USER, handle: 'bob', identityKey: ec(), device: 'a1', devices: [shown] }
  const routes: [name: string, status: number, body: unknown, ask: () => Promise<unknown>, line: string][] = [
    ['beginSession', 201, session, () => api.beginSession({ linkToken: 'x' }, device), 'POST /v1/sessions'],
    ['account', 200, account, () => api.account(), 'GET /v1/account'],
    ['eraseAccount', 204, undefined, () => api.eraseAccount('k'), 'DELETE /v1/account'],
    ['devices', 200, { devices: [shown] }, () => api.devices(), 'GET /v1/devices'],
    ['nameDevice', 204, undefined, () => api.nameDevice('a1', Buffer.from('x')), 'PATCH /v1/devices/a1'],
    ['endDevice', 204, undefined, () => api.endDevice('a1'), 'DELETE /v1/devices/a1'],
    ['replaceToken', 201, { token: 'new' }, () => api.replaceToken('k'), 'POST /v1/tokens'],
    ['replaceIdentity', 201, session, () => api.replaceIdentity(device), 'POST /v1/identity'],
    ['findUser', 200, { user: USER, handle: 'bob' }, () => api.findUser('@bob'), 'GET /v1/users/bob'],
    ['countKeys', 200, { ec: 1, kem: 2 }, () => api.countKeys(), 'GET /v1/keys/count'],
    ['checkKeys', 204, undefined, () => api.checkKeys(randomBytes(32)), 'POST /v1/keys/check'],
    ['takeDeviceKeys', 200, keys(), () => api.takeDeviceKeys(USER, 1), `GET /v1/keys/${USER}/1`],
    ['takeKeysOfMany', 200, { accounts: [keys()] }, () => api.takeKeysOfMany([USER, OTHER]), 'POST /v1/keys/batch'],
    ['makeLinkToken', 201, { linkToken: 'x', expiresInS: 600 }, () => api.makeLinkToken(), 'POST /v1/link-tokens'],
    ['openLink', 201, { link: 'abc', expiresInS: 600 }, () => api.openLink(), 'POST /v1/links'],
    ['answerLink', 204, undefined, () => api.answerLink('abc', Buffer.from('x')), 'PUT /v1/links/abc'],
    ['readLink', 200, { sealed: 'eHl6' }, () => api.readLink('abc'), 'GET /v1/links/abc'],
  ]
  for (const [name, status, body, ask, line] of routes) {
    it(`${name}: ${line}, and nothing else is taken for its answer`, async () => {
      says(status, body)
      await ask()
      assert.equal(`${asked[0]?.method} ${asked[0]?.url}`, line)
      const wrong: [number, unknown][] = [
        [200, status === 200 ? {} : body],
        [206, body],
        [418, body],
        ...(body === undefined
          ? []
          : ([null, [], 'text', '{', {}, 7].map((bad) => [status, bad]) as [number, unknown][])),
      ]
      for (const [badStatus, bad] of wrong) {
        says(badStatus, bad)
        assert.equal((await fault(ask())).code, 'bad_answer', JSON.stringify([badStatus, bad]))
      }
    })
  }

  it('a link that nobody has answered yet is no failure, and keys that differ are an answer', async () => {
    says(204)
    assert.equal(await api.readLink('abc'), undefined)
    assert.equal(await api.checkKeys(randomBytes(32)), true)
    problem(409, { code: 'keys_differ', detail: 'x' })
    assert.equal(await api.checkKeys(randomBytes(32)), false)
  })

  const wrongKeys: [string, unknown][] = [
    ['of another user', keys(OTHER)],
    ['of a device twice', keys(USER, [bundle(1), bundle(1)])],
    ['of device 0', keys(USER, [bundle(0)])],
    ['of device 128', keys(USER, [bundle(128)])],
    [
      'of too many devices',
      keys(
        USER,
        Array.from({ length: 128 }, () => bundle(1)),
      ),
    ],
    ['with a short identity key', { ...keys(), identityKey: text(filled(32, 5)) }],
    ['with an identity key of another type', { ...keys(), identityKey: text(filled(33, 6)) }],
    ['with a key in standard base64', { ...keys(), identityKey: `${'+/'.repeat(22)}` }],
    ['with a key that can be written otherwise', { ...keys(), devices: [{ ...bundle(), signedPrekey: twoWays() }] }],
    ['with an id above 32 bits', keys(USER, [{ ...bundle(), oneTimePrekey: { id: 2 ** 32, key: ec() } }])],
    ['with a KEM key for an EC key', keys(USER, [{ ...bundle(), oneTimePrekey: { id: 1, key: kem() } }])],
    ['with an EC key for a KEM key', keys(USER, [{ ...bundle(), kemPrekey: bundle().signedPrekey }])],
    ['without a KEM key', keys(USER, [{ ...bundle(), kemPrekey: undefined }])],
    ['without a signature', keys(USER, [{ ...bundle(), signedPrekey: { id: 1, key: ec() } }])],
    ['with null for a one-time key', keys(USER, [{ ...bundle(), oneTimePrekey: null }])],
    ['with a registration id of 15 bits', keys(USER, [{ ...bundle(), registrationId: 16_384 }])],
  ]
  function twoWays() {
    const exact = signature()
    // 64 bytes leave four spare bits in the last character: they have to be zero.
    return { id: 1, key: ec(), signature: `${exact.slice(0, -1)}${exact.endsWith('B') ? 'C' : 'B'}` }
  }
  for (const [what, body] of wrongKeys) {
    it(`keys ${what} are a bad answer`, async () => {
      says(200, body)
      assert.equal((await fault(api.takeKeys(USER))).code, 'bad_answer')
    })
  }

  it('keys of who or what was not asked for are a bad answer', async () => {
    says(200, { accounts: [keys(), keys()] })
    assert.equal((await fault(api.takeKeysOfMany([USER]))).code, 'bad_answer')
    says(200, { accounts: [keys(OTHER)] })
    assert.equal((await fault(api.takeKeysOfMany([USER]))).code, 'bad_answer')
    says(200, keys(USER, [bundle(1), bundle(2)]))
    assert.equal((await fault(api.takeDeviceKeys(USER, 1))).code, 'bad_answer')
    says(200, keys(USER, [bundle(2)]))
    assert.equal((await fault(api.takeDeviceKeys(USER, 1))).code, 'bad_answer')
    says(200, { user: USER, handle: 'eve' })
    assert.equal((await fault(api.findUser('bob'))).code, 'bad_answer')
  })

  for (const [what, change] of [
    ['a device id with a slash', { device: 'a/b' }],
    ['a token with a line break', { token: 'a\r\nb' }],
    ['an address that is not WebSocket', { ws: 'http://host' }],
    ['a user in capitals', { user: USER.toUpperCase() }],
    ['number 0', { number: 0 }],
  ] as [string, object][]) {
    it(`a session with ${what} is a bad answer`, async () => {
      says(201, { ...session, ...change })
      assert.equal((await fault(api.beginSession({ linkToken: 'x' }, device))).code, 'bad_answer')
    })
  }

  it('a problem becomes a fault with its code, sentence and wait', async () => {
    problem(429, { code: 'rate_limited', detail: 'Too often; wait.' }, { 'retry-after': '1234' })
    const { code, status, message, retryInS } = await fault(api.account())
    assert.deepEqual([code, status, message, retryInS], ['rate_limited', 429, 'Too often; wait.', 1_234])
    problem(400, { code: 'from_the_future', detail: `bad\u001b[2J\n${'x'.repeat(9_999)}` }, { 'retry-after': 'soon' })
    const unknown = await fault(api.account())
    assert.deepEqual([unknown.code, unknown.retryInS, unknown.message.length], ['refused', undefined, 500])
    assert.match(unknown.message, /^bad \[2J x+$/)
    problem(401, {})
    assert.equal((await fault(api.account())).message, 'The server refused it (HTTP 401).')
    says(400, 'null', { 'content-type': 'application/problem+json' })
    assert.equal((await fault(api.account())).code, 'refused')
  })

  it('a proxy that says the server is away is unreachable, other pages are bad answers', async () => {
    for (const [status, code] of [
      [502, 'unreachable'],
      [503, 'unreachable'],
      [404, 'bad_answer'],
      [500, 'bad_answer'],
    ] as const) {
      says(status, '<html>', { 'content-type': 'text/html' })
      const { code: told, status: at } = await fault(api.account())
      assert.deepEqual([told, at], [code, status])
    }
  })

  it('follows no redirect', async () => {
    for (const status of [301, 302, 307, 308]) {
      says(status, undefined, { location: `${url}/elsewhere` })
      assert.equal((await fault(api.account())).code, 'bad_answer')
    }
    assert.ok(asked.every(({ url: path }) => path === '/v1/account'))
  })

  it('stops reading an answer that does not end', async () => {
    let sent = 0
    const closed = new Promise<void>((resolve) => {
      answer = (response) => {
        response.writeHead(200, { 'content-type': 'application/json' })
        const more = () => {
          while (!response.destroyed) {
            sent += 65_536
            if (!response.write(Buffer.alloc(65_536, ' '))) return void response.once('drain', more)
          }
        }
        response.once('close', resolve)
        more()
      }
    })
    const { code, message } = await fault(api.account())
    assert.deepEqual([code, message], ['bad_answer', 'The answer of the server is too long.'])
    await closed
    assert.ok(sent < 64 * 1024 * 1024, `${sent}`)
  })

  it('does not unpack what is small only on the way', async () => {
    says(200, '{}')
    await fault(api.account())
    assert.equal(asked[0]?.headers['accept-encoding'], 'identity')
  })

  for (const [what, start] of [
    ['says nothing', () => undefined],
    ['begins an answer and stops', (response: ServerResponse) => void response.writeHead(200).write('{')],
  ] as [string, (response: ServerResponse) => void][]) {
    it(`a server that ${what} is left after ten seconds`, async () => {
      const late = new AbortController()
      const timeouts: number[] = []
      const timeout = mock.method(AbortSignal, 'timeout', (ms: number) => {
        timeouts.push(ms)
        return late.signal
      })
      try {
        answer = (response) => {
          start(response)
          setImmediate(() => late.abort())
        }
        const { code, message } = await fault(api.account())
        assert.deepEqual([code, message], ['unreachable', 'The server cannot be reached (no answer within 10 s).'])
        assert.deepEqual(timeouts, [10_000])
      } finally {
        timeout.mock.restore()
      }
    })
  }

  it('waiting for a link can be given up', async () => {
    const stop = new AbortController()
    answer = () => stop.abort()
    assert.equal((await fault(api.readLink('abc', stop.signal))).code, 'unreachable')
  })

  it('where nobody listens, or what listens is no HTTP, it is unreachable', async () => {
    const tcp = createTcpServer((socket) =>
      socket
        .on('error', () => undefined)
        .resume()
        .end('SSH-2.0-x\r\n'),
    )
    tcp.listen(0, '127.0.0.1')
    await once(tcp, 'listening')
    const at = `http://127.0.0.1:${(tcp.address() as AddressInfo).port}`
    assert.equal((await fault(createApi(at, () => 'x').account())).code, 'unreachable')
    tcp.close()
    await once(tcp, 'close')
    const { code, message } = await fault(createApi(at, () => 'x').account())
    assert.deepEqual([code, message], ['unreachable', 'The server cannot be reached (ECONNREFUSED).'])
  })

  it('puts nothing into a path that could lead elsewhere', async () => {
    const bad = ['..', '../admin', 'a/b', 'a?b', '', 'a b', 'ä', '%2e%2e']
    for (const name of bad) {
      for (const promise of [
        api.findUser(name),
        api.takeKeys(name),
        api.endDevice(name),
        api.answerLink(name, Buffer.from('x')),
        api.readLink(name),
      ]) {
        assert.equal((await fault(promise)).code, 'unknown_recipient', name)
      }
    }
    assert.deepEqual(asked, [])
  })

  it('takes only http and https addresses without anything after the path', () => {
    for (const bad of ['', 'host', 'ftp://host', 'http://user:pass@host', 'http://host?x', 'http://host#x']) {
      assert.throws(() => createApi(bad, () => 'x'), { name: 'ClientFault', code: 'invalid' })
    }
  })
})
