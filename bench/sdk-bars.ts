/** The bars of the SDK's bench, on a machine with two cores shared with the server. */
import { type Bar, lookUp, type Result } from './results.ts'

/** The only column of the results. */
export const SDK = 'sdk'

type Row = {
  readonly measure: string
  readonly unit: string
  readonly better: 'more' | 'less'
  readonly bar: number
  readonly aim: number
  readonly scenario: string
  readonly figure: string
}

function more(measure: string, unit: string, bar: number, aim: number, scenario: string, figure: string): Row {
  return { measure, unit, better: 'more', bar, aim, scenario, figure }
}

function less(measure: string, unit: string, bar: number, aim: number, scenario: string, figure: string): Row {
  return { measure, unit, better: 'less', bar, aim, scenario, figure }
}

const rows: readonly Row[] = [
  more('sent by one SDK process', 'per s', 2_500, 5_000, 'sdk-send', 'msgPerS'),
  more('received by one SDK process', 'per s', 2_500, 5_000, 'sdk-receive', 'msgPerS'),
  less('a text of 100 characters, up', 'bytes', 330, 325, 'sdk-bytes', 'upBytes'),
  less('a text of 100 characters, down', 'bytes', 330, 306, 'sdk-bytes', 'downBytes'),
  less('chat, second start to prompt', 's', 1.5, 0.7, 'sdk-start', 'promptS'),
]

/** Every bar with the figure that these results have; what was not measured, or failed each time, meets none. */
export function judgeSdk(results: readonly Result[]): Bar[] {
  return rows.map(({ measure, unit, better, bar, aim, scenario, figure }) => {
    const value = lookUp(results, SDK, scenario, figure)
    const sign = better === 'more' ? '>=' : '<='
    const reached = (limit: number): boolean | null =>
      value === undefined ? null : better === 'more' ? value >= limit : value <= limit
    return {
      measure,
      bar: `${sign} ${bar.toLocaleString('en')} ${unit}`,
      aim: `${sign} ${aim.toLocaleString('en')} ${unit}`,
      figure: value === undefined ? null : Number(value.toPrecision(4)),
      met: reached(bar),
      aimMet: reached(aim),
    }
  })
}
