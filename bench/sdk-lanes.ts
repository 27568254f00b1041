/** What the SDK's bench measures, each lane on a server of its own in a temporary folder. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Client } from '../client/index.ts'
import type { Run } from './scenarios/scenario.ts'
import { comeOnline, openPerson, type Person, registerPerson, type Server, talkInTurns, until } from './sdk-people.ts'
import { openWire, type Publish, type Way } from './sdk-wire.ts'
import { type Report, TEXT_CHARS, type Work } from './sdk-work.ts'
import { heliograph } from './servers/heliograph.ts'
import { freePort, removeFolder, temporaryFolder } from './servers/server.ts'

export type SdkSettings = {
  readonly messages: number
  /** Where CPU profiles of the measured processes go; '' for none. */
  readonly profile: string
}
export type Lane = {
  readonly name: string
  readonly title: string
  readonly figure: string
  readonly unit: string
  run(settings: SdkSettings): Promise<Run>
}

const ROOT = join(import.meta.dirname, '..')
const PEERS = 10
/** Both sides have answered then: nothing of a first message is in the ones that follow. */
const TURNS_FIRST = 4
const TURNS_SETTLED = 60
const TURNS_MEASURED = 40
const STARTS = 5
const START_MS_MAX = 30_000
const PER_1K = 1_000
const PER_100K = 100_000

async function withServer<T>(work: (server: Server, httpPort: number) => Promise<T>, env = {}): Promise<T> {
  const dataDir = temporaryFolder('sdk')
  const running = await heliograph.start({ dataDir, env })
  try {
    return await work({ url: `http://127.0.0.1:${running.httpPort}`, dataDir }, running.httpPort)
  } finally {
    await running.kill()
    removeFolder(dataDir)
  }
}

type Circle = { readonly hub: Person; readonly peers: readonly Person[] }

/** One person and ten others, each with a session that both sides have used. Nobody is connected afterwards. */
async function makeCircle(server: Server): Promise<Circle> {
  const folder = (number: number) => join(server.dataDir, `person-${number}`)
  const hub = await registerPerson(server, folder(0), 0)
  const peers: Person[] = []
  for (let number = 1; number <= PEERS; number++) peers.push(await registerPerson(server, folder(number), number))
  const client = openPerson(server.url, hub.folder)
  await comeOnline(client)
  for (const peer of peers) {
    const other = openPerson(server.url, peer.folder)
    await comeOnline(other)
    await talkInTurns(client, other, TURNS_FIRST, () => 'hello')
    await other.close()
  }
  await client.close()
  return { hub, peers }
}

/** Runs one SDK process to its end and gives what it printed. */
async function measure(work: Work, profile: string): Promise<Report> {
  const flags = profile === '' ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]
  const args = [...flags, join(ROOT, 'bench/sdk-process.ts'), JSON.stringify(work)]
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
  let [printed, complaint] = ['', '']
  child.stdout.on('data', (chunk) => {
    printed += chunk
  })
  child.stderr.on('data', (chunk) => {
    complaint += chunk
  })
  const code = await new Promise((resolve) => child.once('close', resolve))
  if (code !== 0) throw new Error(`The SDK process that should ${work.role} ended: ${complaint.trim().slice(-500)}`)
  return JSON.parse(printed) as Report
}

function rates({ wallS, cpuS }: Report, messages: number): Run {
  return {
    msgPerS: messages / wallS,
    messages,
    wallS,
    cpuSPer1k: (cpuS / messages) * PER_1K,
    cpuSPer100k: (cpuS / messages) * PER_100K,
    cores: cpuS / wallS,
  }
}

function sendLane({ messages, profile }: SdkSettings): Promise<Run> {
  return withServer(async (server) => {
    const { hub, peers } = await makeCircle(server)
    const work = { url: server.url, folder: hub.folder, peers: peers.map(({ user }) => user), messages }
    return rates(await measure({ role: 'send', ...work }, profile), messages)
  })
}

/** Leaves `count` messages of this person for `user`. */
async function leave(client: Client, user: string, count: number): Promise<void> {
  const text = 'x'.repeat(TEXT_CHARS)
  await comeOnline(client)
  await Promise.all(Array.from({ length: count }, () => client.send(user, text)))
  await until(client, () => client.waiting() === 0, 'the last PUBACK')
  await client.close()
}

