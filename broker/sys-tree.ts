/**
 * The names under $SYS/broker that Mosquitto's dashboards look for, with its meanings where we have them. Pure. What
 * operators themselves are sent is not counted.
 */
import type { Metrics } from '../core/metrics.ts'
import { type ErrorCode, errorOf, isErrorCode, RETRY_LATER } from '../topics/errors.ts'
import { createLoadAverage, type LoadAverage } from './load-average.ts'

const sum = (counters: Readonly<Record<string, number>>): number =>
  Object.values(counters).reduce((all, one) => all + one, 0)

/** Refused because something was full or down: what Mosquitto would have dropped without a word. */
const isLimit = (code: ErrorCode): boolean => errorOf(code).retry === RETRY_LATER || code === 'undeliverable'

function droppedOf(metrics: Metrics): number {
  return sum(Object.fromEntries(Object.entries(metrics.refused).filter(([code]) => isErrorCode(code) && isLimit(code))))
}

/** MQTT packets of each direction: every CONNECT, control packet and PUBLISH has its answer. */
const packetsIn = (m: Metrics): number => m.connects + m.controlsIn + m.publishesIn + m.acknowledged + m.unknownPubacks
const packetsOut = (m: Metrics): number =>
  m.connects +
  m.controlsIn -
  (m.disconnects['client_disconnect'] ?? 0) +
  m.publishesOut +
  m.stored +
  m.repeated +
  sum(m.refused)

const LOADS: Readonly<Record<string, (metrics: Metrics) => number>> = {
  'messages/received': packetsIn,
  'messages/sent': packetsOut,
  'publish/received': (m) => m.publishesIn,
  'publish/sent': (m) => m.publishesOut,
  'publish/dropped': droppedOf,
  'bytes/received': (m) => m.socketBytesIn,
  'bytes/sent': (m) => m.socketBytesOut,
  connections: (m) => m.connects,
  sockets: (m) => m.connects + sum(m.rejected),
}

/** What the counters do not know. */
export interface SysFacts {
  readonly version: string
  /** Devices that are not revoked, connected or not. */
  readonly registered: number
  /** Rows in the inboxes' tail. */
  readonly rowsWaiting: number
}

export interface SysTree {
  /** Name below $SYS/broker → bare number or text, at unix ms `nowMs`. */
  read(facts: SysFacts, nowMs: number): Readonly<Record<string, string>>
}

export function createSysTree(metrics: Metrics): SysTree {
  const loads: Record<string, LoadAverage> = {}
  for (const name of Object.keys(LOADS)) loads[name] = createLoadAverage(metrics.startedMs)
  return {
    read(facts, nowMs) {
      const { connections } = metrics
      const total = Math.max(facts.registered + metrics.observers, connections)
      const values: Record<string, string | number> = {
        version: `heliograph version ${facts.version}`,
        uptime: `${Math.floor((nowMs - metrics.startedMs) / 1_000)} seconds`,
        'clients/connected': connections,
        'clients/disconnected': total - connections,
        'clients/total': total,
        'clients/maximum': metrics.connectionsMax,
        'messages/received': packetsIn(metrics),
        'messages/sent': packetsOut(metrics),
        'publish/messages/received': metrics.publishesIn,
        'publish/messages/sent': metrics.publishesOut,
        'publish/messages/dropped': droppedOf(metrics),
        'publish/bytes/received': metrics.bytesIn,
        'publish/bytes/sent': metrics.bytesOut,
        'bytes/received': metrics.socketBytesIn,
        'bytes/sent': metrics.socketBytesOut,
        'store/messages/count': facts.rowsWaiting,
        'heap/current': process.memoryUsage.rss(),
      }
      for (const [name, load] of Object.entries(loads)) {
        load.update((LOADS[name] as (metrics: Metrics) => number)(metrics), nowMs)
        for (const { over, perMinute } of load.read()) values[`load/${name}/${over}`] = perMinute.toFixed(2)
      }
      return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)]))
    },
  }
}
