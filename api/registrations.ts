/**
 * A phone number gets a code. The answer and its time are the same whether the number is known or not: nobody looks
 * for an account here.
 */
import { randomInt } from 'node:crypto'
import { Type } from 'typebox'
import type { Secret } from '../core/config.ts'
import { codeHashOf, parsePhone, phoneHashOf } from '../core/phone.ts'
import type { Ports, Sms } from '../core/ports.ts'
import { limits } from '../topics/limits.ts'
import type { App } from './app.ts'
import { addressOf, type Bucket, HOUR_MS, limitTo, limitWhile } from './limit.ts'
import { ProblemFault } from './problem.ts'
import { BODY_BYTES_SMALL, type Bounds, closed, phone, problems } from './shapes.ts'

const answer = Type.Object({ digits: Type.Integer(), expiresInS: Type.Integer(), resendInS: Type.Integer() })
const SENT = {
  digits: limits.codeDigits,
  expiresInS: limits.codeTtlMs / 1_000,
  resendInS: limits.codeResendMs / 1_000,
}
const MINUTE_MS = 60_000
/** What may be logged of an error: one word, in which no digits could be a phone number. */
const NAME = /^(?!.*\d{7})[A-Za-z0-9][\w.-]{0,63}$/

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

/**
 * `send`, when the number got no code just now. One of two side by side is refused. When it fails, no code is on its
 * way and the next one may be asked for at once; the buckets of an hour and a minute keep it: a provider may count it.
 */
async function limitCodes({ limiter }: Ports, bounds: Bounds, phoneKey: string, send: () => Promise<void>) {
  const most = limits.codesPerNumberPerHourMax
  const soon: Bucket = ['codes-resend', phoneKey, 1, limits.codeResendMs, 'A code is on its way; wait for it.']
  const often: Bucket = ['codes-number', phoneKey, most, HOUR_MS, 'Too many codes went to this number; wait.']
  await limitWhile(limiter, soon, async () => {
    await limitWhile(limiter, often, () =>
      limitTo(limiter, 'codes-all', '', bounds.codesPerMinuteMax, MINUTE_MS, 'Many people register now; wait.'),
    )
    await send()
  })
}

/** Rejects when the provider does, or has not answered in time: also one that does not look at the signal. */
async function sendInTime(sms: Sms, number: string, code: string, timeoutMs: number): Promise<void> {
  const text = `${code} is your Heliograph code. Tell it to nobody.`
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(new DOMException('no answer in time', 'TimeoutError')), timeoutMs)
  const { signal } = late
  const end = new Promise<never>((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  try {
    await Promise.race([sms.send(number, { text, code }, signal), end])
  } finally {
    clearTimeout(timer)
  }
}

/** Name and code of what a provider's adapter threw. Never its message, which may hold the phone number. */
function namesOf(error: unknown): { error: string; code?: string } {
  const { name, code } = Object(error) as { name?: unknown; code?: unknown }
  const isName = (value: unknown): value is string | number =>
    (typeof value === 'string' || typeof value === 'number') && NAME.test(String(value))
  return { error: isName(name) ? String(name) : 'Error', ...(isName(code) ? { code: String(code) } : {}) }
}

export function registrationRoutes(
  app: App,
  ports: Ports,
  phoneKey: Secret,
  bounds: Bounds,
  smsTimeoutMs: number = limits.smsTimeoutMs,
): void {
  const { codes, limiter, sms, log, now } = ports
  const sendCode = async (number: string, key: string): Promise<void> => {
    const code = String(randomInt(10 ** limits.codeDigits)).padStart(limits.codeDigits, '0')
    // Before it is sent: who reads it can use it, also when it comes late and nobody waits for it here.
    await codes.put(key, codeHashOf(phoneKey, number, code), now() + limits.codeTtlMs)
    try {
      await sendInTime(sms, number, code, smsTimeoutMs)
    } catch (error) {
      log.error(namesOf(error), 'a text message could not be sent')
      throw new ProblemFault('overloaded', 'The text message could not be sent; ask again.')
    }
  }
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
      // The caller's bucket first: a caller that is refused costs the others nothing.
      const often = 'Too many codes were asked for; wait, then ask again.'
      await limitTo(limiter, 'codes-address', addressOf(request.ip), bounds.codesPerAddressPerHourMax, HOUR_MS, often)
      await limitCodes(ports, bounds, key, () => sendCode(number, key))
      reply.code(202).header('cache-control', 'no-store')
      return SENT
    },
  )
}
