/** The HTTP API assembled: limits, problems, OpenAPI, and the routes in the order of the document at /docs/json. */

import swagger from '@fastify/swagger'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify from 'fastify'
import type { Registry } from 'prom-client'
import type { Secret } from '../core/config.ts'
import type { Ports } from '../core/ports.ts'
import { adminRoutes } from './admin.ts'
import type { App } from './app.ts'
import { healthRoutes, type Missing } from './health.ts'
import { metricsRoutes } from './metrics.ts'
import { answerProblems } from './problem.ts'

export interface ApiParts {
  readonly ports: Ports
  readonly adminToken: Secret
  readonly version: string
  readonly registry: Registry
  /** What /readyz asks: empty means ready. */
  missing(): readonly Missing[]
}

/** A page of provisioning with ids of full length is a tenth of it. */
const BODY_BYTES_MAX = 256 * 1024
const REQUEST_TIMEOUT_MS = 30_000

/** The API, not listening yet. Unknown fields of a request are refused, and nothing is coerced. */
export async function createApi(parts: ApiParts): Promise<App> {
  const app: App = fastify({
    logger: false,
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    return503OnClosing: true,
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: false } },
  }).withTypeProvider<TypeBoxTypeProvider>()
  answerProblems(app, parts.ports.log)
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Heliograph',
        version: parts.version,
        description: 'Control plane. Messages travel over MQTT: topics/asyncapi.yaml.',
        license: { name: 'AGPL-3.0-only', identifier: 'AGPL-3.0-only' },
      },
      components: { securitySchemes: { admin: { type: 'http', scheme: 'bearer', description: 'ADMIN_TOKEN' } } },
      tags: [
        { name: 'health', description: 'For those who run it.' },
        { name: 'admin', description: 'For those who own the devices.' },
      ],
    },
  })
  healthRoutes(app, parts.missing)
  metricsRoutes(app, parts.registry)
  adminRoutes(app, parts.ports, parts.adminToken)
  app.get('/docs/json', { schema: { summary: 'This document', tags: ['health'] } }, () => app.swagger())
  await app.ready()
  return app
}
