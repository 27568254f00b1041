import assert from 'node:assert/strict'
import { createApi } from '../../api/index.ts'
import { createRegistry } from '../../api/metrics.ts'
import { secret } from '../../core/config.ts'
import { isErrorCode } from '../../topics/errors.ts'
import { startTestNode, type TestNode } from './node.ts'

interface Operation {
  readonly summary?: string
  readonly security?: Record<string, unknown>[]
  readonly requestBody?: { readonly content: Record<string, { readonly schema: Record<string, unknown> }> }
  readonly responses?: Record<string, unknown>
}

interface Document {
  readonly openapi: string
  readonly info: { readonly title: string; readonly version: string }
  readonly paths: Record<string, Record<string, Operation>>
  readonly components: { readonly securitySchemes: Record<string, unknown> }
}

describe('the OpenAPI document', () => {
  let test: TestNode
  let document: Document
  before(async () => {
    test = await startTestNode()
    document = (await test.ask('/docs/json')).body as unknown as Document
  })
  after(() => test.stop())

  const operations = (): [name: string, operation: Operation][] =>
    Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]): [string, Operation] => [
        `${method.toUpperCase()} ${path}`,
        operation,
      ]),
    )

  it('is of version 3.1 and of this version of the server', () => {
    assert.match(document.openapi, /^3\.1\./)
    assert.deepEqual([document.info.title, document.info.version], ['Heliograph', test.node.version])
  })

  it('has every route that is served, and no other', async () => {
    const { ports } = test.node.server.opened
    const registry = createRegistry({
      metrics: test.node.server.metrics,
      version: 'x',
      storeFacts: () => ({}),
      refusal: () => undefined,
      loopDelay: () => ({ p50: 0, p99: 0, p999: 0 }),
    })
    const app = await createApi({
      ports,
      adminToken: secret('x'),
      phoneKey: secret('y'),
      bounds: test.node.server.config,
      ws: () => '',
      version: 'x',
      registry,
      missing: () => [],
    })
    // The router's own tree: every route is a leaf with its methods in brackets.
    const methods = [...app.printRoutes({ commonPrefix: false }).matchAll(/\(([A-Z, ]+)\)/g)]
    const served = methods.flatMap(([, list = '']) => list.split(', ')).filter((method) => method !== 'HEAD')
    const documented = operations().map(([name]) => name.replace(/\{(\w+)\}/g, ':$1').split(' ') as [string, string])
    for (const [method, url] of documented) assert.ok(app.hasRoute({ method, url }), `${method} ${url}`)
    await app.close()
    assert.ok(served.length >= 8)
    assert.equal(documented.length, served.length)
  })

  it('says of every operation what it does, and who may', () => {
    const open = ['POST /v1/registrations', 'POST /v1/sessions', 'POST /v1/links', 'GET /v1/links/{link}']
    for (const [name, { summary, security }] of operations()) {
      assert.ok(summary !== undefined && summary.length > 5, name)
      const isOpen = open.includes(name) || !name.includes('/v1/')
      const who = name.includes('/v1/admin/') ? [{ admin: [] }] : isOpen ? undefined : [{ device: [] }]
      assert.deepEqual(security, who, name)
    }
    assert.deepEqual(Object.keys(document.components.securitySchemes), ['admin', 'device'])
  })

  it('lets nobody in without a token where it says that one is needed', async () => {
    const guarded = operations().filter(([, { security }]) => security !== undefined)
    assert.ok(guarded.length > 12)
    const answers = new Set<string>()
    for (const [name] of guarded) {
      const [method = '', path = ''] = name.split(' ')
      const url = test.url + path.replace(/\{\w+\}/g, 'abc')
      for (const authorization of [
        '',
        'Bearer',
        'Bearer x',
        `Bearer ${'x'.repeat(8_000)}`,
        `Basic ${'x'.repeat(43)}`,
      ]) {
        const response = await fetch(url, { method, headers: { authorization } })
        assert.equal(response.status, 401, name)
        assert.equal(response.headers.get('www-authenticate'), 'Bearer')
        if (!name.includes('/v1/admin/')) answers.add(await response.text())
      }
    }
    assert.equal(answers.size, 1)
  })

  it('is a page for people too, which loads nothing from elsewhere', async () => {
    const response = await fetch(`${test.url}/docs`)
    assert.equal(response.status, 200)
    assert.match(response.headers.get('content-type') ?? '', /^text\/html/)
    const page = await response.text()
    for (const [name, { summary = '' }] of operations()) {
      const [method, path] = name.split(' ')
      assert.ok(page.includes(`${method}</span>${path}</code>`), name)
      assert.ok(page.includes(summary.replaceAll('"', '&quot;').replaceAll("'", '&#39;')), name)
    }
    assert.doesNotMatch(page, /<script|src=|https?:\/\//)
  })

  it('shows the bounds of a request, and problems as the answer to a wrong one', () => {
    const make = document.paths['/v1/admin/devices']?.['post']
    const schema = make?.requestBody?.content['application/json']?.schema as {
      additionalProperties: boolean
      properties: Record<string, { maximum?: number; maxItems?: number }>
    }
    assert.equal(schema.additionalProperties, false)
    assert.equal(schema.properties['count']?.maximum, 1_000)
    assert.equal(schema.properties['ids']?.maxItems, 1_000)
    assert.deepEqual(Object.keys(make?.responses ?? {}).sort(), ['201', '4XX', '5XX'])
  })

  it('calls a problem what it is served as, at every operation that has one', async () => {
    const withProblems = operations().flatMap(([name, { responses = {} }]) =>
      Object.entries(responses).flatMap(([status, response]) => (/^[45]XX$/.test(status) ? [{ name, response }] : [])),
    )
    assert.ok(withProblems.length > 30)
    for (const { name, response } of withProblems) {
      const { content } = response as { content: Record<string, { schema: { required: string[] } }> }
      assert.deepEqual(Object.keys(content), ['application/problem+json'], name)
      const { required } = content['application/problem+json']?.schema ?? {}
      assert.deepEqual(required, ['type', 'title', 'status', 'detail'], name)
    }
    const { headers } = await test.ask('/v1/registrations', {})
    assert.equal(headers.get('content-type'), 'application/problem+json; charset=utf-8')
  })

  it('tells of codes that the catalogue has', () => {
    for (const code of ['malformed', 'too_large', 'unknown_recipient', 'unauthorized', 'conflict'])
      assert.ok(isErrorCode(code))
  })
})
