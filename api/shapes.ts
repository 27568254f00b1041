/** Pieces of schemas that the routes of accounts share, and how bytes stand in JSON. */
import { Type } from 'typebox'
import type { Config } from '../core/config.ts'
import { REGISTRATION_ID_MAX } from '../topics/ids.ts'
import { limits } from '../topics/limits.ts'
import { ProblemFault, problemSchema } from './problem.ts'

/** Settings that bound what callers may ask for. */
export type Bounds = Pick<
  Config,
  'codesPerMinuteMax' | 'codesPerAddressPerHourMax' | 'codeTriesPerAddressPerHourMax' | 'linksPerAddressPerHourMax'
>

/** The body of a route that carries no keys. */
export const BODY_BYTES_SMALL = 16 * 1024
export const closed = { additionalProperties: false }

const problem = {
  description: 'A problem, as RFC 9457 writes it.',
  content: { 'application/problem+json': { schema: problemSchema } },
}
export const problems = { '4xx': problem, '5xx': problem }
export const none = { 204: Type.Null(), ...problems }

/** No body, or an empty object. */
export const emptyBody = Type.Union([Type.Null(), Type.Object({}, closed)])

const BASE64URL = '^[A-Za-z0-9_-]*$'
/** Bytes as base64url without padding. */
export function bytesText(bytesMin: number, bytesMax: number) {
  const chars = (bytes: number): number => Math.ceil((bytes * 4) / 3)
  return Type.String({ pattern: BASE64URL, minLength: chars(bytesMin), maxLength: chars(bytesMax) })
}

/** The bytes of a text that its schema has let through. Throws a ProblemFault for another way to write the same. */
export function bytesOf(text: string, name: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64url')
  if (bytes.toString('base64url') === text) return new Uint8Array(bytes)
  throw new ProblemFault('malformed', `\`${name}\` is not base64url without padding.`)
}

export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')

export const deviceId = Type.String({ pattern: `^[a-z0-9]{1,${limits.deviceIdCharsMax}}$` })
export const uuid = Type.String({ format: 'uuid' })
export const handle = Type.String({
  pattern: `^[a-z][a-z0-9_.]{${limits.handleCharsMin - 1},${limits.handleCharsMax - 1}}$`,
})
export const phone = Type.String({ minLength: 1, maxLength: limits.phoneCharsMax, description: 'With country code.' })
export const registrationId = Type.Integer({ minimum: 1, maximum: REGISTRATION_ID_MAX })
export const name = Type.String({
  ...bytesText(1, limits.deviceNameBytesMax),
  description: 'Sealed by the owner: the server cannot read it.',
})
export const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10)
