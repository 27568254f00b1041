/**
 * Phone numbers: one form of each (E.164), and what is kept of it. The number itself is never stored; its HMAC is,
 * under a key of the installation, because all numbers of the world can be hashed in minutes. Pure.
 */
import { createHmac } from 'node:crypto'
import { type NumberType, parsePhoneNumberFromString } from 'libphonenumber-js/max'
import { limits } from '../topics/limits.ts'
import type { Secret } from './config.ts'

/** Where a text message costs more than one to a phone, or reaches nobody. */
const REFUSED: ReadonlySet<NumberType> = new Set([
  'PREMIUM_RATE',
  'SHARED_COST',
  'PAGER',
  'UAN',
  'VOICEMAIL',
] satisfies NumberType[])

/**
 * The number as E.164, from any way to write it with its country code; undefined for anything else. Numbers that are
 * possible are taken, also those that are reserved for films and tests.
 */
export function parsePhone(text: string): string | undefined {
  if (text.length > limits.phoneCharsMax) return undefined
  const found = parsePhoneNumberFromString(text.trim(), { extract: false })
  if (found === undefined || found.ext !== undefined || !found.isPossible()) return undefined
  // Satellites and networks of no country: seldom a person, often a fraud that lives from what a message costs.
  if (found.isNonGeographic()) return undefined
  const type = found.getType()
  return type !== undefined && REFUSED.has(type) ? undefined : found.number
}

/** What stands for the number in stores: 32 bytes. */
export function phoneHashOf(key: Secret, phone: string): Uint8Array {
  return createHmac('sha256', key.reveal()).update(`phone ${phone}`).digest()
}

/** What is kept of a code that was sent to a number: 32 bytes. */
export function codeHashOf(key: Secret, phone: string, code: string): Uint8Array {
  return createHmac('sha256', key.reveal()).update(`code ${phone} ${code}`).digest()
}
