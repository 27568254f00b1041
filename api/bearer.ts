/** Tokens: how they are made, what is stored of them, and the one that a request brings. */
import { createHash, randomBytes } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import { limits } from '../topics/limits.ts'

const TOKEN_BYTES = 32

/** What is stored of a token: its SHA-256. A token has 256 random bits, so there is nothing to guess. */
export const hashOfToken = (token: string): Buffer => createHash('sha256').update(token).digest()

/** A token and what is stored of it. */
export function newToken(): { token: string; tokenHash: Uint8Array } {
  const token = randomBytes(TOKEN_BYTES).toString('base64url')
  return { token, tokenHash: hashOfToken(token) }
}

/** What is stored of the request's bearer token; undefined when there is none that could be one. */
export function bearerHash(request: FastifyRequest): Buffer | undefined {
  const [scheme = '', token = '', ...more] = (request.headers.authorization ?? '').split(' ')
  if (scheme.toLowerCase() !== 'bearer' || token === '' || more.length > 0) return undefined
  if (token.length > limits.tokenBytesMax) return undefined
  return hashOfToken(token)
}
