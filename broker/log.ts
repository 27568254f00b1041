/**
 * The log: pino, JSON lines on stdout; short lines for people when stdout is a terminal. Written in the background
 * and bounded, so that a reader that stalls does not stall the broker. Ids and numbers only; what must not be printed
 * is removed by name.
 */
import { writeSync } from 'node:fs'
import pino, { type LoggerOptions } from 'pino'
import { ConfigFault } from '../core/config.ts'
import type { Log } from '../core/ports.ts'

const LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'silent']
const SECRETS = ['token', 'adminToken', 'password', 'observerPassword', 'authorization', 'payload', 'phone']
const BUFFER_BYTES_MAX = 4 * 1024 * 1024
const FLUSH_MS_MAX = 500

export interface ProcessLog extends Log {
  /** Resolves when what is buffered was written, or could not be within FLUSH_MS_MAX. */
  flush(): Promise<void>
  /** One line to stderr, at once: the process ends behind it, and nothing else may happen before. */
  last(facts: object, text: string): void
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
  // A reader that went away (a closed pipe, a closed terminal) is no reason to end.
  out.on('error', () => undefined)
  // pino calls it when the process exits, and it tries for ever while a reader is stalled or gone: `flush` is bounded.
  out.flushSync = () => undefined
  const shape = forPeople ? humanLine : (line: string) => line
  const options: LoggerOptions = {
    level,
    base: { node },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    redact: { paths: [...SECRETS, ...SECRETS.map((name) => `*.${name}`)], censor: '(hidden)' },
  }
  const logger = pino(options, forPeople ? { write: (line: string) => void out.write(shape(line)) } : out)
  return {
    info: (facts, text) => logger.info(facts, text),
    warn: (facts, text) => logger.warn(facts, text),
    error: (facts, text) => logger.error(facts, text),
    flush: () =>
      new Promise((resolve) => {
        setTimeout(resolve, FLUSH_MS_MAX)
        out.flush(() => resolve())
      }),
    last(facts, text) {
      pino(options, { write: (line: string) => void writeToStderr(shape(line)) }).fatal(facts, text)
    },
  }
}

function writeToStderr(line: string): void {
  try {
    writeSync(2, line)
  } catch {
    // Nobody is there to read it.
  }
}
