/** The process assembled: adapters, plugins, aedes behind the guard, listeners. No rules here. */
import { createHash } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { type Overrides, openPorts } from '../adapters/open.ts'
import type { Opened } from '../adapters/opened.ts'
import type { Config } from '../core/config.ts'
import { countBy, createMetrics, type Metrics } from '../core/metrics.ts'
import type { Clock, Log } from '../core/ports.ts'
import { authorizeForward, authorizeObserver, authorizeSubscribe } from '../plugins/authorize.ts'
import { createPlugins, type Plugins } from '../plugins/index.ts'
import { type Timeouts, timeouts } from '../plugins/timeouts.ts'
import { queues, startWorkers } from '../workers/index.ts'
import { createGoneNotes } from '../workers/presence.ts'
import { doorOf, type WideDoor } from './door.ts'
import { drain } from './drain.ts'
import { createEngine, type Engine } from './engine.ts'
import { onReady } from './guard.ts'
import { end, type Guard, type Guards } from './guarded.ts'
import { type Door, type Listener, listenTcp, listenTls, type ReloadableListener } from './listeners.ts'
import { type Secrets, secretsOf } from './secrets.ts'

export interface Server {
  readonly config: Config
  readonly secrets: Secrets
  readonly opened: Opened
  readonly metrics: Metrics
  readonly plugins: Plugins
  readonly mqttPort: number
  readonly mqttsPort: number | undefined
  /** Where other listeners (HTTP, WebSocket) bring their sockets. */
  readonly door: WideDoor
  /** Sockets that are guarded, before and after CONNECT. */
  openSockets(): number
  /** Publishes a retained operator topic. */
  retain(topic: string, payload: string): void
  reloadCertificates(): void
  /**
   * Stops accepting, lets commits finish, ends connections, closes the store. Bounded but for the store's last commit:
   * broker/run.ts ends the process after DRAIN_TIMEOUT_MS.
   */
  drain(): Promise<void>
}

