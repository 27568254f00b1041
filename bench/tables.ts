/** The results as text for a terminal. */
import type { ResultFile } from './results.ts'

/** One line per scenario, one column per server: the scenario's figure, and CPU seconds per 100,000 messages. */
export function resultTable(file: ResultFile): string {
  const servers = Object.keys(file.versions)
  const names = [...new Set(file.results.map(({ scenario }) => scenario))]
  const lines = names.map((name) => {
    const row = file.results.filter(({ scenario }) => scenario === name)
    const cells = servers.map((server) => {
      const result = row.find((candidate) => candidate.server === server)
      if (result === undefined) return ''
      if (result.runs.length === 0) return 'failed'
      const cpu = result.median.cpuSPer100k
      return `${figureText(result.median[result.figure] ?? 0)}${cpu === undefined ? '' : ` (${figureText(cpu)})`}`
    })
    return [`${row[0]?.title}, ${row[0]?.unit}`, ...cells]
  })
  return table([['medians (CPU s per 100,000 messages)', ...servers], ...lines])
}

export function barTable(file: ResultFile): string {
  const verdict = (met: boolean | null): string => (met === null ? '' : met ? 'yes' : 'NO')
  const lines = file.bars.map(({ measure, bar, aim, figure, met, aimMet }) => [
    measure,
    bar,
    aim,
    figure === null ? 'not measured' : figureText(figure),
    verdict(met),
    verdict(aimMet),
  ])
  return table([['measure', 'bar', 'aim', 'figure', 'met', 'aim met'], ...lines])
}

/** Three significant digits, thousands separated. */
export function figureText(value: number): string {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en')
  return String(Number(value.toPrecision(3)))
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const line = (row: readonly string[]): string =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  ')
  return rows.map((row) => line(row).trimEnd()).join('\n')
}
