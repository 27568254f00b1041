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
/** What was written for one process holds in the cluster too. */
const SHARED = [
  'test/flows/01-things.test.ts',
  'test/clients/*.test.ts',
  'test/data-plane/a[13457]*.test.ts',
  'test/data-plane/b[1234]*.test.ts',
]
/** They look into the embedded store, hold its commits, move the clock of one process, or read rows before a worker can. */
const EMBEDDED_ONLY =
  'clock steps back|when nothing is left|were put away|A4: what may pass|wait in the inbox of a sender|makes no entry|' +
  'read marks of several|on the disk before SUBACK|UNSUBSCRIBE, at once|all the way round|also after a restart$|' +
  'expired stands|a crash between the two|ring of ids|disk that is slow'
type Run = { readonly env: Record<string, string>; readonly args: readonly string[] }
const RUNS: readonly Run[] = [
  { env: {}, args: ['test/cluster/**/*.test.ts'] },
  // The library of BullMQ leaves helpers of its compiler behind.
  {
    env: { HELIOGRAPH_PROFILE: 'cluster' },
    args: ['--no-check-leaks', ...SHARED, '--grep', EMBEDDED_ONLY, '--invert'],
  },
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
