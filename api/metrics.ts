/**
 * `/metrics` for Prometheus: the counters of core/metrics.ts under heliograph_* names, and what the process and its
 * store say of themselves. Read when asked, so the hot path only raises plain numbers. Labels are names of
 * catalogues, never ids.
 */
import { Counter, Gauge, Registry } from 'prom-client'
import type { Metrics } from '../core/metrics.ts'
import type { App } from './app.ts'

/** Seconds by which the event loop was late, of the last 10 to 20 s. */
export interface LoopDelay {
  readonly p50: number
  readonly p99: number
  readonly p999: number
}

export interface Sources {
  readonly metrics: Metrics
  readonly version: string
  storeFacts(): Readonly<Record<string, number | string>>
  /** States of circuit breakers, by store. */
  breakers?(): Readonly<Record<string, 'closed' | 'open' | 'half-open'>>
  /** Entries that are not done, by shard, where workers apply them. */
  backlogs?(): readonly number[]
  /** Jobs that failed for good, by queue. */
  deadJobs?(): Readonly<Record<string, number>>
  /** Why the intake refuses, a name of the error catalogue. */
  refusal(): string | undefined
  loopDelay(): LoopDelay
}

type Read = () => number
type ReadLabelled = () => Readonly<Record<string, number>>

function counter(registry: Registry, name: string, help: string, read: Read): void {
  const collected: Counter = new Counter({
    name,
    help,
    registers: [registry],
    collect() {
      collected.reset()
      collected.inc(read())
    },
  })
}

function labelledCounter(registry: Registry, name: string, help: string, label: string, read: ReadLabelled): void {
  const collected: Counter = new Counter({
    name,
    help,
    labelNames: [label],
    registers: [registry],
    collect() {
      collected.reset()
      for (const [value, count] of Object.entries(read())) collected.inc({ [label]: value }, count)
    },
  })
}

function gauge(registry: Registry, name: string, help: string, read: Read): void {
  const collected: Gauge = new Gauge({ name, help, registers: [registry], collect: () => collected.set(read()) })
}

function trafficMetrics(registry: Registry, metrics: Metrics): void {
  const count = (name: string, help: string, read: Read) => counter(registry, `heliograph_${name}_total`, help, read)
  count('publishes_received', 'PUBLISH frames taken from devices', () => metrics.publishesIn)
  count('publish_received_bytes', 'Bytes of PUBLISH frames taken from devices', () => metrics.bytesIn)
  count('publishes_sent', 'PUBLISH frames written to devices', () => metrics.publishesOut)
  count('publish_sent_bytes', 'Bytes of PUBLISH frames written to devices', () => metrics.bytesOut)
  count('resends', 'Rows that went out with DUP', () => metrics.resent)
  count('stored', 'PUBACKs written after something was stored', () => metrics.stored)
  count('repeated', 'Requests recognised as sent before', () => metrics.repeated)
  count('acknowledged', 'Rows acknowledged by devices', () => metrics.acknowledged)
  count('unknown_pubacks', 'PUBACKs for ids outside the window', () => metrics.unknownPubacks)
  count('connects', 'Connections that reached CONNACK', () => metrics.connects)
  const labelled = (name: string, help: string, label: string, read: ReadLabelled) =>
    labelledCounter(registry, `heliograph_${name}_total`, help, label, read)
  labelled('refusals', 'Refused requests, by name of the error catalogue', 'code', () => metrics.refused)
  labelled('disconnects', 'Ended connections, by name of the disconnect catalogue', 'reason', () => metrics.disconnects)
  labelled('rejections', 'Connections ended before CONNACK', 'reason', () => metrics.rejected)
  gauge(registry, 'heliograph_connections', 'Connections now', () => metrics.connections)
  gauge(registry, 'heliograph_connections_max', 'Most connections at one time', () => metrics.connectionsMax)
  gauge(registry, 'heliograph_held_bytes', 'Bytes of PUBLISHes that wait for their commit', () => metrics.heldBytes)
}

