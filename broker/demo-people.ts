/** Two people of the demo on three devices: each runs `npm run chat` as its own process; what it prints is shown. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { assertKept, BrokenPromise } from './demo-promise.ts'
import type { OwnServer } from './demo-server.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const CHAT = 'client/cli/chat.ts'
/** The rest of 80 columns beside the name. */
const SHOWN_CHARS_MAX = 67
const WAIT_MS_MAX = 10_000
const HELLO = 'The key is under the third flowerpot.'
const ANSWER = 'Then I take the key with me tonight.'
const LATER = 'And the cat sleeps in the greenhouse.'
const THROUGH = 'Water the tomatoes before you leave.'

interface Person {
  type(line: string): void
  /** Resolves with what was printed; the demo has failed when it is not within 10 s. */
  printed(pattern: RegExp): Promise<RegExpExecArray>
  quit(): Promise<void>
}

/** The chat of `name`; its lines go to `show`. It ends with this process, whatever happens. */
function openChat(
  { url, folder }: OwnServer,
  name: string,
  more: readonly string[],
  show: (line: string) => void,
): Person {
  const { PATH = '' } = process.env
  const child: ChildProcess = spawn(process.execPath, [join(ROOT, CHAT), '--as', name, '--url', url, ...more], {
    env: { PATH, DATA_DIR: folder, HELIOGRAPH_HOME: homeOf(folder) },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  process.once('exit', () => child.kill('SIGKILL'))
  const ended = new Promise<number | null>((resolve) => void child.once('close', resolve))
  let output = ''
  let shownTo = 0
  const checks = new Set<() => void>()
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output += text
    for (let end = output.indexOf('\n', shownTo); end >= 0; end = output.indexOf('\n', shownTo)) {
      show(output.slice(shownTo, end))
      shownTo = end + 1
    }
    for (const check of [...checks]) check()
  })
  return {
    type: (line) => void child.stdin?.write(`${line}\n`),
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        const late = setTimeout(() => {
          checks.delete(check)
          reject(new BrokenPromise(`${name} waited ${WAIT_MS_MAX / 1_000} s for ${pattern}`))
        }, WAIT_MS_MAX)
        const check = () => {
          const found = pattern.exec(output)
          if (found === null) return
          checks.delete(check)
          clearTimeout(late)
          resolve(found)
        }
        checks.add(check)
        check()
      }),
    async quit() {
      child.stdin?.end('/quit\n')
      assertKept((await ended) === 0, `The chat of ${name} did not end in order.`)
    },
  }
}

const cut = (line: string): string => (line.length > SHOWN_CHARS_MAX ? `${line.slice(0, SHOWN_CHARS_MAX - 1)}…` : line)

const homeOf = (folder: string): string => `${folder}-people`

/** How many bytes the server keeps, and which of `texts` are in them. */
function search(folder: string, texts: readonly string[]): { bytes: number; found: string[] } {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const files = names.map((entry) => readFileSync(join(entry.parentPath, entry.name)))
  return {
    bytes: files.reduce((sum, file) => sum + file.length, 0),
    found: texts.filter((text) => files.some((file) => file.includes(text))),
  }
}

type Open = (name: string, shown?: string, more?: readonly string[]) => Person

const read = (text: string, to: string): RegExp => new RegExp(`✓✓ to ${to}: ${text} .read.$`, 'm')
const got = (text: string, from: string): RegExp => new RegExp(`^${from}: ${text}$`, 'm')

async function talk(anna: Person, ben: Person): Promise<void> {
  anna.type('/to ben')
  await anna.printed(/^You talk with ben\.$/m)
  anna.type(HELLO)
  await ben.printed(got(HELLO, 'anna'))
  ben.type('/to anna')
  await anna.printed(read(HELLO, 'ben'))
  ben.type(ANSWER)
  await anna.printed(got(ANSWER, 'ben'))
  await ben.printed(read(ANSWER, 'anna'))
}

/** Anna's tablet is linked by its link, and has what she had. */
async function linkTablet(open: Open, anna: Person, folder: string): Promise<Person> {
  const tablet = open('anna', 'tablet', ['--link', '--folder', folder])
  const [link = ''] = await tablet.printed(/^\/link \S+$/m)
  anna.type(link)
  await tablet.printed(/^Online\.$/m)
  return tablet
}

/** The server is killed while anna writes; what she wrote is sent when it is back. */
async function throughKill(server: OwnServer, anna: Person, ben: Person, tablet: Person): Promise<void> {
  await server.kill()
  await anna.printed(/^Offline: /m)
  anna.type(THROUGH)
  await anna.printed(new RegExp(`· to ben: ${THROUGH}$`, 'm'))
  await server.restart()
  await ben.printed(got(THROUGH, 'anna'))
  await anna.printed(read(THROUGH, 'ben'))
  await tablet.printed(new RegExp(`✓+ to ben: ${THROUGH}`, 'm'))
}

/** Neither what the server keeps nor what passed on the line holds what was said; both hold a handle. */
function assertBlind(server: OwnServer, say: (text: string) => void): void {
  const texts = [HELLO, ANSWER, LATER, THROUGH]
  const { bytes, found } = search(server.folder, [...texts, 'anna'])
  assertKept(found.includes('anna'), 'The folder of the server does not even hold the handle of anna.')
  assertKept(found.length === 1, `The server can read what was said: "${found[0]}"`)
  const passed = server.tap.found([...texts, 'anna'])
  assertKept(passed.includes('anna'), 'Not even the handle of anna passed on the line.')
  assertKept(passed.length === 1, `What was said passed on the line: "${passed[0]}"`)
  say(`  The server's folder, ${(bytes / 1e6).toFixed(1)} MB of database, journal and log, was searched, and`)
  say(`  ${(server.tap.bytes() / 1e6).toFixed(2)} MB on the line: both hold handles, and nothing of what was said.`)
}

/**
 * Two people register, talk, and one links a second device; one is away for a while, the server is killed; then the
 * server's folder and the capture of the line are searched for what they said.
 */
export async function letPeopleTalk(
  server: OwnServer,
  { say, kept }: { say: (text: string) => void; kept: (text: string) => void },
): Promise<void> {
  const home = homeOf(server.folder)
  process.once('exit', () => rmSync(home, { recursive: true, force: true }))
  const open: Open = (name, shown = name, more = []) =>
    openChat(server, name, more, (line) => say(`    ${shown.padEnd(7)}| ${cut(line.trim())}`))
  const anna = open('anna')
  let ben = open('ben')
  await Promise.all([anna.printed(/^Online\.$/m), ben.printed(/^Online\.$/m)])
  await talk(anna, ben)
  say('  anna links a second device, her tablet.')
  const tablet = await linkTablet(open, anna, join(home, 'tablet'))
  await ben.quit()
  say('  ben is gone; anna writes, and ben comes back.')
  anna.type(LATER)
  await anna.printed(new RegExp(`✓ to ben: ${LATER}$`, 'm'))
  ben = open('ben', 'ben', ['--to', 'anna'])
  await ben.printed(got(LATER, 'anna'))
  await anna.printed(new RegExp(`✓✓ to ben: ${LATER}`, 'm'))
  say('  The server is killed; anna writes; it is started again.')
  await throughKill(server, anna, ben, tablet)
  await Promise.all([anna.quit(), ben.quit(), tablet.quit()])
  assertBlind(server, say)
  kept('Read by the two of them on three devices, and by nobody between.')
  rmSync(home, { recursive: true, force: true })
}
