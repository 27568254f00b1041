/**
 * What operators see: retained JSON under ops/ per node, store and queue, and Mosquitto's names under $SYS/broker.
 * Sums and states only: never content, device ids, or who talks to whom. Published each 5 s, and at once when
 * readiness changes.
 */
import { statfs } from 'node:fs/promises'
import type { Missing } from '../api/health.ts'
import type { LoopDelay } from '../api/metrics.ts'
import type { Metrics } from '../core/metrics.ts'
import { limits } from '../topics/limits.ts'
import { topicOf } from '../topics/topic.ts'
import type { Server } from './server.ts'
import { createSysTree } from './sys-tree.ts'

const PUBLISH_EVERY_MS = 5_000
const LOOK_EVERY_MS = 250
const MIB = 1024 * 1024

export interface Operators {
  /** Publishes now. */
  publish(): Promise<void>
  stop(): void
}

export interface Observed {
  readonly version: string
  loopDelay(): LoopDelay
  missing(): readonly Missing[]
}

/** Counters whose growth per second is shown, by the name that operators read. */
const RATED = {
  publishesIn: (m: Metrics) => m.publishesIn,
  publishesOut: (m: Metrics) => m.publishesOut,
  stored: (m: Metrics) => m.stored,
  delivered: (m: Metrics) => m.acknowledged,
  bytesIn: (m: Metrics) => m.socketBytesIn,
  bytesOut: (m: Metrics) => m.socketBytesOut,
  connects: (m: Metrics) => m.connects,
} as const

interface Sample {
  readonly atMs: number
  readonly cpuS: number
  readonly totals: Record<string, number>
}

const round = (value: number, digits = 1): number => Number(value.toFixed(digits))

function sampleOf(metrics: Metrics, nowMs: number): Sample {
  const { user, system } = process.cpuUsage()
  const totals = Object.fromEntries(Object.entries(RATED).map(([name, read]) => [name, read(metrics)]))
  return { atMs: nowMs, cpuS: (user + system) / 1e6, totals }
}

function nodeState(server: Server, observed: Observed, before: Sample, now: Sample): object {
  const { metrics } = server
  const seconds = Math.max(0.001, (now.atMs - before.atMs) / 1_000)
  const missing = observed.missing()
  const { p50, p99, p999 } = observed.loopDelay()
  const rate = (name: string) => round(((now.totals[name] as number) - (before.totals[name] as number)) / seconds)
  return {
    version: observed.version,
    uptimeS: Math.floor((now.atMs - metrics.startedMs) / 1_000),
    ready: missing.length === 0,
    missing: missing.map(({ what, why }) => `${what}: ${why}`),
    breakers: server.opened.breakers?.() ?? {},
    connections: metrics.connections,
    connectionsMax: metrics.connectionsMax,
    perSecond: Object.fromEntries(Object.keys(RATED).map((name) => [name, rate(name)])),
    total: {
      ...now.totals,
      resent: metrics.resent,
      repeated: metrics.repeated,
      unknownPubacks: metrics.unknownPubacks,
    },
    refused: metrics.refused,
    rejected: metrics.rejected,
    disconnects: metrics.disconnects,
    heldBytes: metrics.heldBytes,
    loopDelayMs: { p50: round(p50 * 1_000, 2), p99: round(p99 * 1_000, 2), p999: round(p999 * 1_000, 2) },
    residentMib: round(process.memoryUsage.rss() / MIB),
    cpuPercent: round((100 * (now.cpuS - before.cpuS)) / seconds),
  }
}

async function storeState(server: Server): Promise<object> {
  const { opened, config } = server
  const { bavail, bsize } = await statfs(config.dataDir)
  return {
    ...opened.storeFacts(),
    refusal: opened.ports.intake.refusal() ?? '',
    tailRowsMax: limits.tailRowsMax,
    diskFreeMib: Math.floor((bavail * bsize) / MIB),
    diskFreeMibMin: config.diskFreeMibMin,
    promise: opened.promise(),
  }
}

/** The one queue of the embedded profile: PUBLISHes that wait for their commit. */
function intakeState({ metrics, plugins }: Server): object {
  return {
    senders: plugins.ingress.senders.size,
    heldBytes: metrics.heldBytes,
    heldBytesMax: limits.heldBytesPerNodeMax,
  }
}

/** Begins to publish. `publish` is also for what cannot wait: the last state before the end. */
export function startOperators(server: Server, observed: Observed): Operators {
  const { metrics, config, opened } = server
  const { now, log } = opened.ports
  /** Where nodes share ops/, each has its own store and queue. */
  const named = (what: string): string => (opened.operatorTopics === undefined ? what : `${what}-${config.nodeName}`)
  const store = opened.operatorTopics === undefined ? 'sqlite' : named('cluster')
  const sys = createSysTree(metrics)
  let before = sampleOf(metrics, metrics.startedMs)
  let shown = ''
  /** What was published last, so that what does not change is not sent again. */
  const published = new Map<string, string>()

  const retain = (topic: string, payload: string): void => {
    if (published.get(topic) === payload) return
    published.set(topic, payload)
    server.retain(topic, payload)
  }

  async function publish(): Promise<void> {
    shown = JSON.stringify(observed.missing())
    const sample = sampleOf(metrics, now())
    const { tailRows = 0, settledRows = 0, registered = 0 } = opened.storeFacts()
    const facts = {
      version: observed.version,
      registered: Number(registered),
      rowsWaiting: Number(tailRows) + Number(settledRows),
    }
    for (const [name, value] of Object.entries(sys.read(facts, sample.atMs))) retain(topicOf('sys', { name }), value)
    retain(topicOf('opsNode', { node: config.nodeName }), JSON.stringify(nodeState(server, observed, before, sample)))
    retain(topicOf('opsQueue', { queue: named('intake') }), JSON.stringify(intakeState(server)))
    before = sample
    retain(topicOf('opsStore', { store }), JSON.stringify(await storeState(server)))
  }

  const publishOrSay = (): void => {
    publish().catch((error: Error) =>
      log.warn({ error: error.message }, 'the operators’ topics could not be published'),
    )
  }
  publishOrSay()
  const ticker = setInterval(publishOrSay, PUBLISH_EVERY_MS)
  const looker = setInterval(() => {
    if (JSON.stringify(observed.missing()) !== shown) publishOrSay()
  }, LOOK_EVERY_MS)
  ticker.unref()
  looker.unref()
  return {
    publish,
    stop() {
      clearInterval(ticker)
      clearInterval(looker)
    },
  }
}
