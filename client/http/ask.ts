/**
 * One HTTP request to the control plane and its answer, from a server that may be slow, broken or hostile: bounded
 * time, bounded bytes, no redirect followed, and every failure is an ApiFault.
 */
import { type ErrorCode, isErrorCode } from '../../topics/errors.ts'
import { ClientFault, clientCodeOf } from '../faults.ts'

/** Beside the codes of the server's catalogue. */
export type ApiFaultCode =
  | ErrorCode
  /** No answer, or one of something in between that says the server is away. Whether it was done is unknown. */
  | 'unreachable'
  /** An answer that no server of this version gives. */
  | 'bad_answer'
  /** Refused for a reason that is not in the catalogue of this version. */
  | 'refused'

/** The message is for people. `status` 0: there was no answer. */
export class ApiFault extends Error {
  readonly code: ApiFaultCode
  readonly status: number
  /** When asking again can work, if the server said so. */
  readonly retryInS: number | undefined
  constructor(code: ApiFaultCode, message: string, status = 0, retryInS?: number) {
    super(message)
    this.name = 'ApiFault'
    this.code = code
    this.status = status
    this.retryInS = retryInS
  }
}

/** What the program is told of a refusal over HTTP; other errors stay as they are. */
export function asClientFault(error: unknown): unknown {
  if (!(error instanceof ApiFault)) return error
  const { code, message, retryInS } = error
  const isOwn = code === 'unreachable' || code === 'bad_answer'
  const named = isErrorCode(code) ? clientCodeOf(code) : isOwn ? code : 'refused'
  return new ClientFault(named, message, retryInS)
}

export interface Asking {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Begins with a slash; what was put into it is safe there. */
  readonly path: string
  readonly token: string | undefined
  readonly body?: unknown
  readonly idempotencyKey?: string | undefined
  /** Statuses that are no failure. */
  readonly expected: readonly number[]
  readonly timeoutMs?: number
  readonly signal?: AbortSignal | undefined
}
export interface Answer {
  readonly status: number
  /** Undefined without a body. */
  readonly json: unknown
}

const TIMEOUT_MS = 10_000
const ANSWER_BYTES_MAX = 4 * 1024 * 1024
const DETAIL_CHARS_MAX = 500
const RETRY_IN_S_MAX = 30 * 86_400
/** What proxies say when the server behind them is away. */
const AWAY = new Set([502, 503, 504])

/** Asks `base` + path. Rejects with an ApiFault. */
export async function ask(base: string, asking: Asking): Promise<Answer> {
  const { timeoutMs = TIMEOUT_MS, signal, expected } = asking
  const late = AbortSignal.timeout(timeoutMs)
  try {
    const response = await fetch(base + asking.path, {
      method: asking.method,
      headers: headersOf(asking),
      redirect: 'manual',
      signal: signal === undefined ? late : AbortSignal.any([signal, late]),
      ...(asking.body === undefined ? {} : { body: JSON.stringify(asking.body) }),
    })
    const bytes = await readBounded(response)
    const { status } = response
    if (!expected.includes(status)) throw faultOf(response, bytes)
    return { status, json: bytes.length === 0 ? undefined : parseJson(bytes, status) }
  } catch (error) {
    if (error instanceof ApiFault) throw error
    if (signal?.aborted === true) throw new ApiFault('unreachable', 'The request was given up.')
    const why = late.aborted ? `no answer within ${timeoutMs / 1_000} s` : reasonOf(error as Error)
    throw new ApiFault('unreachable', `The server cannot be reached (${why}).`)
  }
}

function headersOf({ token, body, idempotencyKey }: Asking): Record<string, string> {
  return {
    accept: 'application/json',
    // What is bounded is what was sent: nothing to unpack.
    'accept-encoding': 'identity',
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
  }
}

async function readBounded(response: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length
    // Leaving the loop cancels the rest.
    if (bytes > ANSWER_BYTES_MAX)
      throw new ApiFault('bad_answer', 'The answer of the server is too long.', response.status)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function parseJson(bytes: Buffer, status: number): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    throw new ApiFault('bad_answer', 'The answer of the server is no JSON; look at the address.', status)
  }
}

/** What an answer that was not expected means. */
function faultOf(response: Response, bytes: Buffer): ApiFault {
  const { status, headers } = response
  const isProblem = status >= 400 && headers.get('content-type')?.startsWith('application/problem+json') === true
  if (!isProblem) {
    if (AWAY.has(status)) return new ApiFault('unreachable', `The server is away (HTTP ${status}).`, status)
    return new ApiFault(
      'bad_answer',
      `The server answered HTTP ${status}, which no API does; look at the address.`,
      status,
    )
  }
  const problem = parseJson(bytes, status) as { code?: unknown; detail?: unknown } | null
  const code = typeof problem?.code === 'string' && isErrorCode(problem.code) ? problem.code : 'refused'
  return new ApiFault(code, detailOf(problem?.detail, status), status, retryInSOf(headers.get('retry-after')))
}

/** A sentence of the server as it may stand in a terminal: no control characters, not long. */
function detailOf(detail: unknown, status: number): string {
  const text = typeof detail === 'string' ? detail.replace(/\p{C}+/gu, ' ').trim() : ''
  return text === '' ? `The server refused it (HTTP ${status}).` : text.slice(0, DETAIL_CHARS_MAX)
}

function retryInSOf(header: string | null): number | undefined {
  if (header === null || !/^[0-9]{1,9}$/.test(header)) return undefined
  return Math.min(Number(header), RETRY_IN_S_MAX)
}

/** fetch hides the socket's error in the cause, and that of several addresses deeper. */
function reasonOf(error: Error): string {
  const cause = error.cause as { code?: unknown; message?: unknown } | undefined
  return String(cause?.code ?? cause?.message ?? error.message)
}
