/**
 * The SDK's bench: what one SDK process sends and receives, durable as it comes, what a text is on the wire, and how
 * soon the chat is there. `node bench/sdk.ts --help` says how; README.md beside this file says how to read the results.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { describeMachine } from './machine.ts'
import { medianOf, type Result, type ResultFile, rounded } from './results.ts'
import { judgeSdk, SDK } from './sdk-bars.ts'
import { type Lane, lanes } from './sdk-lanes.ts'
import { heliograph } from './servers/heliograph.ts'
import { barTable, resultTable } from './tables.ts'

type Options = {
  readonly messages: number
  readonly runs: number
  readonly only: readonly string[]
  readonly profile: string
  readonly out: string
  readonly help: boolean
}
type SdkFile = Omit<ResultFile, 'seconds'> & { readonly messages: number }

const names = lanes.map(({ name }) => name)
const usage = `node bench/sdk.ts [options]

  --messages N      messages sent, and received, in a run (10000)
  --runs N          runs of each lane, medians are reported (3)
  --only LIST       only these: ${names.join(',')}
  --profile FOLDER  CPU profiles of the processes that are measured; slower, so not for figures
  --out FILE        results as JSON (bench/results/<date>-sdk.json)
  --help            this text`

function count(flag: string, value: string): number {
  const number = Number(value)
  if (!Number.isInteger(number) || number < 1) throw new Error(`${flag} ${value}: give a whole number from 1 on.`)
  return number
}

/** Reads the arguments. Throws an Error whose message says what to do about the first one that is wrong. */
function optionsOf(args: readonly string[], today: string): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      messages: { type: 'string', default: '10000' },
      runs: { type: 'string', default: '3' },
      only: { type: 'string', default: names.join(',') },
      profile: { type: 'string', default: '' },
      out: { type: 'string', default: `bench/results/${today}-sdk.json` },
      help: { type: 'boolean', default: false },
    },
  })
  const only = values.only.split(',')
  const unknown = only.find((name) => !names.includes(name))
  if (unknown !== undefined) throw new Error(`--only: there is no ${unknown}; choose from ${names.join(', ')}.`)
  const messages = count('--messages', values.messages)
  return { ...values, only, messages, runs: count('--runs', values.runs) }
}

function note(line: string): void {
  console.log(`${new Date().toISOString().slice(11, 19)} ${line}`)
}

function resultFor({ name, title, figure, unit }: Lane): Result {
  return { scenario: name, title, figure, unit, server: SDK, median: {}, runs: [], failed: [] }
}

/** One run; a failure is one line here and in the results, and the others go on. */
async function runOnce(lane: Lane, options: Options, where: string, to: Result): Promise<void> {
  try {
    const run = rounded(await lane.run(options))
    to.runs.push(run)
    const cpu = run['cpuSPer1k'] === undefined ? '' : `, ${run['cpuSPer1k']} CPU s per 1,000`
    note(`${where} ${lane.name}: ${run[lane.figure]} ${lane.unit}${cpu}`)
  } catch (error) {
    const sentence = error instanceof Error ? error.message : String(error)
    to.failed.push(sentence)
    note(`${where} ${lane.name} FAILED: ${sentence}`)
  }
}

async function main(): Promise<void> {
  const args = process.argv.slice(2)
  const date = new Date().toISOString()
  const options = optionsOf(args, date.slice(0, 10))
  if (options.help) return console.log(usage)
  const { runs, messages, only, out } = options
  const machine = describeMachine()
  const chosen = lanes.filter(({ name }) => only.includes(name)).map((lane) => ({ lane, result: resultFor(lane) }))
  for (let round = 1; round <= runs; round++) {
    for (const { lane, result } of chosen) await runOnce(lane, options, `round ${round}/${runs}`, result)
  }
  const results = chosen.map(({ result }) => ({ ...result, median: rounded(medianOf(result.runs)) }))
  const file: SdkFile = {
    date,
    command: ['node', 'bench/sdk.ts', ...args].join(' '),
    quick: false,
    runs,
    messages,
    machine,
    versions: { [SDK]: heliograph.version() },
    results,
    bars: judgeSdk(results),
  }
  mkdirSync(dirname(out), { recursive: true })
  writeFileSync(out, `${JSON.stringify(file, undefined, 2)}\n`)
  const shown: ResultFile = { ...file, seconds: 0 }
  console.log(`\n${resultTable(shown)}\n\n${barTable(shown)}\n\n${out}`)
  if (results.some(({ failed }) => failed.length > 0)) process.exitCode = 1
}

try {
  await main()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 2
}