function receiveLane({ messages, profile }: SdkSettings): Promise<Run> {
  return withServer(async (server) => {
    const { hub, peers } = await makeCircle(server)
    const each = Math.ceil(messages / peers.length)
    await Promise.all(peers.map(({ folder }) => leave(openPerson(server.url, folder), hub.user, each)))
    const all = each * peers.length
    const work = { role: 'receive', url: server.url, folder: hub.folder, peers: [], messages: all } as const
    return rates(await measure(work, profile), all)
  })
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

/** The longest PUBLISH of each turn, in each way: the others are receipts. */
async function bytesLane(): Promise<Run> {
  const port = await freePort()
  const target = { port: 0 }
  const wire = await openWire(port, () => target.port)
  const noted: Record<Way, number[]> = { up: [], down: [] }
  try {
    await withServer(
      async (server, httpPort) => {
        target.port = httpPort
        const people = [1, 2].map((number) => join(server.dataDir, `person-${number}`))
        for (const [i, folder] of people.entries()) await registerPerson(server, folder, i + 1)
        const [alice, bob] = people.map((folder) => openPerson(server.url, folder)) as [Client, Client]
        await comeOnline(alice)
        await comeOnline(bob)
        await talkInTurns(alice, bob, TURNS_SETTLED, (turn) => `turn ${turn}`)
        wire.take()
        const text = 'x'.repeat(TEXT_CHARS)
        const note = (publishes: readonly Publish[]) => {
          for (const way of ['up', 'down'] as const) {
            noted[way].push(Math.max(...publishes.filter((each) => each.way === way).map(({ bytes }) => bytes)))
          }
        }
        await talkInTurns(
          alice,
          bob,
          TURNS_MEASURED,
          () => text,
          () => note(wire.take()),
        )
        await Promise.all([alice.close(), bob.close()])
      },
      { PUBLIC_URL: `http://127.0.0.1:${port}` },
    )
  } finally {
    wire.close()
  }
  const { up, down } = noted
  return {
    upBytes: median(up),
    downBytes: median(down),
    upBytesMax: Math.max(...up),
    downBytesMax: Math.max(...down),
  }
}

type Chat = { readonly args: readonly string[]; readonly env: NodeJS.ProcessEnv }

/** From spawn to the prompt, at a terminal that `script` (util-linux) plays. */
async function toPrompt({ args, env }: Chat, prompt: string): Promise<number> {
  const command = [process.execPath, ...args].map((word) => `'${word}'`).join(' ')
  const startedMs = performance.now()
  const child = spawn('script', ['-qfec', command, '/dev/null'], { cwd: ROOT, env, stdio: ['pipe', 'pipe', 'ignore'] })
  let printed = ''
  return new Promise((resolve, reject) => {
    let promptS = Number.NaN
    const late = setTimeout(() => child.kill('SIGKILL'), START_MS_MAX)
    child.once('error', reject)
    child.stdout.on('data', (chunk) => {
      printed += chunk
      if (!Number.isNaN(promptS) || !printed.includes(prompt)) return
      promptS = (performance.now() - startedMs) / 1000
      child.stdin.write('/quit\r')
    })
    child.once('close', () => {
      clearTimeout(late)
      if (Number.isNaN(promptS)) reject(new Error(`The chat showed no prompt: ${printed.slice(-300)}`))
      else resolve(promptS)
    })
  })
}

function startLane(): Promise<Run> {
  if (!existsSync(join(ROOT, 'client', 'cli', 'chat.ts'))) throw new Error('client/cli/chat.ts is missing.')
  return withServer(async ({ url, dataDir }) => {
    const env = { ...process.env, DATA_DIR: dataDir, HELIOGRAPH_HOME: join(dataDir, 'home'), TERM: 'xterm' }
    const chatAs = (name: string, ...more: string[]): Chat => ({
      args: ['client/cli/chat.ts', '--as', name, '--url', url, ...more],
      env,
    })
    await toPrompt(chatAs('bobby'), '> ')
    // The first start registers, and fills the cache of compiled code.
    await toPrompt(chatAs('alice', '--to', 'bobby'), 'bobby> ')
    const starts: number[] = []
    for (let i = 0; i < STARTS; i++) starts.push(await toPrompt(chatAs('alice', '--to', 'bobby'), 'bobby> '))
    return { promptS: median(starts), promptSMax: Math.max(...starts) }
  })
}

export const lanes: readonly Lane[] = [
  { name: 'sdk-send', title: 'send, 10 conversations', figure: 'msgPerS', unit: 'messages/s', run: sendLane },
  { name: 'sdk-receive', title: 'receive a backlog of 10', figure: 'msgPerS', unit: 'messages/s', run: receiveLane },
  { name: 'sdk-bytes', title: 'text of 100 characters, up', figure: 'upBytes', unit: 'bytes', run: bytesLane },
  { name: 'sdk-start', title: 'chat, second start to prompt', figure: 'promptS', unit: 's', run: startLane },
]
