/**
 * `npm run storm [-- --devices 10000 --rows 3 --out file.json]`: a node is killed, and all of its devices come back to the
 * other one. Prints seconds and what was lost as JSON, and fails above the bar. Services that are up are used and left;
 * others are started and taken down.
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { describeMachine } from '../../bench/machine.ts'
import { down, environmentOf, up } from '../services/commands.ts'
import { type ServiceName, serviceNames } from '../services/service.ts'
import { usualStateFile } from '../services/state.ts'
import { assertFiles, runStorm } from './storm.ts'

const SECONDS_BAR = 60
const SECONDS_MAX = 180

const USAGE = `Usage: npm run storm [-- options]

  --devices N  devices that come back (10000); one open file each is needed, here and in the node
  --rows N     rows that wait for each (3)
  --out FILE   the result as JSON, which is printed anyway
  --help       this text
`

const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  devices: { type: 'string', default: '10000' },
  rows: { type: 'string', default: '3' },
  out: { type: 'string' },
} as const

/** What is said on the way goes to stderr: stdout is the result. */
const say = (line: string): void => console.error(line)

function read() {
  try {
    return parseArgs({ options: OPTIONS }).values
  } catch (error) {
    say(`${(error as Error).message.split('. ')[0]}; --help says what there is.`)
    return undefined
  }
}

async function main(): Promise<number> {
  const values = read()
  if (values === undefined) return 2
  if (values.help) {
    process.stdout.write(USAGE)
    return 0
  }
  const [devices, rows] = [Number(values.devices), Number(values.rows)]
  if (![devices, rows].every((each) => Number.isSafeInteger(each) && each > 0)) {
    say('--devices and --rows are numbers above 0.')
    return 2
  }
  let started: readonly ServiceName[] = []
  const request = { file: usualStateFile, say }
  try {
    assertFiles(devices)
    const machine = describeMachine()
    const interrupted = new AbortController()
    process.once('SIGINT', () => interrupted.abort(new Error('ended by SIGINT')))
    const wanted = { ...request, names: serviceNames, interrupted: interrupted.signal }
    started = await up(wanted, { cassandra: { sync: 'batch' } })
    Object.assign(process.env, environmentOf(usualStateFile))
    const result = await runStorm({ devices, rows, secondsMax: SECONDS_MAX, say })
    const head = {
      date: new Date().toISOString(),
      command: `npm run storm -- --devices ${devices} --rows ${rows}`,
      machine,
    }
    const text = `${JSON.stringify({ ...head, ...result }, undefined, 2)}\n`
    process.stdout.write(text)
    if (values.out !== undefined) writeFileSync(values.out, text)
    return result.lost === 0 && result.misdelivered === 0 && result.seconds <= SECONDS_BAR ? 0 : 1
  } catch (error) {
    say((error as Error).message)
    return 1
  } finally {
    if (started.length > 0) await down({ ...request, names: started })
  }
}

process.exit(await main())
