/** Rounds: load, a strike, how soon everything goes on, and whether anything is lost, misordered, misdelivered or twice. */
import { setTimeout as wait } from 'node:timers/promises'
import type { Lane } from '../flows/kill-lane.ts'
import type { Client } from '../world/client.ts'
import type { BrokerProcess, Deployment } from './deployment.ts'
import { type Kind, unbound } from './kinds.ts'
import { type Counts, type Load, startAll, until } from './load.ts'
import { mark, type Probe } from './probe.ts'

/** Of one round. */
export interface Outcome extends Counts {
  readonly kind: string
  readonly tookMs: number
  /** From the heal until what was acknowledged, and something new of every shard, is there. */
  readonly healMs: number | undefined
  /** From the strike, while what was struck is away. */
  readonly goOnMs: number | undefined
  /** What was there last after the heal. */
  readonly slowest: string
  /** Recipients whose connection ended although their broker lived. */
  readonly dropped: number
  readonly failure: string | undefined
}

const LOAD_MS = 1_500
const LOAD_MORE_MS = 500
const CURRENT_MS_MAX = 30_000
const SETTLE_MS_MAX = 60_000
const FAULTS_TOLD_MAX = 5

interface Recipient {
  readonly at: BrokerProcess
  readonly client: Client | undefined
  readonly of: Lane | Probe
}

const isProbe = (of: Lane | Probe): of is Probe => 'shard' in of
const isLane = (of: Lane | Probe): of is Lane => !isProbe(of)

function recipientsOf({ lanes, probes }: Load, { recipients }: Deployment): Recipient[] {
  const there = lanes.filter(({ isAway }) => !isAway)
  return [
    ...there.map((of) => ({ at: recipients, client: of.recipient, of })),
    ...probes.map((of) => ({ at: of.recipientAt, client: of.recipient, of })),
  ]
}

/** Everything that was acknowledged until now has arrived. */
function arrivals(lanes: readonly Lane[]): () => boolean {
  const wanted = lanes.map((lane) => [lane, lane.acked.lastIndexOf(true) + 1] as const)
  return () => wanted.every(([lane, upTo]) => lane.arrived >= upTo)
}

interface Current {
  readonly ms: number
  readonly slowest: string
}

/** How long after `fromMs` something new of each probe was there; undefined when that took too long. */
async function goesOn(probes: readonly Probe[], lanes: readonly Lane[], fromMs: number): Promise<Current | undefined> {
  const areThere = arrivals(lanes)
  let lanesMs = 0
  const isCurrent = () => {
    if (lanesMs === 0 && areThere()) lanesMs = performance.now()
    return lanesMs > 0 && probes.every(({ freshMs }) => freshMs !== undefined)
  }
  if (!(await until(isCurrent, CURRENT_MS_MAX))) return undefined
  const all = [
    { ms: lanesMs - fromMs, slowest: 'what was acknowledged' },
    ...probes.map(({ freshMs = 0, shard, senderAt }) => ({
      ms: freshMs - fromMs,
      slowest: `shard ${shard} from ${senderAt.name}`,
    })),
  ]
  return all.reduce((last, each) => (each.ms > last.ms ? each : last))
}

function markAll(probes: readonly Probe[]): number {
  for (const probe of probes) mark(probe)
  return performance.now()
}

function stuck(probes: readonly Probe[], after: string): string {
  const shards = probes.filter(({ freshMs }) => freshMs === undefined).map(({ shard }) => shard)
  return `nothing new ${CURRENT_MS_MAX} ms after ${after}, of shards ${shards.join() || 'none: what was acknowledged'}`
}

interface Measures {
  healMs?: number | undefined
  goOnMs?: number | undefined
  slowest: string
  dropped: number
}

async function strike(
  kind: Kind,
  deployment: Deployment,
  load: Load,
  of: { round: number; pauseMs: number },
  measures: Measures,
): Promise<void> {
  const before = recipientsOf(load, deployment)
  const areThere = arrivals(load.lanes.filter(({ isAway }) => !isAway))
  const request = {
    deployment,
    ...of,
    ackedCount: () => load.counts().acked,
    async drained() {
      if (!(await until(areThere, CURRENT_MS_MAX))) throw new Error('what was acknowledged does not drain')
    },
  }
  const strikeMs = markAll(load.probes)
  await kind.strike(request)
  if (kind.isReplaced) {
    measures.goOnMs = (await goesOn(load.probes, [], strikeMs))?.ms
    if (measures.goOnMs === undefined) throw new Error(stuck(load.probes, 'the strike'))
  }
  await kind.heal(request)
  const healedMs = markAll(load.probes)
  const ended = kind.ends(deployment)
  const lived = before.filter(({ at }) => at !== ended)
  const kept = lived.filter(({ client, of: { recipient } }) => recipient === client && client?.isClosed === false)
  const probes = kept.map((each) => each.of).filter(isProbe)
  const lanes = kept.map((each) => each.of).filter(isLane)
  const current = await goesOn(probes, lanes, healedMs)
  measures.healMs = current?.ms
  measures.slowest = current?.slowest ?? ''
  measures.dropped = lived.filter(({ client }) => client?.isClosed !== false).length
  if (measures.healMs === undefined) throw new Error(stuck(probes, 'the heal'))
}

/** A round on a load that is settled; afterwards it is again, or the outcome says why not. */
export async function playRound(
  kind: Kind,
  deployment: Deployment,
  load: Load,
  of: { round: number; pauseMs: number },
): Promise<Outcome> {
  const startedMs = performance.now()
  const before = load.counts()
  const measures: Measures = { slowest: '', dropped: 0 }
  const failures: string[] = []
  try {
    await load.begin()
    await wait(LOAD_MS)
    await strike(kind, deployment, load, of, measures)
    await wait(LOAD_MORE_MS)
  } catch (error) {
    failures.push((error as Error).message)
    await deployment.mend().catch((broken: Error) => failures.push(broken.message))
  }
  if (kind.name === 'redis-full') await unbound(deployment)
  load.end()
  await load.settle(SETTLE_MS_MAX).catch((error: Error) => failures.push(error.message))
  failures.push(...load.faults(FAULTS_TOLD_MAX))
  const after = load.counts()
  return {
    kind: kind.name,
    tookMs: performance.now() - startedMs,
    healMs: measures.healMs,
    goOnMs: measures.goOnMs,
    slowest: measures.slowest,
    dropped: measures.dropped,
    acked: after.acked - before.acked,
    lost: after.lost - before.lost,
    misordered: after.misordered - before.misordered,
    misdelivered: after.misdelivered - before.misdelivered,
    shownTwice: after.shownTwice - before.shownTwice,
    failure: failures.length === 0 ? undefined : failures.join('; '),
  }
}

/** Another load with other devices, after a round that failed: what it left behind is not counted again. */
export async function renewed(deployment: Deployment, load: Load): Promise<Load> {
  load.stop()
  await deployment.mend()
  return startAll(deployment)
}
