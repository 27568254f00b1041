/**
 * `npm run test:cluster [-- options of mocha]`: the tests that need Redis, PostgreSQL and Cassandra, against real ones. Those
 * that `npm run services -- up` has brought up are used and left; the others are started, and taken down whatever happens. A
 * service that is missing is a failure, never a skip.
 */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import { down, environmentOf, up } from '../services/commands.ts'
import { type ServiceName, serviceNames } from '../services/service.ts'
import { usualStateFile } from '../services/state.ts'

interface Counts {
  readonly passed: number
  readonly failed: number
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const MOCHA = fileURLToPath(new URL('../../node_modules/mocha/bin/mocha.js', import.meta.url))
const RETENTION = 'test/cluster/workers-retention.test.ts'
/** What was written for one process holds in the cluster too; in three processes, for each of which a run of its own. */
const FLOWS = [
  // It moves the clock of the stores, as worlds of the cluster's own profile can.
  RETENTION,
  'test/flows/*.test.ts',
  'test/clients/*.test.ts',
  // C is about the embedded store: its tail, the thread that writes, its disk.
  'test/data-plane/[ab]*.test.ts',
]
const SDK = ['test/client/*.test.ts', 'test/e2ee/*.test.ts', 'test/listeners/demo.test.ts']
const API = ['test/api/*.test.ts', 'test/operators/*.test.ts']
/** Tests of theirs that are of the embedded store, each with why. */
const EMBEDDED_ONLY: readonly (readonly [title: string, why: string])[] = [
  [
    'a crash between the two',
    'a mark that waits is not durable here: its row comes again (test/cluster/joined.test.ts)',
  ],
  ['acknowledged and not yet told, and tells it then', 'the same'],
  ['before the first is on the disk', 'it holds the thread that writes flags, which Redis does by itself'],
  [
    'an inbox is bounded (?!by time)',
    'a cluster counts rows behind the append: full a moment later (test/cluster/workers-count.test.ts)',
  ],
  [
    'by steps of the retention job that are bounded',
    'eighty inboxes one after the other, over the network, are more than a test waits for',
  ],
  ['is in no file of a client, in no file of the server', 'it looks into the files of the store'],
  [
    'once the ring of ids is taken up behind it',
    'it expects rows right behind a PUBACK, before a worker has written them',
  ],
  ['keeps no token in the folder', 'the same'],
  ['limits of the key directory', 'it stops the clock, and the one of a shared limiter is the server’s'],
  ['keeps the number nowhere in the store', 'the same'],
  ['nothing of a way that only the cluster has', 'it is the cluster (test/cluster/way-metrics.test.ts)'],
  ['finds no account of another key', 'a cluster does not start with one (test/cluster/secrets.test.ts)'],
  ['and says that the disk is full', 'there is no disk of its own that could be full'],
  ['sees a node and its store in numbers', 'they are the numbers of the embedded store'],
  [
    'keeps every promise on a server of its own',
    'the demo kills a server of its own, which is embedded whatever is set',
  ],
]
const NODES = 'test/cluster/cassandra-three-nodes.test.ts'
type Run = { readonly env: Record<string, string>; readonly args: readonly string[] }
/** The library of BullMQ leaves helpers of its compiler behind. */
const onCluster = (files: readonly string[]): Run => ({
  env: { HELIOGRAPH_PROFILE: 'cluster' },
  args: ['--no-check-leaks', ...files, '--grep', EMBEDDED_ONLY.map(([title]) => title).join('|'), '--invert'],
})
const RUNS: readonly Run[] = [
  { env: {}, args: ['test/cluster/**/*.test.ts', '--ignore', NODES, '--ignore', RETENTION] },
  onCluster(FLOWS),
  onCluster(SDK),
  onCluster(API),
  // Three nodes of its own, which take memory.
  { env: {}, args: [NODES] },
]

const say = (line: string): void => console.log(line)

/** Runs them in a process of its own, prints what it prints, and reads its closing lines. */
async function runMocha(
  args: readonly string[],
  env: Record<string, string>,
  interrupted: AbortSignal,
): Promise<Counts> {
  const colour = process.stdout.isTTY ? ['--color'] : []
  const child = spawn(process.execPath, [MOCHA, ...colour, '--exit', ...args, ...more], {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
    signal: interrupted,
  })
  child.on('error', () => undefined)
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    process.stdout.write(text)
    said += text
  })
  // Not once(): it would be done at the abort, with the tests still there.
  const code = await new Promise<number | null>((resolve) => void child.once('close', resolve))
  interrupted.throwIfAborted()
  const plain = stripVTControlCharacters(said)
  const count = (word: string): number => Number(new RegExp(`^ +(\\d+) ${word}`, 'm').exec(plain)?.[1] ?? 0)
  const [passed, failed] = [count('passing'), count('failing')]
  const isWrong = code !== 0 || passed + failed === 0
  return { passed, failed: failed === 0 && isWrong ? 1 : failed }
}

/** A signal: the tests end first, then the services go, as after any other failure. */
function interruption(): AbortSignal {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => controller.abort(new Error(`ended by ${name}`)))
  }
  return controller.signal
}

const more = process.argv.slice(2)

async function main(): Promise<Counts> {
  const interrupted = interruption()
  const request = { file: usualStateFile, say }
  let started: readonly ServiceName[] = []
  try {
    // A single node of Cassandra that is killed loses what it only had in memory, unless it is told not to.
    started = await up({ ...request, names: serviceNames, interrupted }, { cassandra: { sync: 'batch' } })
    const counts = { passed: 0, failed: 0 }
    for (const { env, args } of RUNS) {
      const { passed, failed } = await runMocha(args, { ...environmentOf(usualStateFile), ...env }, interrupted)
      counts.passed += passed
      counts.failed += failed
    }
    return counts
  } catch (error) {
    console.error((error as Error).message)
    return { passed: 0, failed: 1 }
  } finally {
    if (started.length > 0) await down({ ...request, names: started })
  }
}

const { passed, failed } = await main()
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
