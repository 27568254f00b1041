/** Before the chat: opening the folder, and becoming somebody, by a code or as a further device. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ClientFault } from '../faults.ts'
import type { Client, Me, openClient as OpenClient, Unlock } from '../index.ts'
import { OptionFault, type Options, StartFault } from './options.ts'
import { clean } from './screen.ts'
import { askHidden, type Terminal } from './terminal.ts'

/** What the chat keeps beside the database: nothing secret. */
interface Kept {
  readonly url: string
  readonly hasPassphrase: boolean
}

const KEPT_FILE = 'chat.json'
const URL_DEFAULT = 'http://127.0.0.1:8080'
const SMS_FILE = 'sms-console.jsonl'
const CODE_WAIT_MS = 2_000
const CODE_LOOK_EVERY_MS = 50
const CODE_AGE_MS_MAX = 600_000
const CODE_TRIES_MAX = 3

function readKept(folder: string): Kept | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, KEPT_FILE), 'utf8')) as Kept
  } catch {
    return undefined
  }
}

/** Replaced as a whole: half of it is never read. */
function writeKept(folder: string, kept: Kept): void {
  const file = join(folder, KEPT_FILE)
  writeFileSync(`${file}.new`, `${JSON.stringify(kept)}\n`, { mode: 0o600 })
  renameSync(`${file}.new`, file)
}

async function unlockOf(options: Options, kept: Kept | undefined): Promise<Unlock> {
  const { passphrase, folder } = options
  if (passphrase !== undefined) return { passphrase }
  if (!options.askPassphrase && kept?.hasPassphrase !== true) return { keyFile: `${folder}.key` }
  if (process.stdin.isTTY !== true) throw new OptionFault('Set HELIOGRAPH_PASSPHRASE: there is no terminal to ask on.')
  const typed = await askHidden('Passphrase: ')
  if (typed === undefined || typed === '') throw new StartFault('Nothing was opened: there was no passphrase.')
  if (kept === undefined && (await askHidden('Once more: ')) !== typed) {
    throw new StartFault('The two differ; begin again.')
  }
  return { passphrase: typed }
}

export interface Opened {
  readonly client: Client
  /** An account stays with the server it was made on. */
  readonly url: string
  readonly kept: Kept
}

/** Opens the folder, or makes it. */
export async function openFolder(options: Options, openClient: typeof OpenClient): Promise<Opened> {
  const { folder } = options
  const kept = readKept(folder)
  const unlock = await unlockOf(options, kept)
  const url = kept?.url ?? options.url ?? URL_DEFAULT
  // The key file lies beside the folder, so what is above has to be there.
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const client = openClient({ folder, unlock, url })
  return { client, url, kept: { url, hasPassphrase: 'passphrase' in unlock } }
}

const isHere = (url: string): boolean => /^(127\.[\d.]+|localhost|\[::1\])$/.test(new URL(url).hostname)

interface TextMessage {
  readonly phone: string
  readonly code: string
  readonly ms: number
}

/** The newest code that the console adapter kept for this number since then. */
export function consoleCode(file: string, phone: string, sinceMs: number): string | undefined {
  if (!existsSync(file)) return undefined
  const lines = readFileSync(file, 'utf8').split('\n')
  const messages = lines.flatMap((line) => (line === '' ? [] : [JSON.parse(line) as TextMessage]))
  const found = messages.findLast((message) => message.phone === phone && message.ms >= sinceMs)
  return found !== undefined && /^\d{4,10}$/.test(found.code) ? found.code : undefined
}

/** A server of this machine keeps what it does not send; its answer may come before the code is in the file. */
async function findCode(options: Options, url: string, sinceMs: number): Promise<string | undefined> {
  if (!isHere(url)) return undefined
  const file = join(options.dataFolder, SMS_FILE)
  const phone = options.phone.replace(/[^+\d]/g, '')
  const untilMs = performance.now() + CODE_WAIT_MS
  while (existsSync(file) && performance.now() < untilMs) {
    const code = consoleCode(file, phone, sinceMs)
    if (code !== undefined) return code
    await delay(CODE_LOOK_EVERY_MS)
  }
  // Asked for again too soon, the code of before is the one that counts.
  return consoleCode(file, phone, Date.now() - CODE_AGE_MS_MAX)
}

/** Asks for a code; says what came of it. Too soon for another one is no failure: the one of before is good. */
async function askForCode({ client, url }: Opened, phone: string): Promise<string> {
  try {
    await client.askCode(phone)
    return 'A code was sent to that number.'
  } catch (error) {
    const { code, message } = error as { code?: string; message: string }
    if (code === 'rate_limited') return `${clean(message)} A code of before may still be good.`
    if (code !== 'unreachable') throw error
    throw new StartFault(
      `No server answers at ${url}: ${clean(message)}\nStart one with npm start, or name it with --url.`,
    )
  }
}

async function register(opened: Opened, options: Options, terminal: Terminal): Promise<Me> {
  const { client, url } = opened
  const { phone, name } = options
  const fromMs = Date.now()
  const answer = await askForCode(opened, phone)
  const found = await findCode(options, url, fromMs)
  if (found !== undefined) {
    terminal.print(`Registering ${phone} as ${name}. The code ${found} was in ${join(options.dataFolder, SMS_FILE)}.`)
    return client.register({ phone, code: found, handle: name })
  }
  terminal.print(`Registering ${phone} as ${name}. ${answer}`)
  for (let tries = 1; ; tries++) {
    if (!terminal.isRich) terminal.print('Type the code:')
    const code = (await terminal.ask('Type the code: '))?.trim()
    if (code === undefined) throw new StartFault('Not registered: no code was typed.')
    try {
      return await client.register({ phone, code, handle: name })
    } catch (error) {
      if ((error as { code?: string }).code !== 'code_wrong' || tries === CODE_TRIES_MAX) throw error
      terminal.print(clean((error as Error).message))
    }
  }
}

async function link({ client, url }: Opened, terminal: Terminal): Promise<Me> {
  try {
    const { uri, linked } = await client.offerLink()
    terminal.print('On the first device of your account, type this in its chat, or scan it:')
    terminal.printRaw(`/link ${uri}`)
    await printQr(terminal, uri)
    terminal.print('Waiting for it …')
    return await linked
  } catch (error) {
    if ((error as { code?: string }).code !== 'unreachable') throw error
    throw new StartFault(`No server answers at ${url}: ${clean((error as Error).message)}`)
  }
}

/** A QR code, where somebody can scan it. */
export async function printQr(terminal: Terminal, data: string | Uint8Array): Promise<void> {
  if (!terminal.isRich) return
  const { default: qrcode } = await import('qrcode')
  const segments = typeof data === 'string' ? data : [{ data: Uint8ClampedArray.from(data), mode: 'byte' as const }]
  terminal.printRaw(await qrcode.toString(segments, { type: 'terminal', small: true, errorCorrectionLevel: 'L' }))
}

/** Who this is; registers or links first where there is no account yet. */
export async function beSomebody(opened: Opened, options: Options, terminal: Terminal): Promise<Me> {
  const me = opened.client.me()
  if (me === undefined) {
    const made = await (options.link ? link(opened, terminal) : register(opened, options, terminal))
    writeKept(options.folder, opened.kept)
    return made
  }
  if (options.link) throw new ClientFault('already_registered')
  if (options.url !== undefined && options.url !== opened.url) {
    terminal.print(`This account belongs to the server at ${opened.url}; --url is for a new one.`)
  }
  return me
}
