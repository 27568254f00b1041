/**
 * Idempotency-Key: a write that is asked again, because its answer was lost, is answered again and not done again. The
 * answers hold tokens, so they are in memory only: a restart forgets them. Bounded by their number, their bytes and
 * their age; the oldest go.
 *
 * An answer is kept by caller, key and request. The caller is who has the token; without one, the identity key or the
 * phone number of the body, or the address. The look-up by token comes before the token is judged, so that the answer
 * of POST /v1/tokens can be fetched with the token that it replaced.
 */
import { createHash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '../core/ports.ts'
import { limits } from '../topics/limits.ts'
import type { App } from './app.ts'
import { bearerHash } from './bearer.ts'
import { addressOf } from './limit.ts'
import { ProblemFault } from './problem.ts'

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly payload: string
}
interface Kept {
  readonly request: string
  readonly expiresMs: number
  answer: Answer | undefined
}

const BYTES_MAX = 16 * 1024 * 1024
const KEY = new RegExp(`^[\\x21-\\x7e]{1,${limits.idempotencyKeyCharsMax}}$`)
const HEADERS_KEPT = ['content-type', 'cache-control', 'www-authenticate']
const WRITES = new Set(['POST', 'PUT', 'PATCH', 'DELETE'])
/** What a kept answer takes beside its payload. */
const ANSWER_BYTES = 500

const recalled = new WeakMap<FastifyRequest, Kept>()

/** Was this request asked before, with the token that it has? Then nobody else has to know the token. */
export const isRecalled = (request: FastifyRequest): boolean => recalled.has(request)

/** The header; undefined without one. */
function keyOf(request: FastifyRequest): string | undefined {
  const key = request.headers['idempotency-key']
  if (key === undefined || !WRITES.has(request.method)) return undefined
  if (typeof key === 'string' && KEY.test(key)) return key
  throw new ProblemFault(
    'malformed',
    `An Idempotency-Key has 1 to ${limits.idempotencyKeyCharsMax} printable characters without spaces.`,
  )
}

const digest = (...parts: string[]): string => createHash('sha256').update(JSON.stringify(parts)).digest('base64url')

function requestOf({ method, url, body }: FastifyRequest): string {
  return digest(method, url, JSON.stringify(body ?? null))
}

function anonymousCaller({ body, ip }: FastifyRequest): string {
  const { identityKey, phone } = (body ?? {}) as { identityKey?: unknown; phone?: unknown }
  return `without token ${String(identityKey ?? phone ?? addressOf(ip))}`
}

/** Only what is final is kept: what may go another way next time may be asked again. */
const isFinal = (status: number): boolean => status < 500 && status !== 429

export interface Answers {
  find(id: string): Kept | undefined
  begin(id: string, request: string): Kept
  finish(id: string, kept: Kept, answer: Answer | undefined): void
}

/** The answers of one process. */
export function createAnswers(now: Clock, answersMax: number, bytesMax = BYTES_MAX): Answers {
  /** Oldest first. */
  const kept = new Map<string, Kept>()
  let bytes = 0
  const sizeOf = ({ answer }: Kept): number => ANSWER_BYTES + (answer?.payload.length ?? 0)

  function drop(id: string, entry: Kept): void {
    if (kept.delete(id)) bytes -= sizeOf(entry)
  }

  function makeRoom(): void {
    for (const [id, entry] of kept) {
      if (entry.expiresMs > now() && kept.size <= answersMax && bytes <= bytesMax) return
      // What is under way is bounded by the requests that are, and is needed.
      if (entry.answer !== undefined) drop(id, entry)
    }
  }

  return {
    find(id) {
      const entry = kept.get(id)
      return entry !== undefined && entry.expiresMs > now() ? entry : undefined
    },
    begin(id, request) {
      const entry: Kept = { request, expiresMs: now() + limits.idempotencyTtlMs, answer: undefined }
      kept.set(id, entry)
      bytes += sizeOf(entry)
      makeRoom()
      return entry
    },
    finish(id, entry, answer) {
      if (kept.get(id) !== entry) return
      drop(id, entry)
      if (answer === undefined) return
      entry.answer = answer
      kept.set(id, entry)
      bytes += sizeOf(entry)
      makeRoom()
    },
  }
}

function recall(kept: Kept, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (kept.request !== requestOf(request)) {
    throw new ProblemFault('idempotency_reused', 'This Idempotency-Key was sent with another request; make a new one.')
  }
  if (kept.answer === undefined) {
    throw new ProblemFault('in_progress', 'The same request is being worked on; ask again for its answer.', 1)
  }
  const { status, headers, payload } = kept.answer
  return reply
    .code(status)
    .headers(headers)
    .header('idempotency-replayed', 'true')
    .send(payload === '' ? null : payload)
}

/** Makes the writes of `app` idempotent under their Idempotency-Key. Comes before `requireDevice`. */
export function answerOnce(app: App, answers: Answers): void {
  const begun = new WeakMap<FastifyRequest, { readonly id: string; readonly kept: Kept }>()

  app.addHook('onRequest', async (request) => {
    const key = keyOf(request)
    const hash = key === undefined ? undefined : bearerHash(request)
    const kept = key !== undefined && hash !== undefined && answers.find(digest(hash.toString('base64url'), key))
    if (kept) recalled.set(request, kept)
  })
  // The body is there, and nobody has judged it yet.
  app.addHook('preValidation', async (request, reply) => {
    const key = keyOf(request)
    if (key === undefined) return
    const before = recalled.get(request)
    if (before !== undefined) return recall(before, request, reply)
    const hash = bearerHash(request)
    const id = digest(hash?.toString('base64url') ?? anonymousCaller(request), key)
    const other = answers.find(id)
    if (other !== undefined) return recall(other, request, reply)
    begun.set(request, { id, kept: answers.begin(id, requestOf(request)) })
  })
  app.addHook('onSend', async (request, reply, payload) => {
    const own = begun.get(request)
    if (own === undefined) return payload
    const isKept = isFinal(reply.statusCode) && (payload === null || typeof payload === 'string')
    const headers = Object.fromEntries(
      HEADERS_KEPT.flatMap((name) => (reply.hasHeader(name) ? [[name, String(reply.getHeader(name))]] : [])),
    )
    const answer = { status: reply.statusCode, headers, payload: (payload as string | null) ?? '' }
    answers.finish(own.id, own.kept, isKept ? answer : undefined)
    return payload
  })
}
