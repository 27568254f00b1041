/**
 * Text messages that nobody sends: a line of the log, and a file of the last ones that only its owner can read, so that
 * a client on the same machine finds its code by itself. For trying things out, never for people.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock, Log, Sms } from '../../core/ports.ts'

const MESSAGES_KEPT_MAX = 64
const DIGITS_SHOWN = 2
export const SMS_FILE = 'sms-console.jsonl'

const masked = (phone: string): string => phone.slice(0, -DIGITS_SHOWN).replace(/\d/g, '*') + phone.slice(-DIGITS_SHOWN)

/** The lines of the run before, if any. */
async function linesOf(file: string): Promise<string[]> {
  try {
    return (await readFile(file, 'utf8')).split('\n').filter((line) => line !== '')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

/** Keeps them in `folder`, in the order of `send`. */
export function createConsoleSms(folder: string, now: Clock, log: Log): Sms {
  const file = join(folder, SMS_FILE)
  let lines: string[] | undefined
  let last: Promise<void> = Promise.resolve()

  async function keep(line: string): Promise<void> {
    const kept = [...(lines ?? (await linesOf(file))), line].slice(-MESSAGES_KEPT_MAX)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    // Replaced as a whole: a reader never sees half of it.
    await writeFile(`${file}.new`, `${kept.join('\n')}\n`, { mode: 0o600 })
    await rename(`${file}.new`, file)
    lines = kept
  }

  return {
    async send(phone, { text, code }, signal) {
      const line = JSON.stringify({ phone, text, code, ms: now() })
      const kept = last.then(() => {
        signal?.throwIfAborted()
        return keep(line)
      })
      last = kept.catch(() => undefined)
      await kept
      log.info({ to: masked(phone), code }, 'a text message was not sent but written here')
    },
  }
}
