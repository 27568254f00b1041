import assert from 'node:assert/strict'
import { createApi } from '../../api/index.ts'
import { createRegistry } from '../../api/metrics.ts'
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
    const adminToken = { reveal: () => 'x', toJSON: () => '' }
    const app = await createApi({ ports, adminToken, version: 'x', registry, missing: () => [] })
    // The router's own tree: every route is a leaf with its methods in brackets.
    const methods = [...app.printRoutes({ commonPrefix: false }).matchAll(/\(([A-Z, ]+)\)/g)]
    const served = methods.flatMap(([, list = '']) => list.split(', ')).filter((method) => method !== 'HEAD')
    const documented = operations().map(([name]) => name.replace(/\{(\w+)\}/g, ':$1').split(' ') as [string, string])
    for (const [method, url] of documented) assert.ok(app.hasRoute({ method, url }), `${method} ${url}`)
    await app.close()
    assert.ok(served.length >= 8)
    assert.equal(documented.length, served.length)
  })

  it('says of every operation what it does, and of the admin ones who may', () => {
    for (const [name, { summary, security }] of operations()) {
      assert.ok(summary !== undefined && summary.length > 5, name)
      const isAdmin = name.includes('/v1/admin/')
      assert.deepEqual(security, isAdmin ? [{ admin: [] }] : undefined, name)
    }
    assert.ok(document.components.securitySchemes['admin'])
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

  it('tells of codes that the catalogue has', () => {
    for (const code of ['malformed', 'too_large', 'unknown_recipient', 'unauthorized', 'conflict'])
      assert.ok(isErrorCode(code))
  })
})
