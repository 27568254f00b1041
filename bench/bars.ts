/** The bars: what the embedded default must reach on a machine with two cores shared with the generator. */
import { type Bar, lookUp, type Result } from './results.ts'

type Figure = (scenario: string, figure: string, server?: string) => number | undefined

export type Row = {
  measure: string
  unit: string
  better: 'more' | 'less'
  bar: number
  aim?: number
  figure(of: Figure): number | undefined
}

const PEER = 'mosquitto'

function ratio(scenario: string, peerScenario: string): Row['figure'] {
  return (of) => {
    const own = of(scenario, 'msgPerS')
    const peer = of(peerScenario, 'msgPerS', PEER)
    return own === undefined || peer === undefined || peer === 0 ? undefined : own / peer
  }
}

export function figure(scenario: string, name: string): Row['figure'] {
  return (of) => of(scenario, name)
}

function sum(scenario: string, names: readonly string[]): Row['figure'] {
  return (of) => {
    const values = names.map((name) => of(scenario, name))
    return values.includes(undefined) ? undefined : values.reduce<number>((all, value) => all + (value ?? 0), 0)
  }
}

export const bars: readonly Row[] = [
  less('kill -9: acknowledged and lost, or misordered', 'messages', 0, undefined, sum('kill', ['lost', 'misordered'])),
  less('kill -9: stamps under two seqs', 'stamps', 0, undefined, figure('kill', 'seqTwice')),
  more('kill -9: acknowledged in all rounds', 'messages', 500_000, undefined, figure('kill', 'acked')),
  more('raw, window 10, durable, against mosquitto', 'x', 1, 2, ratio('raw-window-10', 'raw-window-10')),
  more('SendRequest, window 10, against mosquitto', 'x', 0.6, 1.2, ratio('send-request-window-10', 'raw-window-10')),
  more('raw, window 1, against mosquitto', 'x', 0.5, 0.8, ratio('raw-window-1', 'raw-window-1')),
  more('SendRequest, window 1, against mosquitto', 'x', 0.4, 0.6, ratio('send-request-window-1', 'raw-window-1')),
  less('CPU per 100,000, window 10, raw', 's', 1, 0.5, figure('raw-window-10', 'cpuSPer100k')),
  less('CPU per 100,000, window 10, SendRequest', 's', 1.6, 0.9, figure('send-request-window-10', 'cpuSPer100k')),
  less('p99 at 1,000/s, raw', 'ms', 3, 1.5, figure('raw-1000', 'arrivalP99Ms')),
  less('p99 at 1,000/s, SendRequest', 'ms', 3, 1.5, figure('send-request-1000', 'arrivalP99Ms')),
  less('fsync 5 ms slower: event-loop delay p99.9', 'ms', 20, undefined, figure('slow-disk', 'loopDelayP999Ms')),
  more('fsync 5 ms slower: throughput, window 10', 'x', 0.5, undefined, figure('slow-disk', 'ratio')),
  less('reconnect of 200 and drain of 10,000', 's', 0.2, 0.1, figure('backlog', 'drainS')),
  less('100,000 waiting for one device: RSS growth', 'MiB', 64, undefined, figure('one-device', 'rssGrowthMib')),
  less('100,000 waiting for one device: out of order', 'messages', 0, undefined, figure('one-device', 'misordered')),
  less('idle connection, 5,000 of them', 'KiB', 20, 14, figure('idle', 'kibPerConnection')),
  more('connect and subscribe, token checked', 'per s', 3000, 5000, figure('connects', 'connectsPerS')),
  less('start to ready', 's', 2, 1, figure('start', 'readyS')),
  less('start to ready, 1,000,000 waiting', 's', 3, 1, figure('start-million', 'readyS')),
]

export function more(measure: string, unit: string, bar: number, aim: number | undefined, of: Row['figure']): Row {
  return { measure, unit, better: 'more', bar, ...(aim === undefined ? {} : { aim }), figure: of }
}

export function less(measure: string, unit: string, bar: number, aim: number | undefined, of: Row['figure']): Row {
  return { measure, unit, better: 'less', bar, ...(aim === undefined ? {} : { aim }), figure: of }
}

/** Every bar with the figure that these results have for `server`. */
export function judge(rows: readonly Row[], results: readonly Result[], server: string): Bar[] {
  return rows.map((row) => {
    const value = row.figure((scenario, name, of = server) => lookUp(results, of, scenario, name))
    const sign = row.better === 'more' ? '>=' : '<='
    const text = (limit: number | undefined): string =>
      limit === undefined ? '' : `${sign} ${limit.toLocaleString('en')} ${row.unit}`
    const reached = (limit: number | undefined): boolean | null => {
      if (value === undefined || limit === undefined) return null
      return row.better === 'more' ? value >= limit : value <= limit
    }
    return {
      measure: row.measure,
      bar: text(row.bar),
      aim: text(row.aim),
      figure: value === undefined ? null : Number(value.toPrecision(4)),
      met: reached(row.bar),
      aimMet: reached(row.aim),
    }
  })
}
