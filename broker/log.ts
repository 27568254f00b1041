/**
 * The log: pino, JSON lines on stdout; short lines for people when stdout is a terminal. Written in the background
 * and bounded, so that a reader that stalls does not stall the broker. Ids and numbers only; what must not be printed
 * is removed by name.
 */
import pino from 'pino'
import { ConfigFault } from '../core/config.ts'
import type { Log } from '../core/ports.ts'

const LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'silent']
const SECRETS = ['token', 'adminToken', 'password', 'observerPassword', 'authorization', 'payload', 'phone']
const BUFFER_BYTES_MAX = 4 * 1024 * 1024

export interface ProcessLog extends Log {
  /** Writes what is buffered, synchronously: before the process ends. */
  flush(): void
}

/** `12:03:04 warn  text  device=s1 reason=takeover` of a line of pino's. */
export function humanLine(line: string): string {
  const { level, time, msg, node: _node, ...facts } = JSON.parse(line) as Record<string, unknown>
  const parts = Object.entries(facts).map(
    ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  )
  return `${[String(time).slice(11, 19), String(level).padEnd(5), msg, ...parts].join(' ')}\n`
}

/** Throws a ConfigFault for a level that is none. `forPeople`: short lines instead of JSON. */
export function createLog(level: string, node: string, forPeople: boolean): ProcessLog {
  if (!LEVELS.includes(level)) throw new ConfigFault(`LOG_LEVEL is "${level}"; say one of ${LEVELS.join(', ')}.`)
  const out = pino.destination({ dest: 1, sync: false, maxLength: BUFFER_BYTES_MAX })
  // A reader that went away (a closed pipe) is no reason to end.
  out.on('error', () => undefined)
  const stream = forPeople ? { write: (line: string) => void out.write(humanLine(line)) } : out
  const logger = pino(
    {
      level,
      base: { node },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: [...SECRETS, ...SECRETS.map((name) => `*.${name}`)], censor: '(hidden)' },
    },
    stream,
  )
  return {
    info: (facts, text) => logger.info(facts, text),
    warn: (facts, text) => logger.warn(facts, text),
    error: (facts, text) => logger.error(facts, text),
    flush: () => out.flushSync(),
  }
}
