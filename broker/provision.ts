/**
 * `npm run provision`: makes devices in bulk on a running server, or revokes one. One line of JSON per device, as it
 * comes: {"device","user","token","number","registrationId"}. The tokens are told once, so the file is for its owner
 * alone.
 */
import { chmodSync, closeSync, fstatSync, openSync, readFileSync, writeSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { ConfigFault, readConfig } from '../core/config.ts'
import { limits } from '../topics/limits.ts'
import { type AdminClient, createAdminClient, TokenFault, tokenOf, urlOf } from './admin-client.ts'
import { ADMIN_TOKEN_FILE } from './secrets.ts'

const HELP = `Usage: npm run provision -- [options]

  --count N       how many devices (1)
  --prefix P      ids are P1, P2, ..., from the first that is free (t, s or p by kind)
  --ids FILE      ids of your own instead, one a line, at most ${limits.deviceIdCharsMax} of a-z 0-9
  --kind K        thing, service or person (thing)
  --owner H       handle of the account that owns things, or that the service devices are of (fleet)
  --numbered      the seq becomes the last level of the topics that the device receives
  --user UUID     adds devices to this person instead of making one each
  --out FILE      where the lines go, replaced if it is there; - or nothing: stdout
  --revoke ID     ends a device instead: token, connection and inbox
  --url URL       the server (http://127.0.0.1:8080, or what HTTP_HOST and HTTP_PORT say)
  --help          prints this

The admin token is ADMIN_TOKEN, or the file ${ADMIN_TOKEN_FILE} in DATA_DIR.
Example: npm run provision -- --count 200 --prefix s --kind thing --out devices.jsonl
`

const OPTIONS = {
  count: { type: 'string' },
  prefix: { type: 'string' },
  ids: { type: 'string' },
  kind: { type: 'string', default: 'thing' },
  owner: { type: 'string' },
  numbered: { type: 'boolean' },
  user: { type: 'string' },
  out: { type: 'string', default: '-' },
  revoke: { type: 'string' },
  url: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const

type Options = ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>['values']

/** Says what to do: it is printed as it stands. */
class UsageFault extends Error {}

/** Bodies of the requests, each with at most a page of devices. */
function* pagesOf(options: Options): Generator<Record<string, unknown>> {
  const { kind, owner, numbered, user, prefix } = options
  const common = { kind, owner, numbered, user }
  const page = limits.provisionPerRequestMax
  if (options.ids !== undefined) {
    if (options.count !== undefined || prefix !== undefined)
      throw new UsageFault('--ids says all ids; leave out --count and --prefix.')
    const ids = readFileSync(options.ids, 'utf8')
      .split(/\s+/)
      .filter((id) => id !== '')
    if (ids.length === 0) throw new UsageFault(`${options.ids} has no ids.`)
    for (let at = 0; at < ids.length; at += page) yield { ...common, ids: ids.slice(at, at + page) }
    return
  }
  const count = Number(options.count ?? '1')
  if (!Number.isSafeInteger(count) || count < 1)
    throw new UsageFault(`--count is "${options.count}"; give a number above 0.`)
  for (let left = count; left > 0; left -= page) yield { ...common, prefix, count: Math.min(left, page) }
}

/** Opened before anything is made: tokens that cannot be written would be lost. */
function openOut(path: string): { write(text: string): void; close(): void } {
  if (path === '-') return { write: (text) => void process.stdout.write(text), close: () => undefined }
  const file = openSync(path, 'w', 0o600)
  // A file that was there before may be for all to read.
  if (fstatSync(file).isFile()) chmodSync(path, 0o600)
  return { write: (text) => void writeSync(file, text), close: () => closeSync(file) }
}

async function provision(options: Options, admin: AdminClient): Promise<void> {
  const pages = [...pagesOf(options)]
  const out = openOut(options.out)
  let made = 0
  try {
    for (const page of pages) {
      const devices = await admin.make(page)
      out.write(devices.map((device) => `${JSON.stringify(device)}\n`).join(''))
      made += devices.length
      if (process.stderr.isTTY) process.stderr.write(`\r${made} devices`)
    }
  } finally {
    out.close()
    if (process.stderr.isTTY && made > 0) process.stderr.write('\r')
    if (made > 0)
      process.stderr.write(`${made} devices made${options.out === '-' ? '' : `, written to ${options.out}`}\n`)
  }
}

async function main(): Promise<void> {
  const { values: options } = parseArgs({ options: OPTIONS })
  if (options.help) return void process.stdout.write(HELP)
  const config = readConfig(process.env)
  const url = options.url ?? urlOf(config)
  if (!URL.canParse(url)) throw new UsageFault(`--url is "${url}"; give one like http://127.0.0.1:8080.`)
  const admin = createAdminClient(url, tokenOf(config))
  if (options.revoke === undefined) return provision(options, admin)
  await admin.revoke(options.revoke)
  process.stderr.write(`${options.revoke} is revoked\n`)
}

main().catch((error: Error) => {
  const isParse = (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS') === true
  const isUsage = isParse || [UsageFault, TokenFault, ConfigFault].some((kind) => error instanceof kind)
  const text = isParse ? `${error.message.split('. ')[0]}; --help says what there is.` : error.message
  process.stderr.write(`${text}\n`)
  process.exitCode = isUsage ? 2 : 1
})
