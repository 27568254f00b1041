/**
 * The bench: every scenario on every server, in the same run. `node bench/main.ts --help` says how; README.md beside
 * this file says how to read the results.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { down, environmentOf, up } from '../test/services/commands.ts'
import { serviceNames } from '../test/services/service.ts'
import { usualStateFile } from '../test/services/state.ts'
import { bars, judge } from './bars.ts'
import { clusterBars } from './cluster-bars.ts'
import { describeMachine } from './machine.ts'
import { type Options, parseOptions, usage } from './options.ts'
import { plot } from './plot.ts'
import { medianOf, type Result, type ResultFile, rounded } from './results.ts'
import { clusterScenarios, warmEngines } from './scenarios/cluster.ts'
import type { Scenario, Settings } from './scenarios/scenario.ts'
import { scenarios } from './scenarios/table.ts'
import { cluster } from './servers/cluster.ts'
import type { ServerKind } from './servers/server.ts'
import { heliograph, peers } from './servers/table.ts'
import { barTable, resultTable } from './tables.ts'

const WARMUP_S = 2
const QUICK_WARMUP_S = 0.5
/** A run during which more than this was busy elsewhere says so. */
const OTHER_CORES_MAX = 0.1

function note(line: string): void {
  console.log(`${new Date().toISOString().slice(11, 19)} ${line}`)
}

/** This repository's server in the profile, and what is asked of it. */
const profiles = {
  embedded: { own: heliograph, scenarios, bars },
  cluster: { own: cluster({ nodes: 1, workers: 1 }), scenarios: clusterScenarios, bars: clusterBars },
}

/** The servers that are there; one line for each that is not. */
function present({ peers: names, profile }: Options): ServerKind[] {
  const wanted = [profiles[profile].own, ...names.flatMap((name) => peers[name] ?? [])]
  return wanted.filter((kind) => {
    const missing = kind.missing()
    if (missing !== undefined) note(`left out: ${missing}`)
    return missing === undefined
  })
}

/** Runs round by round, and inside a scenario server by server, so that a drift of the machine hits all alike. */
async function runAll(options: Options, kinds: readonly ServerKind[]): Promise<Result[]> {
  const results: Result[] = []
  const settings: Settings = {
    seconds: options.seconds,
    warmupS: options.quick ? QUICK_WARMUP_S : WARMUP_S,
    quick: options.quick,
    killRounds: options.killRounds,
    note,
  }
  const { own, scenarios } = profiles[options.profile]
  const chosen = scenarios.filter(({ name }) => options.scenarios.includes(name))
  for (let round = 1; round <= options.runs; round++) {
    for (const scenario of chosen) {
      if (round > (scenario.runsMax ?? options.runs)) continue
      for (const kind of kinds) {
        if (scenario.heliographOnly && kind !== own) continue
        await runOnce(scenario, kind, settings, `round ${round}/${options.runs}`, resultOf(results, scenario, kind))
      }
    }
  }
  for (const result of results) result.median = rounded(medianOf(result.runs))
  return results
}

function resultOf(results: Result[], { name, title, figure, unit }: Scenario, kind: ServerKind): Result {
  const known = results.find((result) => result.scenario === name && result.server === kind.name)
  if (known !== undefined) return known
  const result = { scenario: name, title, figure, unit, server: kind.name, median: {}, runs: [], failed: [] }
  results.push(result)
  return result
}

/** One run; a failure is one line here and in the results, and the others go on. */
async function runOnce(
  scenario: Scenario,
  kind: ServerKind,
  settings: Settings,
  where: string,
  to: Result,
): Promise<void> {
  try {
    const run = rounded(await scenario.run(kind, settings))
    to.runs.push(run)
    const wrong = ['lost', 'unacked', 'misordered', 'stray'].filter((name) => (run[name] ?? 0) > 0)
    const remarks = wrong.map((name) => `, ${run[name]} ${name}`)
    const others = run.otherCores ?? 0
    if (others > OTHER_CORES_MAX) remarks.push(`, ${others} cores busy with something else`)
    const cpu = run.cpuSPer100k === undefined ? '' : `, ${run.cpuSPer100k} CPU s/100k`
    note(`${where} ${kind.name} ${scenario.name}: ${run[scenario.figure]} ${scenario.unit}${cpu}${remarks.join('')}`)
  } catch (error) {
    const sentence = error instanceof Error ? error.message : String(error)
    to.failed.push(sentence)
    note(`${where} ${kind.name} ${scenario.name} FAILED: ${sentence}`)
  }
}

/** Redis, PostgreSQL and Cassandra of the services, as production has them; ended afterwards, if they were not up. */
async function withEngines<T>(run: () => Promise<T>): Promise<T> {
  const request = { file: usualStateFile, say: note }
  const started = await up({ ...request, names: serviceNames }, { cassandra: { isFast: false } })
  try {
    Object.assign(process.env, environmentOf(usualStateFile))
    return await run()
  } finally {
    if (started.length > 0) await down({ ...request, names: started })
  }
}

async function main(): Promise<void> {
  const args = process.argv.slice(2)
  const date = new Date().toISOString()
  const options = parseOptions(args, date.slice(0, 10))
  if (options.help) return console.log(usage)
  const kinds = present(options)
  if (kinds.length === 0) throw new Error('No server is left to measure; the lines above say what to install.')
  const machine = describeMachine()
  note(
    `${machine.cores} x ${machine.cpu}, ${machine.fileSystem}, fdatasync p50 ${machine.fdatasyncP50Ms.toFixed(2)} ms`,
  )
  if (machine.fileSystem === 'tmpfs') note('the data folders are in memory: set TMPDIR to a folder on a disk')
  const versions = Object.fromEntries(kinds.map((kind) => [kind.name, kind.version()]))
  const results =
    options.profile === 'cluster'
      ? await withEngines(async () => {
          if (!options.quick) await warmEngines(note)
          return runAll(options, kinds)
        })
      : await runAll(options, kinds)
  const { runs, seconds, quick, profile } = options
  const command = ['node', 'bench/main.ts', ...args].join(' ')
  const bars = judge(profiles[profile].bars, results, heliograph.name)
  const file: ResultFile = { date, command, profile, quick, runs, seconds, machine, versions, results, bars }
  mkdirSync(dirname(options.out), { recursive: true })
  writeFileSync(options.out, `${JSON.stringify(file, undefined, 2)}\n`)
  const picture = options.out.replace(/\.json$/, '.svg')
  writeFileSync(picture, plot(file))
  console.log(`\n${resultTable(file)}\n\n${barTable(file)}\n\n${options.out}\n${picture}`)
  if (results.some(({ failed }) => failed.length > 0)) process.exitCode = 1
}

try {
  await main()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 2
}
