/** What `npm run chat` was told: options and environment as one record. Pure. */
import { createHash } from 'node:crypto'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { isHandle } from '../../topics/ids.ts'

export const HELP = `Usage: npm run chat -- --as NAME [options]

  --as NAME        who you are: your handle, and the name of your folder
  --to NAME        begin the conversation with this person
  --url URL        the server, http://127.0.0.1:8080 without it; kept once you
                   are registered
  --phone NUMBER   the number to register, like +4915112345678; without it one
                   that belongs to nobody is made from the name
  --folder FOLDER  where keys and messages are kept; ~/.heliograph/NAME without
                   it, or HELIOGRAPH_HOME/NAME
  --passphrase     ask for a passphrase instead of using a key file beside the
                   folder; or set HELIOGRAPH_PASSPHRASE
  --link           become a further device of an account that is there: shows
                   what to type on its first device
  --help           print this

Lines that you type go to the person you talk with; /help lists the commands.
Before a line of yours:  ·  waits here   ✓  the server has it
                         ✓✓ delivered   ✓✓ in blue, or with (read): read
Exit codes: 0 ended, 1 could not start, 2 a wrong option.
`

export interface Options {
  readonly name: string
  readonly to: string | undefined
  readonly url: string | undefined
  readonly phone: string
  readonly folder: string
  readonly askPassphrase: boolean
  readonly passphrase: string | undefined
  readonly link: boolean
  /** Where a server of this machine keeps the text messages that nobody sends. */
  readonly dataFolder: string
}

/** A wrong option; the message says which. */
export class OptionFault extends Error {}

/** The chat cannot begin; the message says why, and it ends with exit code 1. */
export class StartFault extends Error {}

/** An area code of North America that is given to nobody: names rarely meet in ten million numbers. */
const PHONE_PREFIX = '+1555'
const PHONES = 10_000_000
const PHONE_DIGITS = 7

/** A number for trying things out, always the same for a name. */
export function phoneOf(name: string): string {
  const n = createHash('sha256').update(name).digest().readUInt32BE(0) % PHONES
  return PHONE_PREFIX + String(n).padStart(PHONE_DIGITS, '0')
}

type Environment = Readonly<Record<string, string | undefined>>

function checkUrl(url: string): string {
  const parsed = URL.parse(url)
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) {
    throw new OptionFault(`--url ${url} is no address; write it like http://127.0.0.1:8080.`)
  }
  return parsed.origin
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        as: { type: 'string' },
        to: { type: 'string' },
        url: { type: 'string' },
        phone: { type: 'string' },
        folder: { type: 'string' },
        passphrase: { type: 'boolean' },
        link: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values
  } catch (error) {
    throw new OptionFault(`${(error as Error).message.split('. ')[0]}; --help says what there is.`)
  }
}

/** The options, or 'help'. Throws an OptionFault. */
export function readOptions(args: readonly string[], env: Environment): Options | 'help' {
  const values = parse(args)
  if (values.help === true) return 'help'
  const { as, to, url, phone, folder } = values
  if (as === undefined) throw new OptionFault('Say who you are: npm run chat -- --as alice; --help says more.')
  const name = as.replace(/^@/, '')
  if (!isHandle(name)) {
    throw new OptionFault(`--as ${as} is no handle: 3 to 32 of a-z 0-9 _ . that begin with a letter.`)
  }
  const { HELIOGRAPH_HOME: home, HELIOGRAPH_PASSPHRASE: passphrase, DATA_DIR: dataFolder = 'data' } = env
  return {
    name,
    to,
    url: url === undefined ? undefined : checkUrl(url),
    phone: phone ?? phoneOf(name),
    folder: folder ?? join(home ?? join(homedir(), '.heliograph'), name),
    askPassphrase: values.passphrase === true,
    passphrase: passphrase === '' ? undefined : passphrase,
    link: values.link === true,
    dataFolder,
  }
}
