/** The HTTP API assembled: limits, problems, OpenAPI, and the routes in the order of the document at /docs/json. */

import swagger from '@fastify/swagger'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify from 'fastify'
import type { Registry } from 'prom-client'
import type { Secret } from '../core/config.ts'
import type { DeadLetters, Ports } from '../core/ports.ts'
import { limits } from '../topics/limits.ts'
import { accountRoutes } from './account.ts'
import { adminRoutes } from './admin.ts'
import type { App } from './app.ts'
import { requireDevice } from './authorise.ts'
import { deviceRoutes } from './devices.ts'
import { docsRoutes } from './docs-page.ts'
import { healthRoutes, type Missing } from './health.ts'
import { answerOnce, createAnswers } from './idempotency.ts'
import { readJson } from './json.ts'
import { keysRoutes } from './keys.ts'
import { linkRoutes, newLinkRoutes } from './links.ts'
import { metricsRoutes } from './metrics.ts'
import { answerProblems, answerUnreadable } from './problem.ts'
import { registrationRoutes } from './registrations.ts'
import { sessionRoutes } from './sessions.ts'
import type { Bounds } from './shapes.ts'

export interface ApiParts {
  readonly ports: Ports
  readonly adminToken: Secret
  /** Phone numbers are hashed under it. */
  readonly phoneKey: Secret
  /** Undefined where there cannot be any. */
  readonly deadLetters?: DeadLetters | undefined
  readonly bounds: Bounds
  /** How long a text message may take to be sent; tests make it short. */
  readonly smsTimeoutMs?: number
  /** Where clients open MQTT over WebSocket. */
  ws(): string
  readonly version: string
  readonly registry: Registry
  /** What /readyz asks: empty means ready. */
  missing(): readonly Missing[]
  /** How long a request may take to arrive; tests make it short. */
  readonly requestTimeoutMs?: number
}

/** All prekeys of a device are nine tenths of it; a page of provisioning with ids of full length is one. */
const BODY_BYTES_MAX = 256 * 1024
const REQUEST_TIMEOUT_MS = 30_000
/** The head of a request. Node swaps the two when this one is longer than that of the whole. */
const HEAD_TIMEOUT_MS = 10_000
/** Node looks so often for requests that are late. */
const LOOK_EVERY_MS = 5_000

/** What persons' devices and those who become one may ask. */
function personRoutes(app: App, parts: ApiParts): void {
  const { ports, phoneKey, bounds, ws } = parts
  void app.register(async (scope) => {
    const open = scope as App
    answerOnce(open, createAnswers(ports.now, limits.idempotencyAnswersMax))
    registrationRoutes(open, ports, phoneKey, bounds, parts.smsTimeoutMs)
    sessionRoutes(open, { ports, phoneKey, bounds, ws })
    newLinkRoutes(open, ports, bounds)
    void open.register(async (inner) => {
      const known = inner as App
      requireDevice(known, ports)
      accountRoutes(known, ports, ws)
      deviceRoutes(known, ports)
      linkRoutes(known, ports, bounds)
      keysRoutes(known, ports)
    })
  })
}

/** The API, not listening yet. Unknown fields of a request are refused, and nothing is coerced. */
export async function createApi(parts: ApiParts): Promise<App> {
  const timeoutMs = parts.requestTimeoutMs ?? REQUEST_TIMEOUT_MS
  const app: App = fastify({
    logger: false,
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: timeoutMs,
    http: {
      headersTimeout: Math.min(HEAD_TIMEOUT_MS, timeoutMs),
      connectionsCheckingInterval: Math.min(LOOK_EVERY_MS, timeoutMs),
    },
    return503OnClosing: true,
    frameworkErrors: answerUnreadable,
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: false } },
  }).withTypeProvider<TypeBoxTypeProvider>()
  answerProblems(app, parts.ports.log)
  readJson(app)
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Heliograph',
        version: parts.version,
        description: 'Control plane. Messages travel over MQTT: topics/asyncapi.yaml.',
        license: { name: 'AGPL-3.0-only', identifier: 'AGPL-3.0-only' },
      },
      components: {
        securitySchemes: {
          admin: { type: 'http', scheme: 'bearer', description: 'ADMIN_TOKEN' },
          device: { type: 'http', scheme: 'bearer', description: 'The token of a device, from POST /v1/sessions.' },
        },
      },
      tags: [
        { name: 'accounts', description: 'Registering, devices, linking. Writes take an Idempotency-Key.' },
        { name: 'keys', description: 'Public keys that sessions between devices begin with.' },
        { name: 'health', description: 'For those who run it.' },
        { name: 'admin', description: 'For those who own the devices.' },
      ],
    },
  })
  healthRoutes(app, parts.missing)
  metricsRoutes(app, parts.registry)
  adminRoutes(app, parts.ports, parts.adminToken, parts.deadLetters)
  personRoutes(app, parts)
  docsRoutes(app)
  await app.ready()
  return app
}