const INBOX_FILTER = /^d\/[a-z0-9]{1,12}\/(in|from\/#)$/

function engineOf(guards: Guards, byDevice: (clientId: string) => Guard | undefined): Promise<Engine> {
  const { plugins } = guards
  const with_ = (stream: Duplex, use: (guard: Guard) => void): void => {
    const guard = guards.byStream.get(stream)
    if (guard !== undefined) use(guard)
  }
  return createEngine({
    isInboxFilter: (filter) => INBOX_FILTER.test(filter),
    async restore(clientId) {
      const connection = byDevice(clientId)?.connection
      if (connection === undefined) return undefined
      return (await plugins.hasSession(connection)) ? connection.filter : undefined
    },
    async remember(clientId, filters, subscribed) {
      const connection = byDevice(clientId)?.connection
      if (connection === undefined || (filters !== undefined && !filters.includes(connection.filter))) return
      await plugins.delivery.flow.ports.inbox.setSubscribed(connection.device, subscribed)
    },
    ready: (stream) => with_(stream, (guard) => onReady(guards, guard)),
    subscribed: (stream, filters) =>
      with_(stream, ({ connection }) => {
        if (connection !== undefined && filters.includes(connection.filter)) plugins.subscribed(connection)
      }),
    unsubscribed: (stream, filters) =>
      with_(stream, ({ connection }) => {
        if (connection !== undefined && filters.includes(connection.filter)) plugins.unsubscribed(connection)
      }),
    authorizeSubscribe(stream, filter, qos) {
      const guard = guards.byStream.get(stream)
      if (guard === undefined) return false
      const { connection, ticket } = guard
      const isAllowed =
        connection === undefined ? authorizeObserver(filter) : authorizeSubscribe(connection, filter, qos)
      if (!isAllowed) {
        countBy(guards.metrics.refused, 'not_allowed')
        const facts = { device: connection?.device, address: ticket.address, reason: 'not_allowed' }
        guards.log.info(facts, 'subscription refused')
      }
      return isAllowed
    },
    authorizeForward: (stream, topic) =>
      guards.byStream.get(stream)?.connection === undefined && authorizeForward(topic),
    failed: (stream, error) =>
      with_(stream, (guard) =>
        end(guards, guard, error.message === 'keep alive timeout' ? 'keepalive_timeout' : 'socket_error'),
      ),
  })
}

/** Leaves nothing open behind a start that failed. */
async function orClose<T>(started: Promise<T>, close: () => Promise<void>): Promise<T> {
  try {
    return await started
  } catch (error) {
    await close()
    throw error
  }
}

export interface ServerOverrides extends Overrides {
  readonly timeouts?: Partial<Timeouts>
}

/** Starts everything but HTTP. `onFatal` must end the process; `overrides` are for tests. */
export async function startServer(
  config: Config,
  log: Log,
  onFatal: (error: Error) => void,
  now: Clock = Date.now,
  overrides: ServerOverrides = {},
): Promise<Server> {
  const opened = await openPorts(config, now, log, onFatal, overrides)
  const secrets = await orClose(secretsOf(config, opened.shareSecret), () => opened.close())
  const metrics = createMetrics(now())
  const waits: Timeouts = { ...timeouts, ...overrides.timeouts }
  const plugins = createPlugins(opened.ports, metrics, {
    timeouts: waits,
    windowRows: config.windowRows,
    connectionsMax: config.connectionsMax,
    connectionsPerAddressMax: config.connectionsPerAddressMax,
    handshakesMax: config.handshakesMax,
    handshakesPerAddressMax: config.handshakesPerAddressMax,
    gone: createGoneNotes(opened.jobs.queue('presence', queues.presence.rules), now),
    observerHash: createHash('sha256').update(secrets.observerPassword.reveal()).digest(),
  })
  plugins.recover(opened.pendingMarks)
  const clients = new Map<string, Guard>()
  let engine: Engine
  const guards: Guards = {
    timeouts: waits,
    plugins,
    engine: () => engine,
    metrics,
    log,
    now,
    byStream: new WeakMap(),
    byClientId: clients,
    open: new Set(),
    isDraining: false,
  }
  engine = await engineOf(guards, (clientId) => clients.get(clientId))
  opened.operatorTopics?.listen((topic, payload) => engine.retain(topic, payload))
  const door = doorOf(guards)
  // Of a cluster all of it may be left to other processes.
  const stopWorkers = opened.storage === undefined || config.workersInline ? startWorkers(opened) : undefined
  const stop = async (): Promise<void> => {
    plugins.stop()
    await stopWorkers?.()
    await engine.close()
    await opened.close()
  }
  const { tcp, tls } = await orClose(openListeners(config, door), stop)
  const listeners = tls === undefined ? [tcp] : [tcp, tls]
  const pace = { sliceConnectionsMax: config.drainSliceConnectionsMax, timeoutMs: config.drainTimeoutMs }
  return {
    config,
    secrets,
    opened,
    metrics,
    plugins,
    mqttPort: tcp.port,
    mqttsPort: tls?.port,
    door,
    openSockets: () => guards.open.size,
    retain(topic, payload) {
      engine.retain(topic, payload)
      opened.operatorTopics?.publish(topic, payload)
    },
    reloadCertificates: () => tls?.reload(),
    drain: () => drain(guards, listeners, pace, stop),
  }
}

/** All or none. */
async function openListeners(
  config: Config,
  door: Door,
): Promise<{ tcp: Listener; tls: ReloadableListener | undefined }> {
  const isProxied = config.proxyProtocol
  const tcp = await listenTcp({ host: config.mqttHost, port: config.mqttPort, isProxied }, door)
  if (config.tlsCert === '') return { tcp, tls: undefined }
  try {
    const files = { cert: config.tlsCert, key: config.tlsKey }
    const tls = await listenTls({ host: config.mqttsHost, port: config.mqttsPort, isProxied }, files, door)
    return { tcp, tls }
  } catch (error) {
    tcp.close()
    throw error
  }
}
