/**
 * The device's way to the server: an MQTT connection that comes back after it was lost. It keeps nothing: what has no
 * PUBACK when a connection ends is for the outbox to publish again, and what was not acknowledged comes again.
 */

import { ClientFault } from '../faults.ts'
import { createBackoff } from './backoff.ts'
import { type Cause, type MqttConnection, openConnection } from './mqtt-connection.ts'
import type { Ack } from './mqtt-frames.ts'

export type { EndReason } from './mqtt-connection.ts'
export type { Ack } from './mqtt-frames.ts'

export interface TransportSettings {
  /** mqtt://, mqtts://, ws:// or wss://. */
  readonly url: string
  readonly device: string
  /** Asked at every connection. */
  token(): string
  readonly keepaliveS?: number
  /** Numbers from 0 to 1, for the backoff. */
  random?(): number
}

export interface End extends Cause {
  /** Undefined: nothing happens by itself; see `retryNow`. */
  readonly retryInMs: number | undefined
}

/** Called in the order things happen on the wire; no delivery and no `now` comes before `onOnline`. */
export interface TransportHandlers {
  /** The server has accepted the device and its inbox is subscribed. */
  onOnline(): void
  /** A connection ended, or could not be made. Whatever was published on it and has no PUBACK is unknown. */
  onOffline(end: End): void
  /** `isRepeat`: the server has sent it before (DUP). Answer with `acknowledge` when it is safe. */
  onDelivery(payload: Uint8Array, ack: Ack, isRepeat: boolean): void
  /** What was published with this stamp on the connection that is there is stored, or refused for good. */
  onPuback(stamp: number): void
  onNow(payload: Uint8Array): void
}

export interface Transport {
  start(): void
  /** DISCONNECT, after what was written before. Resolves when the socket is gone; no callback comes any more. */
  stop(): Promise<void>
  /** As if the process died: no DISCONNECT, no callback. */
  destroy(): void
  isOnline(): boolean
  /** QoS 1, in order. Does nothing when there is no connection: `onOnline` is the time to publish again. */
  publish(payload: Uint8Array, stamp: number): void
  /** QoS 0; dropped when there is no connection. */
  publishNow(payload: Uint8Array): void
  /** In one write; those of an earlier connection are dropped (B2). */
  acknowledge(acks: readonly Ack[]): void
  /** Tries at once and with short waits again, also after `unauthorized`. Nothing when connected or connecting. */
  retryNow(): void
}

const PROTOCOLS = new Set(['mqtt:', 'mqtts:', 'ws:', 'wss:'])
const KEEPALIVE_S = 60
/** Online for so long, the next wait is a short one again. */
const SETTLED_AFTER_MS = 30_000
/** An end so soon, so many times: somebody else takes the connection over. Only a long calm ends the suspicion. */
const TAKEN_OVER_WITHIN_MS = 5_000
const TAKEN_OVER_COUNT = 3
const CALM_AFTER_MS = 600_000
const TAKEN_OVER_TEXT = 'Another program seems to use the account of this device; end one of the two.'

interface State {
  readonly settings: TransportSettings
  readonly handlers: TransportHandlers
  readonly backoff: ReturnType<typeof createBackoff>
  live: MqttConnection | undefined
  retry: NodeJS.Timeout | undefined
  isStarted: boolean
  connections: number
  /** Ends soon after online, since it was calm last. */
  soonEnds: number
}

function open(state: State): void {
  state.retry = undefined
  const { settings, handlers } = state
  const { url, device, keepaliveS = KEEPALIVE_S } = settings
  const number = ++state.connections
  state.live = openConnection(
    { url, device, token: settings.token(), keepaliveS, number },
    {
      onOnline: () => handlers.onOnline(),
      onDelivery: (payload, ack, isRepeat) => handlers.onDelivery(payload, ack, isRepeat),
      onPuback: (stamp) => handlers.onPuback(stamp),
      onNow: (payload) => handlers.onNow(payload),
      onEnd: (cause, onlineMs) => finish(state, cause, onlineMs),
    },
  )
}

function finish(state: State, cause: Cause, onlineMs: number | undefined): void {
  state.live = undefined
  if (cause.reason === 'unauthorized') {
    state.handlers.onOffline({ ...cause, retryInMs: undefined })
    return
  }
  const isSuspicious = onlineMs !== undefined && judgeTakeover(state, onlineMs)
  const retryInMs = state.backoff.next()
  state.retry = setTimeout(open, retryInMs, state)
  const isTakenOver = isSuspicious && cause.reason === 'closed'
  state.handlers.onOffline({ ...(isTakenOver ? { reason: 'taken_over', text: TAKEN_OVER_TEXT } : cause), retryInMs })
}

/**
 * Two programs of one device end each other's connections. Both wait longer and longer then: the waits begin anew only
 * after a long calm, else each would feel settled while the other one waits.
 */
function judgeTakeover(state: State, onlineMs: number): boolean {
  const isSuspected = state.soonEnds >= TAKEN_OVER_COUNT
  if (onlineMs >= (isSuspected ? CALM_AFTER_MS : SETTLED_AFTER_MS)) forgive(state)
  else if (onlineMs < TAKEN_OVER_WITHIN_MS) state.soonEnds++
  return state.soonEnds >= TAKEN_OVER_COUNT
}

function forgive(state: State): void {
  state.soonEnds = 0
  state.backoff.reset()
}

/** Leaves the connection without telling: what it still says is nobody's. */
function leave(state: State): MqttConnection | undefined {
  const { live } = state
  clearTimeout(state.retry)
  state.live = undefined
  state.isStarted = false
  return live
}

function connectNow(state: State): void {
  clearTimeout(state.retry)
  forgive(state)
  open(state)
}

function checkUrl(url: string): void {
  const at = URL.parse(url)
  if (at !== null && PROTOCOLS.has(at.protocol) && at.username === '' && at.search === '') return
  throw new ClientFault('invalid', `${JSON.stringify(url)} is no address like mqtts://host:8883 or wss://host/v1/ws.`)
}

/** Throws a ClientFault when the address is none. Nothing happens before `start`. */
export function createTransport(settings: TransportSettings, handlers: TransportHandlers): Transport {
  checkUrl(settings.url)
  const state: State = {
    settings,
    handlers,
    backoff: createBackoff(settings.random),
    live: undefined,
    retry: undefined,
    isStarted: false,
    connections: 0,
    soonEnds: 0,
  }
  const online = () => (state.live?.isOnline() === true ? state.live : undefined)
  return {
    start() {
      if (state.isStarted) return
      state.isStarted = true
      connectNow(state)
    },
    stop: async () => leave(state)?.end(),
    destroy: () => leave(state)?.destroy(),
    isOnline: () => online() !== undefined,
    publish: (payload, stamp) => online()?.publish(payload, stamp),
    publishNow: (payload) => online()?.publishNow(payload),
    acknowledge: (acks) => online()?.acknowledge(acks),
    retryNow() {
      if (state.isStarted && state.live === undefined) connectNow(state)
    },
  }
}