function storeMetrics(registry: Registry, sources: Sources): void {
  const fact = (name: string) => Number(sources.storeFacts()[name] ?? 0)
  gauge(registry, 'heliograph_tail_rows', 'Inbox rows in the tail', () => fact('tailRows'))
  gauge(registry, 'heliograph_tail_entries', 'Entries of the tail', () => fact('tailEntries'))
  gauge(registry, 'heliograph_settled_rows', 'Inbox rows that outlived the tail', () => fact('settledRows'))
  gauge(registry, 'heliograph_devices', 'Devices that are not revoked', () => fact('registered'))
  gauge(registry, 'heliograph_devices_in_memory', 'Devices whose inbox state is in memory', () => fact('devices'))
  gauge(registry, 'heliograph_full_devices', 'Devices whose inbox is full', () => fact('fullDevices'))
  const count = (name: string, help: string, of: string) =>
    counter(registry, `heliograph_${name}_total`, help, () => fact(of))
  count('jobs_added', 'Jobs added to queues by this process', 'jobsAdded')
  count('jobs_refused', 'Jobs that were not added because their queue was full', 'jobsRefused')
  count('jobs_failed', 'Failed attempts at jobs in this process', 'jobsFailed')
  gauge(registry, 'heliograph_dead_letters', 'Accepted and not applied, kept', () => fact('deadLetters'))
  const deadJobs: Gauge = new Gauge({
    name: 'heliograph_dead_jobs',
    help: 'Jobs that failed for good and are kept with their reason',
    labelNames: ['queue'],
    registers: [registry],
    collect() {
      for (const [queue, jobs] of Object.entries(sources.deadJobs?.() ?? {})) deadJobs.set({ queue }, jobs)
    },
  })
  const refusing: Gauge = new Gauge({
    name: 'heliograph_intake_refusing',
    help: '1 while the intake refuses new work; the label says why',
    labelNames: ['code'],
    registers: [registry],
    collect() {
      refusing.reset()
      const code = sources.refusal()
      refusing.set({ code: code ?? 'none' }, code === undefined ? 0 : 1)
    },
  })
}

/** The way from PUBACK to delivery, where it leads over several processes. Elsewhere there are no numbers of it. */
function wayMetrics(registry: Registry, sources: Sources): void {
  function way(name: string, help: string, of: string): void {
    const collected: Gauge = new Gauge({
      name: `heliograph_${name}`,
      help,
      registers: [registry],
      collect() {
        const fact = sources.storeFacts()[of]
        if (fact === undefined) collected.remove()
        else collected.set(Number(fact))
      },
    })
  }
  way('watermark_age_seconds', 'How far what may be read is behind the clock', 'watermarkAgeS')
  way('held_rows', 'Rows that wait here for the watermark', 'heldRows')
  way('devices_behind', 'Devices that connected before all that waited for them was readable', 'devicesBehind')
  const gaps: Counter = new Counter({
    name: 'heliograph_hearing_gaps_total',
    help: 'Times that the connection was lost on which this process hears of rows',
    registers: [registry],
    collect() {
      const fact = sources.storeFacts()['hearingLosses']
      gaps.reset()
      if (fact === undefined) gaps.remove()
      else gaps.inc(Number(fact))
    },
  })
  const backlogs: Gauge = new Gauge({
    name: 'heliograph_shard_backlog',
    help: 'Entries that are not applied yet',
    labelNames: ['shard'],
    registers: [registry],
    collect() {
      for (const [shard, count] of (sources.backlogs?.() ?? []).entries()) backlogs.set({ shard }, count)
    },
  })
}

const BREAKER_NUMBERS = { closed: 0, 'half-open': 1, open: 2 } as const

/** Of a profile without breakers there is no line. */
function breakerMetrics(registry: Registry, sources: Sources): void {
  const states: Gauge = new Gauge({
    name: 'heliograph_breaker_state',
    help: 'Circuit breaker in front of a store: 0 closed, 1 half-open, 2 open',
    labelNames: ['store'],
    registers: [registry],
    collect() {
      states.reset()
      for (const [store, state] of Object.entries(sources.breakers?.() ?? {}))
        states.set({ store }, BREAKER_NUMBERS[state])
    },
  })
}

function processMetrics(registry: Registry, sources: Sources): void {
  const about = 'Event loop lateness of the last 10 to 20 s'
  for (const part of ['p50', 'p99', 'p999'] as const) {
    gauge(registry, `heliograph_event_loop_delay_${part}_seconds`, `${about}, ${part}`, () => sources.loopDelay()[part])
  }
  gauge(registry, 'heliograph_process_resident_bytes', 'Resident memory', () => process.memoryUsage.rss())
  gauge(registry, 'heliograph_process_heap_used_bytes', 'JavaScript heap in use', () => process.memoryUsage().heapUsed)
  counter(registry, 'heliograph_process_cpu_seconds_total', 'CPU time of all threads', () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1e6
  })
  const startedS = sources.metrics.startedMs / 1_000
  gauge(registry, 'heliograph_process_start_time_seconds', 'Unix time of the start', () => startedS)
  const info = new Gauge({
    name: 'heliograph_build_info',
    help: 'Always 1; the labels say what runs',
    labelNames: ['version', 'node'],
    registers: [registry],
  })
  info.set({ version: sources.version, node: process.versions.node }, 1)
}

/** A registry of one server: nothing is registered globally, so that one process can hold several. */
export function createRegistry(sources: Sources): Registry {
  const registry = new Registry()
  trafficMetrics(registry, sources.metrics)
  storeMetrics(registry, sources)
  wayMetrics(registry, sources)
  breakerMetrics(registry, sources)
  processMetrics(registry, sources)
  return registry
}

export function metricsRoutes(app: App, registry: Registry): void {
  app.get(
    '/metrics',
    { schema: { summary: 'Counters and gauges for Prometheus', tags: ['health'] } },
    async (_request, reply) => {
      reply.header('cache-control', 'no-store').type(registry.contentType)
      return registry.metrics()
    },
  )
}
