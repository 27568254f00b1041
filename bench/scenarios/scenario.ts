/** What a scenario is, and the steps that most of them share. */
import type { Path } from '../generator/fleet.ts'
import { percentileMs } from '../generator/histogram.ts'
import { closeLoad, type Load, wantNothing } from '../generator/load.ts'
import { outcome } from '../generator/outcome.ts'
import { type Traffic, waitFor } from '../generator/traffic.ts'
import { type Cost, cpuSeconds, startCost } from '../process-cost.ts'
import { type RunningServer, removeFolder, type ServerKind, temporaryFolder } from '../servers/server.ts'

export type Settings = {
  /** Length of one measurement. */
  seconds: number
  /** Load before the measurement that is not counted. */
  warmupS: number
  /** Smaller numbers everywhere, to try the bench; the figures are not comparable. */
  quick: boolean
  killRounds: number
  note(line: string): void
}

/** Figures of one run by name; the unit is the end of the name. */
export type Run = Record<string, number>

export type Scenario = {
  name: string
  title: string
  /** The figure that the table and the plot show, and its unit in words. */
  figure: string
  unit: string
  /** True where the scenario needs what only Heliograph has. */
  heliographOnly: boolean
  runsMax?: number
  run(kind: ServerKind, settings: Settings): Promise<Run>
}

/** Throughput, window and peers.md conditions: 200 pairs. */
export const PAIRS = 200
/** After so long without any PUBACK or arrival, what is missing counts as lost. */
const QUIET_MS = 10_000

/** Starts the server on an empty data folder, and ends both whatever happens. */
export async function withServer<T>(
  kind: ServerKind,
  use: (server: RunningServer, dataDir: string) => Promise<T>,
  env: Record<string, string> = {},
): Promise<T> {
  const dataDir = temporaryFolder(kind.name)
  try {
    const server = await kind.start({ dataDir, env })
    try {
      return await use(server, dataDir)
    } finally {
      await server.stop()
    }
  } finally {
    removeFolder(dataDir)
  }
}

/** Records latencies, cost and arrivals for so many seconds under the load that is already running. */
export async function measure(load: Load, server: RunningServer, seconds: number): Promise<Run> {
  const { traffic } = load
  const before = traffic.arrived
  const cost = startCost(server.pids)
  const ofParts = startParts(server.parts ?? {})
  traffic.measuring = true
  await pause(seconds)
  traffic.measuring = false
  const spent = cost()
  const messages = traffic.arrived - before
  if (messages === 0) throw new Error(`nothing arrived in ${seconds} s of load`)
  return { ...throughput(messages, spent, traffic), ...ofParts(messages) }
}

/** CPU of each part by itself, in seconds per 100,000 messages. */
function startParts(parts: Record<string, number[]>): (messages: number) => Run {
  const before = Object.entries(parts).map(([name, pids]) => ({ name, pids, cpuS: cpuSeconds(pids) }))
  return (messages) =>
    Object.fromEntries(
      before.map(({ name, pids, cpuS }) => [`${name}CpuSPer100k`, ((cpuSeconds(pids) - cpuS) * 1e5) / messages]),
    )
}

function throughput(messages: number, cost: Cost, traffic: Traffic): Run {
  return {
    msgPerS: messages / cost.wallS,
    cpuSPer100k: (cost.serverS * 1e5) / messages,
    ...percentiles('arrival', traffic),
    ...percentiles('puback', traffic),
    generatorCores: cost.generatorCores,
    otherCores: cost.otherCores,
  }
}

function percentiles(what: 'arrival' | 'puback', traffic: Traffic): Run {
  const histogram = what === 'arrival' ? traffic.arrivalMs : traffic.pubackMs
  return {
    [`${what}P50Ms`]: percentileMs(histogram, 0.5),
    [`${what}P99Ms`]: percentileMs(histogram, 0.99),
    [`${what}P999Ms`]: percentileMs(histogram, 0.999),
  }
}

/** Ends the load: lets what is on its way arrive, counts what did not, closes the connections. */
export async function finish(load: Load): Promise<Run> {
  wantNothing(load)
  const { traffic } = load
  await waitFor(traffic, traffic.sent, traffic.sent, QUIET_MS)
  const { sent, acked, marks } = traffic
  const counts = { sent, acked, marks, ...outcome(traffic) }
  await closeLoad(load)
  requireUnbroken(load)
  return counts
}

/** Throws when the server closed connections under the load: its figures would be those of a smaller load. */
export function requireUnbroken(load: Load): void {
  const [reason] = load.broken
  if (reason !== undefined) throw new Error(`the server closed ${load.broken.length} connections: ${reason}`)
}

/** Waits for so many PUBACKs and arrivals; throws a sentence with the counts when neither moves any more. */
export async function expectCounts(load: Load, acked: number, arrived: number): Promise<void> {
  const { traffic } = load
  if (await waitFor(traffic, acked, arrived, QUIET_MS)) return
  requireUnbroken(load)
  throw new Error(`stalled: ${traffic.acked} of ${acked} acknowledged, ${traffic.arrived} of ${arrived} arrived`)
}

export function pause(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000))
}

export const pathTitle = (path: Path): string => (path === 'raw' ? 'raw' : 'SendRequest')
