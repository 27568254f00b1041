/** The result file, and what is computed from it: medians and the bars that the figures have to reach. */
import type { Machine } from './machine.ts'
import type { Run } from './scenarios/scenario.ts'

export type Result = {
  scenario: string
  title: string
  figure: string
  unit: string
  server: string
  median: Run
  runs: Run[]
  /** One sentence per run that failed. */
  failed: string[]
}

export type Bar = {
  measure: string
  bar: string
  aim: string
  /** What was measured; null when this run did not measure it. */
  figure: number | null
  met: boolean | null
  aimMet: boolean | null
}

export type ResultFile = {
  date: string
  command: string
  profile?: 'embedded' | 'cluster'
  /** True for a try with small numbers: do not compare. */
  quick: boolean
  runs: number
  seconds: number
  machine: Machine
  versions: Record<string, string>
  results: Result[]
  bars: Bar[]
}

/** Median of each figure by itself; the mean of the two middle ones of an even number. */
export function medianOf(runs: readonly Run[]): Run {
  const names = [...new Set(runs.flatMap((run) => Object.keys(run)))]
  return Object.fromEntries(names.map((name) => [name, median(runs.flatMap((run) => run[name] ?? []))]))
}

function median(values: readonly number[]): number {
  const sorted = values.filter((value) => Number.isFinite(value)).sort((a, b) => a - b)
  const upper = sorted[Math.floor(sorted.length / 2)] ?? 0
  const lower = sorted[Math.floor((sorted.length - 1) / 2)] ?? 0
  return (upper + lower) / 2
}

/** A figure of a scenario's median on a server; undefined when it was not measured. */
export function lookUp(
  results: readonly Result[],
  server: string,
  scenario: string,
  figure: string,
): number | undefined {
  return results.find((result) => result.server === server && result.scenario === scenario)?.median[figure]
}

/** Rounds to four significant digits, so that the file can be read and compared. */
export function rounded(run: Run): Run {
  return Object.fromEntries(
    Object.entries(run).map(([name, value]) => [name, Number.isInteger(value) ? value : Number(value.toPrecision(4))]),
  )
}
