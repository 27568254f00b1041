/** The command line of the bench. */
import { parseArgs } from 'node:util'
import { clusterScenarios } from './scenarios/cluster.ts'
import { scenarios } from './scenarios/table.ts'
import { peers } from './servers/table.ts'

export type Profile = 'embedded' | 'cluster'

export type Options = {
  profile: Profile
  peers: string[]
  scenarios: string[]
  runs: number
  seconds: number
  killRounds: number
  quick: boolean
  out: string
  help: boolean
}

const namesOf: Record<Profile, readonly string[]> = {
  embedded: scenarios.map(({ name }) => name),
  cluster: clusterScenarios.map(({ name }) => name),
}

const NEXT_LINE = `,\n${' '.repeat(19)}`
const { embedded: names, cluster } = namesOf
const lines = [names.slice(0, 5), names.slice(5, 9), names.slice(9)]
const clusterLines = [cluster.slice(0, 5), cluster.slice(5)]

export const usage = `node bench/main.ts [options]

  --vs LIST        peers in the same run: ${Object.keys(peers).join(',')}
  --profile NAME   embedded, or cluster: brokers and workers on a Redis, a PostgreSQL and a Cassandra that are
                   started for it
  --scenario LIST  only these: ${lines.join(NEXT_LINE)}
                   of the cluster: ${clusterLines.join(NEXT_LINE)}
  --runs N         runs of each scenario on each server, medians are reported (3)
  --seconds N      length of one measurement (5)
  --kill-rounds N  rounds of the kill -9 lane (100)
  --quick          everything short and small, to try it; the figures are not comparable
  --out FILE       results as JSON, a plot beside it as SVG (bench/results/<date>.json)
  --help           this text`

/** Reads the arguments. Throws an Error whose message says what to do about the first one that is wrong. */
export function parseOptions(args: readonly string[], today: string): Options {
  const { values } = read(args)
  const quick = values.quick === true
  const profile = profileOf(values.profile ?? 'embedded')
  const known = namesOf[profile]
  return {
    profile,
    peers: listOf('--vs', values.vs ?? '', Object.keys(peers)),
    scenarios: values.scenario === undefined ? [...known] : listOf('--scenario', values.scenario, known),
    runs: count('--runs', values.runs ?? (quick ? '1' : '3')),
    seconds: count('--seconds', values.seconds ?? (quick ? '1' : '5')),
    killRounds: count('--kill-rounds', values['kill-rounds'] ?? (quick ? '3' : '100')),
    quick,
    out: jsonName(values.out ?? `bench/results/${today}${profile === 'cluster' ? '-cluster' : ''}.json`),
    help: values.help === true,
  }
}

function read(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        vs: { type: 'string' },
        profile: { type: 'string' },
        scenario: { type: 'string' },
        runs: { type: 'string' },
        seconds: { type: 'string' },
        'kill-rounds': { type: 'string' },
        quick: { type: 'boolean' },
        out: { type: 'string' },
        help: { type: 'boolean' },
      },
    })
  } catch (error) {
    const [sentence] = (error as Error).message.split('. ')
    throw new Error(`${sentence}. node bench/main.ts --help lists the options.`)
  }
}

function profileOf(value: string): Profile {
  if (value !== 'embedded' && value !== 'cluster') throw new Error(`--profile ${value}: embedded or cluster.`)
  return value
}

function listOf(flag: string, value: string, known: readonly string[]): string[] {
  const list = value.split(',').filter((item) => item !== '')
  const unknown = list.find((item) => !known.includes(item))
  if (unknown !== undefined) throw new Error(`${flag}: there is no ${unknown}; choose from ${known.join(', ')}.`)
  return list
}

function count(flag: string, value: string): number {
  const number = Number(value)
  if (!Number.isInteger(number) || number < 1) throw new Error(`${flag} ${value}: give a whole number from 1 on.`)
  return number
}

function jsonName(value: string): string {
  if (!value.endsWith('.json')) throw new Error(`--out ${value}: give a name that ends in .json.`)
  return value
}
