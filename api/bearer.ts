/** The bearer token of a request, as what is stored of it. */
import { createHash } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import { limits } from '../topics/limits.ts'

/** SHA-256 of the token; undefined when there is none that could be one. */
export function bearerHash(request: FastifyRequest): Buffer | undefined {
  const [scheme = '', token = '', ...more] = (request.headers.authorization ?? '').split(' ')
  if (scheme.toLowerCase() !== 'bearer' || token === '' || more.length > 0) return undefined
  if (token.length > limits.tokenBytesMax) return undefined
  return createHash('sha256').update(token).digest()
}
