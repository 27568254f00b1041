/** The chat as a person starts it: processes with pipes, a real server, and what they print. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { phoneOf, readOptions } from '../../client/cli/options.ts'
import { clean, ownLine, receivedLine, widthOf, wrap } from '../../client/cli/screen.ts'
import { type MainProcess, startMain, temporaryFolder } from '../listeners/main-process.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const ESCAPE = String.fromCharCode(27)
const LATE_MS = 15_000
const GREETING = /^You are \w+, device #1\./m

interface ChatProcess {
  type(line: string): void
  /** Resolves with the match when it was printed after what was asked for before. */
  printed(pattern: RegExp): Promise<RegExpExecArray>
  output(): string
  /** No more lines come. */
  endInput(): void
  readonly ended: Promise<number | null>
}

const running = new Set<ChildProcess>()

function startChat(args: readonly string[], env: Record<string, string>): ChatProcess {
  const { PATH = '' } = process.env
  const child = spawn(process.execPath, [join(ROOT, 'client/cli/chat.ts'), ...args], {
    cwd: ROOT,
    env: { PATH, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  running.add(child)
  let output = ''
  let readTo = 0
  const checks = new Set<() => void>()
  const take = (text: string) => {
    output += text
    for (const check of [...checks]) check()
  }
  child.stdout.setEncoding('utf8').on('data', take)
  child.stderr.setEncoding('utf8').on('data', take)
  const ended = new Promise<number | null>((resolve) => {
    child.once('close', (code) => {
      running.delete(child)
      resolve(code)
      for (const check of [...checks]) check()
    })
  })
  return {
    type: (line) => void child.stdin.write(`${line}\n`),
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        const fail = (why: string) => {
          checks.delete(check)
          clearTimeout(late)
          reject(new Error(`${args.join(' ')} ${why} ${pattern}:\n${output}`))
        }
        const late = setTimeout(fail, LATE_MS, 'did not print')
        const check = () => {
          const found = pattern.exec(output.slice(readTo))
          if (found === null) {
            if (child.exitCode !== null) fail('ended without')
            return
          }
          readTo += found.index + found[0].length
          checks.delete(check)
          clearTimeout(late)
          resolve(found)
        }
        checks.add(check)
        check()
      }),
    output: () => output,
    endInput: () => child.stdin.end(),
    ended,
  }
}

describe('npm run chat', () => {
  const { folder, clean: removeFolder } = temporaryFolder()
  const data = join(folder, 'data')
  const home = join(folder, 'home')
  const env = { DATA_DIR: data, HELIOGRAPH_HOME: home }
  let server: MainProcess
  let url: string
  let [alice, bob]: ChatProcess[] = []
  const start = (name: string, ...more: string[]) => startChat(['--as', name, ...more], env)
  const both = (): [ChatProcess, ChatProcess] => [alice as ChatProcess, bob as ChatProcess]

  before(async () => {
    server = await startMain(data)
    url = `http://127.0.0.1:${server.httpPort}`
  })
  after(() => {
    for (const child of running) child.kill('SIGKILL')
    removeFolder()
  })

  it('registers by the code that a server of this machine keeps, and says so', async () => {
    alice = start('alice', '--url', url)
    bob = start('bob', '--url', url, '--phone', '+447700900123')
    const [a] = await Promise.all([
      alice.printed(/Registering (\S+) as alice\. The code (\d{6}) was in/),
      bob.printed(/Registering \+447700900123 as bob\./),
    ])
    assert.equal(a[1], phoneOf('alice'))
    await Promise.all([alice.printed(GREETING), bob.printed(GREETING)])
    await Promise.all([alice.printed(/^Online\.$/m), bob.printed(/^Online\.$/m)])
    assert.deepEqual(readdirSync(home).sort(), ['alice', 'alice.key', 'bob', 'bob.key'])
    assert.equal(statSync(join(home, 'alice.key')).mode & 0o777, 0o600)
  }).timeout(40_000)

  it('carries text both ways, with a tick for each thing that happened to it', async () => {
    const [a, b] = both()
    a.type('/to bob')
    await a.printed(/^You talk with bob\.$/m)
    a.type('hello bob')
    await a.printed(/^ {2}· to bob: hello bob$/m)
    await b.printed(/^alice: hello bob$/m)
    await a.printed(/^ {2}✓✓ to bob: hello bob$/m)
    assert.doesNotMatch(a.output(), /hello bob \(read\)/)
    b.type('/to alice')
    await b.printed(/^You talk with alice\.\nalice: hello bob$/m)
    await a.printed(/^ {2}✓✓ to bob: hello bob \(read\)$/m)
    b.type('hello alice')
    await a.printed(/^bob: hello alice$/m)
    await b.printed(/^ {2}✓✓ to alice: hello alice \(read\)$/m)
  }).timeout(40_000)

  it('shows both the same 60 digits, in lines that fit, and keeps that they were compared', async () => {
    const digits = async (chat: ChatProcess, name: string): Promise<string> => {
      chat.type(`/verify ${name}`)
      const [lines] = await chat.printed(/^(?: {4}(?:\d{5} ){3}\d{5}\n){3}/m)
      return lines
    }
    const [a, b] = both()
    const shown = await digits(a, 'bob')
    assert.equal(await digits(b, 'alice'), shown)
    assert.ok(new Set(shown.trim().split(/\s+/)).size > 6, shown)
    a.type('/verify bob ok')
    await a.printed(/^bob is verified\.$/m)
    a.type('/who')
    await a.printed(/^\* bob: 0 unread, verified$/m)
  }).timeout(40_000)

  it('keeps what is written while the server is down, and delivers it when it is back', async () => {
    const [a, b] = both()
    server.signal('SIGTERM')
    await server.ended
    await a.printed(/^Offline: /m)
    a.type('written in the dark')
    await a.printed(/^ {2}· to bob: written in the dark$/m)
    server = await startMain(data, { HTTP_PORT: String(server.httpPort), MQTT_PORT: String(server.mqttPort) })
    await b.printed(/^alice: written in the dark$/m)
    await a.printed(/^ {2}✓✓ to bob: written in the dark/m)
  }).timeout(60_000)

  it('says what is wrong with a line, goes on, and ends with exit code 0 when its input does', async () => {
    const [a, b] = both()
    a.type('/to nobody.at.all')
    await a.printed(/^! .*\n/m)
    a.type('/dance')
    await a.printed(/^There is no \/dance; \/help lists what there is\.$/m)
    a.type('still here')
    await b.printed(/^alice: still here$/m)
    a.endInput()
    b.type('/quit')
    assert.deepEqual(await Promise.all([a.ended, b.ended]), [0, 0])
    for (const text of [a.output(), b.output()]) {
      assert.ok(!text.includes(ESCAPE))
      for (const line of text.split('\n')) assert.ok(widthOf(line) <= 80, line)
    }
  }).timeout(40_000)

  it('starts again without a server, keeps its lines, and sends them the next time', async () => {
    server.signal('SIGTERM')
    await server.ended
    alice = start('alice', '--to', 'bob', '--url', 'http://127.0.0.1:1')
    await alice.printed(/^This account belongs to the server at \S+; /m)
    await alice.printed(GREETING)
    await alice.printed(/^You talk with bob\.$/m)
    alice.type('for later')
    await alice.printed(/^ {2}· to bob: for later$/m)
    alice.type('/quit')
    assert.equal(await alice.ended, 0)

    server = await startMain(data, { HTTP_PORT: String(server.httpPort), MQTT_PORT: String(server.mqttPort) })
    alice = start('alice')
    await alice.printed(/^ {2}✓ to bob: for later$/m)
    bob = start('bob')
    await bob.printed(/^alice: for later$/m)
    await alice.printed(/^ {2}✓✓ to bob: for later$/m)
    for (const chat of both()) chat.endInput()
    assert.deepEqual(await Promise.all(both().map(({ ended }) => ended)), [0, 0])
    for (const name of readdirSync(join(home, 'alice'))) {
      const isPlain = readFileSync(join(home, 'alice', name)).includes('for later')
      assert.ok(!isPlain, `${name} holds what was written`)
    }
  }).timeout(60_000)

  it('takes a further device in and out again, and warns everybody of it', async () => {
    const first = start('alice')
    bob = start('bob', '--to', 'alice')
    await Promise.all([first.printed(/^Online\.$/m), bob.printed(/^Online\.$/m)])
    const second = start('alice', '--link', '--folder', join(home, 'second'), '--url', url)
    const [uri] = await second.printed(/^\/link \S+$/m)
    first.type(uri)
    await first.printed(/^The device belongs to your account now\.$/m)
    await second.printed(/^You are alice, device #2\./m)
    await second.printed(/^Online\.$/m)
    first.type('/devices')
    await first.printed(/^ {2}#2 {2}\w+ {2}since [\d-]+$/m)
    bob.type('to both of you')
    await Promise.all([
      first.printed(/^bob: to both of you$/m),
      second.printed(/^bob: to both of you$/m),
      bob.printed(/^! The devices of alice changed: new: #2\.$/m),
    ])
    first.type('/remove #2')
    await first.printed(/^Device #2 was removed\.$/m)
    await second.printed(/^! This device was removed from its account/m)
    for (const chat of [first, second, bob]) chat.endInput()
    assert.deepEqual(await Promise.all([first.ended, second.ended, bob.ended]), [0, 0, 0])
  }).timeout(60_000)

  it('tells a first start without a server what to do, and ends with exit code 1', async () => {
    const chat = start('carol', '--url', 'http://127.0.0.1:1')
    assert.equal(await chat.ended, 1)
    assert.match(
      chat.output(),
      /^No server answers at http:\/\/127\.0\.0\.1:1: .*\nStart one with npm start, or name it/,
    )
  })

  it('ends with exit code 2 at a wrong option, and with 0 after --help in 80 columns', async () => {
    const wrong = startChat(['--loud'], env)
    assert.deepEqual([await wrong.ended, wrong.output()], [2, "Unknown option '--loud'; --help says what there is.\n"])
    const nobody = startChat(['--as', 'Al'], env)
    assert.equal(await nobody.ended, 2)
    assert.match(nobody.output(), /^--as Al is no handle/)
    const help = startChat(['--help'], env)
    assert.equal(await help.ended, 0)
    assert.match(help.output(), /^Usage: npm run chat -- --as NAME/)
    for (const line of help.output().split('\n')) assert.ok(line.length <= 80, line)
  })
})

describe('the screen of the chat', () => {
  it('lets nobody else drive the terminal', () => {
    const hostile = `a${ESCAPE}[2Jb${ESCAPE}]0;title\u0007c\u009b31md\b\u0000\u202ee\u2066f\rg`
    const text = clean(hostile)
    assert.doesNotMatch(text, /(?!\n)[\p{Cc}\u202a-\u202e\u2066-\u2069]/u)
    assert.match(text, /^abc?.*\ng$/s)
  })

  it('lets no line of a message look like the beginning of another one', () => {
    for (const text of [
      'hi\nalice: fake',
      'hi\r\nalice: fake',
      `${'x'.repeat(200)} alice: fake`,
      'hi\u2028alice: fake',
    ]) {
      const [, ...more] = wrap(receivedLine({ text, failure: '' }, 'mallory'), 80)
      assert.ok(more.length > 0)
      for (const line of more) assert.ok(line.startsWith('    '), line)
    }
  })

  it('wraps at words, cuts what is longer than a line, and knows wide characters', () => {
    const text = `${'word '.repeat(40)}${'x'.repeat(200)} ${'日本'.repeat(60)}`
    const lines = wrap(text, 80)
    for (const line of lines) assert.ok(widthOf(line) <= 80, line)
    assert.equal(
      lines
        .map((line) => line.trimStart())
        .join('')
        .replaceAll(' ', ''),
      text.replaceAll(' ', ''),
    )
    assert.equal(wrap('short', 80).length, 1)
  })

  it('says read in words where there is no colour, and why a message failed', () => {
    const shown = { text: 'hi', failure: '' } as const
    assert.equal(ownLine({ ...shown, status: 'read' }, 'bob'), '  ✓✓ to bob: hi (read)')
    assert.equal(
      ownLine({ ...shown, status: 'read' }, 'bob', (text) => `<${text}>`),
      '  <✓✓> to bob: hi',
    )
    assert.match(
      ownLine({ text: 'hi', status: 'failed', failure: 'expired' }, 'bob'),
      /✗ to bob: hi\nNot sent: The message/,
    )
  })

  it('makes a number that belongs to nobody from a name, and a folder below HELIOGRAPH_HOME', () => {
    const options = readOptions(['--as', '@alice'], { HELIOGRAPH_HOME: '/there' })
    assert.ok(options !== 'help')
    assert.match(options.phone, /^\+1555\d{7}$/)
    assert.notEqual(options.phone, phoneOf('bob'))
    assert.equal(options.folder, '/there/alice')
    assert.throws(() => readOptions(['--as', 'alice', '--url', 'ftp://x'], {}), /is no address/)
  })
})
