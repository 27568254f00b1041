/**
 * `npm run chaos [-- --rounds N --pause-rounds N --pause-s-max N --kinds LIST --seed N --out FILE]`: everything a deployment
 * is made of is killed and stopped, one after the other, under load, and nothing that was acknowledged may be lost,
 * misordered, misdelivered or shown twice. It starts what it needs, and takes it down whatever happens.
 */
import { parseArgs } from 'node:util'
import { type Deployment, startDeployment } from './deployment.ts'
import { type Kind, kinds } from './kinds.ts'
import { type Load, startAll } from './load.ts'
import { type KindResult, kindResult, openReport } from './report.ts'
import { type Outcome, playRound, renewed } from './rounds.ts'

interface Options {
  readonly rounds: number
  readonly pauseRounds: number
  readonly pauseSMax: number
  readonly kinds: readonly Kind[]
  readonly seed: number
  readonly out: string
}

const PAUSE_S_MIN = 10
const FAILURES_MAX = 3
const today = new Date().toISOString().slice(0, 10)

const USAGE = `Usage: npm run chaos [-- options]

  --rounds N        rounds of each kind of kill (30)
  --pause-rounds N  rounds of each kind of pause, and of a full Redis (10)
  --pause-s-max N   a pause takes ${PAUSE_S_MIN} s to so many (45)
  --kinds LIST      only these: ${kinds.map(({ name }) => name).join(',\n                    ')}
  --seed N          for the lengths of the pauses (random; it is printed)
  --out FILE        results as JSON (bench/results/<date>-chaos.json)
  --help            this text
`

function read(args: readonly string[]): Options | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: '30' },
      'pause-rounds': { type: 'string', default: '10' },
      'pause-s-max': { type: 'string', default: '45' },
      kinds: { type: 'string' },
      seed: { type: 'string', default: `${Date.now() % 1_000_000}` },
      out: { type: 'string', default: `bench/results/${today}-chaos.json` },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  const count = (name: 'rounds' | 'pause-rounds' | 'pause-s-max' | 'seed'): number => {
    if (!/^\d+$/.test(values[name])) throw new Error(`--${name} ${values[name]}: a whole number is needed`)
    return Number(values[name])
  }
  const names = values.kinds?.split(',') ?? kinds.map(({ name }) => name)
  const unknown = names.find((name) => !kinds.some((kind) => kind.name === name))
  if (unknown !== undefined) throw new Error(`--kinds ${unknown}: there is no such kind; --help lists them`)
  const pauseSMax = count('pause-s-max')
  if (pauseSMax < PAUSE_S_MIN) throw new Error(`--pause-s-max ${pauseSMax}: not below ${PAUSE_S_MIN}`)
  return {
    rounds: count('rounds'),
    pauseRounds: count('pause-rounds'),
    pauseSMax,
    kinds: kinds.filter(({ name }) => names.includes(name)),
    seed: count('seed'),
    out: values.out,
  }
}

const startedMs = performance.now()

function say(line: string): void {
  const s = Math.floor((performance.now() - startedMs) / 1_000)
  console.log(`[${String(Math.floor(s / 60)).padStart(2, '0')}:${String(s % 60).padStart(2, '0')}] ${line}`)
}

/** Numbers from 0 to 1 that depend on the seed alone (a linear congruence: lengths of pauses need no better). */
function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

const ms = (value: number | undefined): string => (value === undefined ? '-' : `${Math.round(value)} ms`)

function lineOf(outcome: Outcome, round: number, rounds: number): string {
  const { acked, lost, misordered, misdelivered, shownTwice, healMs, goOnMs, slowest, dropped } = outcome
  const goOn = goOnMs === undefined ? '' : `, shards went on after ${ms(goOnMs)}`
  const bad = `${lost} lost, ${misordered} misordered, ${misdelivered} misdelivered, ${shownTwice} shown twice`
  return (
    `${outcome.kind} ${round}/${rounds} in ${(outcome.tookMs / 1_000).toFixed(1)} s: ${acked} acknowledged, ${bad}` +
    `${goOn}, current ${ms(healMs)} after the heal (last: ${slowest})${dropped > 0 ? `, ${dropped} dropped` : ''}` +
    `${outcome.failure === undefined ? '' : `\n        FAILED: ${outcome.failure}`}`
  )
}

/** The load of the next round; another one after a failure. */
interface Stage {
  readonly deployment: Deployment
  load: Load
}

async function playKind(kind: Kind, stage: Stage, options: Options, random: () => number): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  const rounds = kind.isKill ? options.rounds : options.pauseRounds
  let failed = 0
  for (let round = 0; round < rounds && failed < FAILURES_MAX; round++) {
    const pauseMs = (PAUSE_S_MIN + random() * (options.pauseSMax - PAUSE_S_MIN)) * 1_000
    const outcome = await playRound(kind, stage.deployment, stage.load, { round, pauseMs })
    outcomes.push(outcome)
    say(lineOf(outcome, round + 1, rounds))
    if (outcome.failure === undefined) continue
    failed++
    stage.load = await renewed(stage.deployment, stage.load)
  }
  return outcomes
}

async function main(): Promise<void> {
  const options = read(process.argv.slice(2))
  if (options === undefined) return void process.stdout.write(USAGE)
  say(`seed ${options.seed}`)
  const given = process.argv.slice(2).join(' ')
  const report = openReport(options.out, `npm run chaos${given === '' ? '' : ` -- ${given}`}`, options.seed)
  const results: KindResult[] = []
  const random = randomOf(options.seed)
  let deployment: Deployment | undefined
  let stage: Stage | undefined
  try {
    deployment = await startDeployment(say)
    stage = { deployment, load: await startAll(deployment) }
    say('everything runs, everybody is connected')
    for (const kind of options.kinds) {
      const outcomes = await playKind(kind, stage, options, random)
      if (outcomes.length > 0) results.push(kindResult(kind.name, outcomes))
      report.write(results)
    }
  } catch (error) {
    say(`ended: ${(error as Error).stack}`)
    const { name } = options.kinds[results.length] ?? { name: 'start' }
    results.push({ ...kindResult(name, []), failures: [(error as Error).message] })
    report.write(results)
  } finally {
    stage?.load.stop()
    const isKept = results.some(({ isPassed }) => !isPassed)
    if (isKept && deployment !== undefined) say(`the logs of brokers and workers are in ${deployment.folder}`)
    await deployment?.stop(isKept)
  }
  for (const { kind, failures } of results) for (const failure of failures) say(`${kind}: ${failure}`)
  const passed = results.filter(({ isPassed }) => isPassed).length
  say(`results in ${options.out}`)
  console.log(`${passed} passed, ${results.length - passed} failed`)
  process.exit(passed === results.length ? 0 : 1)
}

await main()
