/** Closed loop (a window of open messages per pair) and open loop (a fixed rate, spread over the pairs). */
import type { Path } from '../generator/fleet.ts'
import { createLoad, type Load, openRecipients, openSenders, wantEach } from '../generator/load.ts'
import { want } from '../generator/traffic.ts'
import { sendReady } from '../generator/turn.ts'
import type { RunningServer } from '../servers/server.ts'
import {
  finish,
  measure,
  PAIRS,
  pathTitle,
  pause,
  type Run,
  type Scenario,
  type Settings,
  withServer,
} from './scenario.ts'

const WANT_ALWAYS = 0xffffffff
const OPEN_LOOP_SLOTS = 1000
const TICK_MS = 1

/** Each pair keeps `window` messages open; a slot is free when the PUBACK and the arrival have both been seen. */
export function closedLoop(path: Path, window: number): Scenario {
  return {
    name: `${path}-window-${window}`,
    title: `${pathTitle(path)}, window ${window}`,
    figure: 'msgPerS',
    unit: 'messages/s',
    heliographOnly: path !== 'raw',
    run: (kind, settings) => withServer(kind, (server) => runClosedLoop(server, path, window, settings)),
  }
}

/** One closed-loop run against a server that is up; `look` adds figures that only the loaded server can tell. */
export async function runClosedLoop(
  server: RunningServer,
  path: Path,
  window: number,
  settings: Pick<Settings, 'seconds' | 'warmupS'>,
  look?: () => Promise<Run>,
): Promise<Run> {
  const load = await open(server, path, window)
  wantEach(load, WANT_ALWAYS)
  await pause(settings.warmupS)
  const figures = await measure(load, server, settings.seconds)
  const more = await look?.()
  return { ...figures, ...more, ...(await finish(load)) }
}

/** `perSecond` messages in all, whatever the server does; latency counts from the write. */
export function openLoop(path: Path, perSecond: number): Scenario {
  return {
    name: `${path}-${perSecond}`,
    title: `${pathTitle(path)}, ${perSecond.toLocaleString('en')}/s`,
    figure: 'arrivalP99Ms',
    unit: 'p99 ms until arrival',
    heliographOnly: path !== 'raw',
    run: (kind, settings) => withServer(kind, (server) => runOpenLoop(server, path, perSecond, settings)),
  }
}

/** One run at a fixed rate against a server that is up; `look` begins to count, and tells what it has counted. */
export async function runOpenLoop(
  server: RunningServer,
  path: Path,
  perSecond: number,
  settings: Settings,
  look?: () => Promise<() => Promise<Run>>,
): Promise<Run> {
  const load = await open(server, path, OPEN_LOOP_SLOTS)
  const pacer = pace(load, perSecond)
  await pause(Math.max(settings.warmupS, settings.quick ? 0 : 3))
  pacer.resetLag()
  const looked = await look?.()
  const figures = await measure(load, server, settings.seconds)
  const more = await looked?.()
  const generatorLagMs = pacer.stop()
  return { ...figures, generatorLagMs, ...more, ...(await finish(load)) }
}

async function open(server: RunningServer, path: Path, slots: number): Promise<Load> {
  const load = createLoad(await server.fleet(path, { pairs: PAIRS, recipients: PAIRS }), { slots })
  const ports = server.mqttPorts ?? server.mqttPort
  await openRecipients(load, ports)
  await openSenders(load, ports)
  return load
}

/**
 * Sends on a schedule that does not wait for answers. The lag is how far a write came behind its time on the schedule,
 * one timer tick included: a large one says that the generator, not the server, was late.
 */
function pace(load: Load, perSecond: number): { resetLag(): void; stop(): number } {
  const startedMs = performance.now()
  const pairs = load.fleet.pairs.length
  let sent = 0
  let lagMs = 0
  const timer = setInterval(() => {
    const passedMs = performance.now() - startedMs
    const due = Math.floor((passedMs * perSecond) / 1000)
    if (due > sent) lagMs = Math.max(lagMs, passedMs - (sent * 1000) / perSecond)
    while (sent < due) want(load.traffic, sent++ % pairs, 1)
    sendReady(load.traffic, load.senders)
  }, TICK_MS)
  return {
    resetLag: () => {
      lagMs = 0
    },
    stop: () => {
      clearInterval(timer)
      return lagMs
    },
  }
}
