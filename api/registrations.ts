/**
 * A phone number gets a code. The answer and its time are the same whether the number is known or not: nobody looks
 * for an account here.
 */
import { randomInt } from 'node:crypto'
import { Type } from 'typebox'
import type { Secret } from '../core/config.ts'
import { codeHashOf, parsePhone, phoneHashOf } from '../core/phone.ts'
import type { Ports } from '../core/ports.ts'
import { limits } from '../topics/limits.ts'
import type { App } from './app.ts'
import { addressOf, HOUR_MS, limitTo } from './limit.ts'
import { ProblemFault } from './problem.ts'
import { BODY_BYTES_SMALL, type Bounds, closed, phone, problems } from './shapes.ts'

const answer = Type.Object({ digits: Type.Integer(), expiresInS: Type.Integer(), resendInS: Type.Integer() })
const SENT = {
  digits: limits.codeDigits,
  expiresInS: limits.codeTtlMs / 1_000,
  resendInS: limits.codeResendMs / 1_000,
}
const MINUTE_MS = 60_000

/** The number as E.164. Throws a ProblemFault. */
export function phoneOf(text: string): string {
  const number = parsePhone(text)
  if (number !== undefined) return number
  throw new ProblemFault(
    'phone_invalid',
    'That is no phone number that gets text messages; write it with + and its country code.',
  )
}

/** What stands for the number where codes and limits are kept. */
export const phoneKeyOf = (secret: Secret, number: string): string =>
  Buffer.from(phoneHashOf(secret, number)).toString('base64url')

/** Takes from every bucket, the caller's first: a caller that is refused costs the others nothing. */
async function limitCodes({ limiter }: Ports, bounds: Bounds, ip: string, phoneKey: string): Promise<void> {
  const address = bounds.codesPerAddressPerHourMax
  const often = 'Too many codes were asked for; wait, then ask again.'
  await limitTo(limiter, 'codes-address', addressOf(ip), address, HOUR_MS, often)
  await limitTo(limiter, 'codes-resend', phoneKey, 1, limits.codeResendMs, 'A code is on its way; wait for it.')
  const number = limits.codesPerNumberPerHourMax
  await limitTo(limiter, 'codes-number', phoneKey, number, HOUR_MS, 'Too many codes went to this number; wait.')
  await limitTo(limiter, 'codes-all', '', bounds.codesPerMinuteMax, MINUTE_MS, 'Many people register now; wait.')
}

export function registrationRoutes(app: App, ports: Ports, phoneKey: Secret, bounds: Bounds): void {
  const { codes, sms, log, now } = ports
  app.post(
    '/v1/registrations',
    {
      bodyLimit: BODY_BYTES_SMALL,
      schema: {
        summary: 'Send a code to a phone number',
        tags: ['accounts'],
        body: Type.Object({ phone }, closed),
        response: { 202: answer, ...problems },
      },
    },
    async (request, reply) => {
      const number = phoneOf(request.body.phone)
      const key = phoneKeyOf(phoneKey, number)
      await limitCodes(ports, bounds, request.ip, key)
      const code = String(randomInt(10 ** limits.codeDigits)).padStart(limits.codeDigits, '0')
      await codes.put(key, codeHashOf(phoneKey, number, code), now() + limits.codeTtlMs)
      try {
        await sms.send(number, `${code} is your Heliograph code. Tell it to nobody.`)
      } catch (error) {
        log.error({ error: (error as Error).message }, 'a text message could not be sent')
        throw new ProblemFault('overloaded', 'The text message could not be sent; ask again.')
      }
      reply.code(202).header('cache-control', 'no-store')
      return SENT
    },
  )
}
