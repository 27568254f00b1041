/**
 * Reads the body of a request: JSON in UTF-8 and nothing else. Stricter than JSON.parse, because two readers of one
 * text must not read two things: no name twice in an object, none that means something to the language, no depth.
 */
import type { FastifyRequest } from 'fastify'
import type { App } from './app.ts'
import { ProblemFault } from './problem.ts'

const DEPTH_MAX = 16
const REFUSED_NAMES = new Set(['__proto__', 'constructor', 'prototype'])
const UTF8 = /;\s*charset\s*=\s*"?utf-8"?\s*(;|$)/i

const malformed = (detail: string): ProblemFault => new ProblemFault('malformed', detail)
const unsupported = (detail: string): Error => Object.assign(new Error(detail), { statusCode: 415 })

/** Where the string that begins at `start` ends. */
function endOfString(text: string, start: number): number {
  let at = start + 1
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1
  return at
}

/** Judges a text that is JSON. */
function checkNames(text: string): void {
  /** The names of each open object; undefined for an array. */
  const open: (Set<string> | undefined)[] = []
  let isName = false
  for (let at = 0; at < text.length; at++) {
    const char = text[at]
    if (char === '{' || char === '[') {
      open.push(char === '{' ? new Set() : undefined)
      if (open.length > DEPTH_MAX) throw malformed(`The body is nested deeper than ${DEPTH_MAX}.`)
      isName = char === '{'
    } else if (char === '}' || char === ']') {
      open.pop()
      isName = false
    } else if (char === ',') isName = open.at(-1) !== undefined
    else if (char === '"') {
      const end = endOfString(text, at)
      if (isName) addName(open.at(-1) as Set<string>, JSON.parse(text.slice(at, end + 1)) as string)
      isName = false
      at = end
    }
  }
}

function addName(names: Set<string>, name: string): void {
  if (REFUSED_NAMES.has(name)) throw malformed(`The body has a property "${name}".`)
  if (names.has(name)) throw malformed('The body has a property twice.')
  names.add(name)
}

/** The value of a JSON text as bytes; undefined for none. Throws a ProblemFault. */
export function parseJson(bytes: Uint8Array): unknown {
  if (bytes.length === 0) return undefined
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw malformed('The body is not UTF-8.')
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw malformed('The body is not JSON.')
  }
  checkNames(text)
  return value
}

function refuseEncodings({ headers }: FastifyRequest): void {
  const type = headers['content-type'] ?? ''
  if (/charset/i.test(type) && !UTF8.test(type)) throw unsupported('Send the body in UTF-8.')
  const encoding = headers['content-encoding'] ?? 'identity'
  if (encoding !== 'identity') throw unsupported('Send the body as it is, without Content-Encoding.')
}

/** Makes `app` take JSON bodies, and no others: another media type is 415. */
export function readJson(app: App): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
    refuseEncodings(request)
    return parseJson(body)
  })
}
