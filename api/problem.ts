/**
 * Problem details (RFC 9457): every answer that is not a success. `code` is a name of the error catalogue in
 * topics/errors.ts where one fits, and then `type` is a URN made of it; what HTTP itself refuses is about:blank, as
 * the RFC wants it.
 */
import { STATUS_CODES } from 'node:http'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { IntakeFault } from '../core/envelope.ts'
import type { Log } from '../core/ports.ts'
import { type ErrorCode, errorOf, RETRY_LATER } from '../topics/errors.ts'
import type { App } from './app.ts'

export const problemSchema = Type.Object(
  {
    type: Type.String({ description: 'urn:heliograph:error:<code>, or about:blank.' }),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.Optional(Type.String({ description: 'Name of an error of the catalogue.' })),
    detail: Type.String({ description: 'What to do, for people.' }),
  },
  { description: 'Problem details (RFC 9457).' },
)

/** Thrown by a handler to answer with a problem. `detail` is shown to the caller. */
export class ProblemFault extends Error {
  readonly code: ErrorCode
  /** When asking again can work, if that is known. */
  readonly retryAfterS: number | undefined
  constructor(code: ErrorCode, detail: string, retryAfterS?: number) {
    super(detail)
    this.code = code
    this.retryAfterS = retryAfterS
  }
}

const RETRY_AFTER_S = 5

function sendProblem(
  reply: FastifyReply,
  status: number,
  code: ErrorCode | undefined,
  detail: string,
  retryAfterS = RETRY_AFTER_S,
): FastifyReply {
  reply.code(status).type('application/problem+json').header('cache-control', 'no-store')
  if (status === 401) reply.header('www-authenticate', 'Bearer')
  if (code !== undefined && errorOf(code).retry === RETRY_LATER) reply.header('retry-after', retryAfterS)
  const title = STATUS_CODES[status] ?? 'Error'
  if (code === undefined) return reply.send({ type: 'about:blank', title, status, detail })
  return reply.send({ type: `urn:heliograph:error:${code}`, title, status, code, detail })
}

const isTooLarge = (error: FastifyError): boolean => error.statusCode === 413

type Failure = FastifyError | ProblemFault | IntakeFault

function onError(log: Log, error: Failure, request: FastifyRequest, reply: FastifyReply): void {
  if (error instanceof ProblemFault) {
    sendProblem(reply, errorOf(error.code).http, error.code, error.message, error.retryAfterS)
    return
  }
  // The store could not write: nothing was done, and it is known why.
  if (error instanceof IntakeFault) {
    const { http, about } = errorOf(error.code)
    log.warn({ method: request.method, route: request.routeOptions.url, code: error.code }, 'the store refused')
    sendProblem(reply, http, error.code, about)
    return
  }
  const status = error.statusCode ?? 500
  if (status >= 500) {
    log.error(
      { method: request.method, route: request.routeOptions.url, error: error.message },
      'an HTTP request failed',
    )
    sendProblem(reply, 500, undefined, 'The server failed; its log says why.')
  } else if (error.validation !== undefined) sendProblem(reply, 400, 'malformed', error.message)
  else sendProblem(reply, status, isTooLarge(error) ? 'too_large' : undefined, error.message)
}

/** What the router cannot read: Fastify would answer it in a form of its own, with the path in it. */
export function answerUnreadable(error: FastifyError, _request: FastifyRequest, reply: FastifyReply): void {
  const isLong = error.statusCode === 414
  const detail = isLong ? 'A part of the path is too long.' : 'The path is not percent-encoded as it has to be.'
  sendProblem(reply, isLong ? 414 : 400, undefined, detail)
}

/** Makes every error of `app` a problem, and every path that it does not serve. */
export function answerProblems(app: App, log: Log): void {
  app.setErrorHandler<Failure>((error, request, reply) => onError(log, error, request, reply))
  app.setNotFoundHandler((request, reply) =>
    sendProblem(
      reply,
      404,
      undefined,
      `Nothing is served at ${request.method} ${request.url.split('?')[0]}; see /docs/json.`,
    ),
  )
}
