/** `/livez`: the event loop turns. `/readyz`: this process takes new work, or says what is missing. */
import { Type } from 'typebox'
import type { App } from './app.ts'

const livez = Type.Object({ status: Type.Literal('ok') })
const readyz = Type.Object({
  status: Type.Union([Type.Literal('ready'), Type.Literal('not ready')]),
  missing: Type.Array(
    Type.Object({
      what: Type.String({ description: 'intake, process, or a store.' }),
      why: Type.String({ description: 'A name of the error catalogue.' }),
      breaker: Type.Optional(Type.String({ description: 'Of a store: closed, open or half-open.' })),
    }),
  ),
})

export interface Missing {
  /** intake, process, or a store. */
  readonly what: string
  /** A name of the error catalogue. */
  readonly why: string
  /** Of a store: the state of the circuit breaker in front of it. */
  readonly breaker?: string
}

/** `missing` is asked at every /readyz: empty means ready. */
export function healthRoutes(app: App, missing: () => readonly Missing[]): void {
  app.get(
    '/livez',
    { schema: { summary: 'Does the process turn?', tags: ['health'], response: { 200: livez } } },
    async () => ({ status: 'ok' as const }),
  )
  app.get(
    '/readyz',
    { schema: { summary: 'Does it take new work?', tags: ['health'], response: { 200: readyz, 503: readyz } } },
    async (_request, reply) => {
      const found = [...missing()]
      reply.code(found.length === 0 ? 200 : 503).header('cache-control', 'no-store')
      return { status: found.length === 0 ? ('ready' as const) : ('not ready' as const), missing: found }
    },
  )
}
