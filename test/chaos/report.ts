/** The result: by kind what was lost and how long it took, against the bars, as a file and as lines. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { describeMachine, type Machine } from '../../bench/machine.ts'
import { findJava, findPostgres, findRedis } from '../services/runtimes.ts'
import type { Counts } from './load.ts'
import type { Outcome } from './rounds.ts'

export interface KindResult extends Counts {
  readonly kind: string
  readonly rounds: number
  /** Recipients whose connection ended although their broker lived. */
  readonly dropped: number
  /** From the heal until deliveries are current, over connections that lived through it. */
  readonly healP50Ms: number | null
  readonly healP99Ms: number | null
  /** From the strike, over all shards, while what was struck was away; only for the worker. */
  readonly goOnP50Ms: number | null
  readonly goOnMsMax: number | null
  readonly failures: readonly string[]
  readonly isPassed: boolean
}

export interface ResultFile {
  readonly date: string
  readonly command: string
  readonly seed: number
  readonly machine: Machine
  readonly versions: Record<string, string>
  readonly bars: Record<string, number>
  readonly kinds: readonly KindResult[]
  readonly totals: Counts & { readonly rounds: number; readonly passed: number; readonly failed: number }
}

export const bars = { healP99MsMax: 5_000, goOnMsMax: 5_000 }

const sum = (of: readonly Counts[], name: keyof Counts): number => of.reduce((all, each) => all + each[name], 0)
const totalsOf = (of: readonly Counts[]): Counts => ({
  acked: sum(of, 'acked'),
  lost: sum(of, 'lost'),
  misordered: sum(of, 'misordered'),
  misdelivered: sum(of, 'misdelivered'),
  shownTwice: sum(of, 'shownTwice'),
})

/** Nearest rank: of fewer than a hundred the p99 is the largest. */
function rank(values: readonly number[], share: number): number | null {
  const sorted = values.toSorted((a, b) => a - b)
  const value = sorted[Math.ceil(share * sorted.length) - 1]
  return value === undefined ? null : Math.round(value)
}

export function kindResult(kind: string, outcomes: readonly Outcome[]): KindResult {
  const heals = outcomes.flatMap(({ healMs }) => healMs ?? [])
  const goOns = outcomes.flatMap(({ goOnMs }) => goOnMs ?? [])
  const totals = totalsOf(outcomes)
  const figures = {
    dropped: outcomes.reduce((all, { dropped }) => all + dropped, 0),
    healP50Ms: rank(heals, 0.5),
    healP99Ms: rank(heals, 0.99),
    goOnP50Ms: rank(goOns, 0.5),
    goOnMsMax: rank(goOns, 1),
  }
  const { lost, misordered, misdelivered, shownTwice } = totals
  const failures = [
    ...outcomes.flatMap(({ failure }, i) => (failure === undefined ? [] : [`round ${i + 1}: ${failure}`])),
    ...((figures.healP99Ms ?? 0) > bars.healP99MsMax ? [`current ${figures.healP99Ms} ms after the heal`] : []),
    ...((figures.goOnMsMax ?? 0) > bars.goOnMsMax ? [`shards stood still for ${figures.goOnMsMax} ms`] : []),
    ...(figures.dropped > 0 ? [`${figures.dropped} connections of recipients ended, though their broker lived`] : []),
  ]
  const isPassed = failures.length === 0 && lost + misordered + misdelivered + shownTwice === 0 && outcomes.length > 0
  return { kind, rounds: outcomes.length, ...totals, ...figures, failures, isPassed }
}

function said(command: string, args: readonly string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim()
}

function versions(): Record<string, string> {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  let commit = 'no commit'
  try {
    commit = said('git', ['rev-parse', '--short', 'HEAD'])
  } catch {
    // An archive without its history.
  }
  return {
    heliograph: `${version} (${commit}), Node ${process.version}`,
    redis: /v=(\S+)/.exec(said(findRedis(), ['--version']))?.[1] ?? 'unknown',
    postgres: said(`${findPostgres()}/postgres`, ['--version']),
    cassandra: `5.0.8 on ${findJava()}`,
  }
}

export interface Report {
  /** Writes all of it anew. */
  write(kinds: readonly KindResult[]): void
}

export function openReport(out: string, command: string, seed: number): Report {
  const head = { date: new Date().toISOString(), command, seed, machine: describeMachine(), versions: versions(), bars }
  mkdirSync(dirname(out), { recursive: true })
  return {
    write(kinds) {
      const passed = kinds.filter(({ isPassed }) => isPassed).length
      const totals = {
        rounds: kinds.reduce((all, { rounds }) => all + rounds, 0),
        ...totalsOf(kinds),
        passed,
        failed: kinds.length - passed,
      }
      const file: ResultFile = { ...head, kinds, totals }
      writeFileSync(out, `${JSON.stringify(file, undefined, 2)}\n`)
    },
  }
}
