/**
 * The results as a picture: one panel per measure, horizontal bars grouped by scenario, one colour per server. Written
 * by hand as SVG, on its own background, so that it can be read on a light page and on a dark one.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import type { Result, ResultFile } from './results.ts'
import { figureText } from './tables.ts'

type Panel = { title: string; figure: string; scenarios: RegExp }

const panels: readonly Panel[] = [
  { title: 'Messages per second (more is better)', figure: 'msgPerS', scenarios: /-window-/ },
  {
    title: 'CPU seconds of the server per 100,000 messages (less is better)',
    figure: 'cpuSPer100k',
    scenarios: /-window-/,
  },
  {
    title: 'Milliseconds until arrival, p99, at a fixed rate (less is better)',
    figure: 'arrivalP99Ms',
    scenarios: /-1000+$/,
  },
]
const COLOURS = ['#0b7285', '#e8590c', '#7048e8', '#2f9e44', '#c2255c', '#868e96', '#f08c00']
const WIDTH = 860
const STYLE = `svg{font:13px system-ui,sans-serif}.head{font-weight:600}
.paper{fill:#fff;stroke:#d0d7de}text{fill:#1f2328}.faint{fill:#59636e;font-size:11px}.axis{stroke:#d0d7de}
@media (prefers-color-scheme:dark){
.paper{fill:#151b23;stroke:#3d444d}text{fill:#f0f6fc}.faint{fill:#9198a1}.axis{stroke:#3d444d}}`
const TITLE = 'MQTT QoS 1 messages, one to one'
const LEFT = 190
const RIGHT = 90
const BAR = 14
const GAP = 12
const HEAD = 84
const PANEL_HEAD = 40

/** The whole picture. Scenarios and servers without a figure are left out. */
export function plot(file: ResultFile): string {
  const servers = Object.keys(file.versions)
  const parts: string[] = []
  let y = HEAD
  for (const panel of panels) {
    const results = file.results.filter(
      ({ scenario, median }) => panel.scenarios.test(scenario) && Number.isFinite(median[panel.figure]),
    )
    if (results.length === 0) continue
    const { svg, height } = drawPanel(panel, results, servers, y)
    parts.push(svg)
    y += height
  }
  const { machine, date, runs, seconds } = file
  const conditions = [
    `200 pairs, median of ${runs} runs of ${seconds} s`,
    `${machine.cores} x ${machine.cpu} shared with the generator`,
    `fdatasync ${machine.fdatasyncP50Ms.toFixed(2)} ms`,
    `${date.slice(0, 10)}${file.quick ? ', QUICK: NOT COMPARABLE' : ''}`,
  ].join(', ')
  const height = y + GAP
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" role="img">`,
    `<title>${TITLE}</title>`,
    `<style>${STYLE}</style>`,
    `<rect class="paper" x=".5" y=".5" width="${WIDTH - 1}" height="${height - 1}" rx="6"/>`,
    `<text class="head" x="20" y="28" font-size="16">${TITLE}</text>`,
    `<text class="faint" x="20" y="46">${xml(conditions)}</text>`,
    legend(servers),
    ...parts,
    '</svg>\n',
  ].join('\n')
}

function legend(servers: readonly string[]): string {
  const step = (WIDTH - 40) / Math.max(servers.length, 5)
  return servers
    .map((server, i) => {
      const x = 20 + i * step
      const box = `<rect x="${x}" y="58" width="12" height="12" rx="2" fill="${colour(i)}"/>`
      return `${box}<text x="${x + 18}" y="69">${xml(server)}</text>`
    })
    .join('\n')
}

function drawPanel(panel: Panel, results: readonly Result[], servers: readonly string[], top: number) {
  const largest = Math.max(...results.map(({ median }) => median[panel.figure] ?? 0))
  const scale = (WIDTH - LEFT - RIGHT) / (largest || 1)
  const lines = [`<text class="head" x="20" y="${top + 24}">${xml(panel.title)}</text>`]
  let y = top + PANEL_HEAD
  const first = y
  for (const name of new Set(results.map(({ scenario }) => scenario))) {
    const group = results.filter(({ scenario }) => scenario === name)
    const middle = y + (group.length * BAR) / 2 + 4
    lines.push(`<text x="${LEFT - 10}" y="${middle}" text-anchor="end">${xml(group[0]?.title ?? name)}</text>`)
    for (const { server, median } of group) {
      const value = median[panel.figure] ?? 0
      const width = Math.max(1, value * scale).toFixed(1)
      const fill = colour(servers.indexOf(server))
      lines.push(`<rect x="${LEFT}" y="${y}" width="${width}" height="${BAR - 2}" rx="2" fill="${fill}"/>`)
      lines.push(`<text class="faint" x="${LEFT + Number(width) + 5}" y="${y + 10}">${figureText(value)}</text>`)
      y += BAR
    }
    y += GAP
  }
  lines.push(`<line class="axis" x1="${LEFT}" y1="${first - 4}" x2="${LEFT}" y2="${y - GAP + 2}"/>`)
  return { svg: lines.join('\n'), height: y - top }
}

function colour(index: number): string {
  return COLOURS[index % COLOURS.length] ?? '#888'
}

function xml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

/** `node bench/plot.ts FILE.json` draws the picture of a result file again. */
function main(): void {
  const name = process.argv[2]
  if (name === undefined || !name.endsWith('.json')) {
    console.error('Say which result file to draw: node bench/plot.ts bench/results/FILE.json')
    process.exitCode = 2
    return
  }
  const file = JSON.parse(readFileSync(name, 'utf8')) as ResultFile
  writeFileSync(name.replace(/\.json$/, '.svg'), plot(file))
}

if (import.meta.main) main()
