/**
 * The end of a node in order: nobody new is taken, what was read is committed and acknowledged, and connections end in
 * jittered slices, so that the other nodes get their devices back a few at a time. No will is published: the reason is
 * ours, not the device's. Claims are given back as each connection ends.
 */
import { limits } from '../topics/limits.ts'
import { end, endGently, type Guards } from './guarded.ts'
import type { Listener } from './listeners.ts'

export interface DrainPace {
  readonly sliceConnectionsMax: number
  /** From the signal to the end of the process. */
  readonly timeoutMs: number
}

/** Of the whole time: what commits may take, when the last slice has ended, and what peers have to close. */
const COMMITS_PART = 1 / 3
const SLICES_PART = 0.6
const CLOSE_PART = 0.1
const CLOSE_MS_MAX = 1_000

/** The mean wait behind a slice: with more connections than the time allows, slices follow closer and stay small. */
export function sliceEveryMs(connections: number, msLeft: number, pace: DrainPace): number {
  const slices = Math.max(1, Math.ceil(connections / pace.sliceConnectionsMax))
  return Math.min(limits.drainSliceEveryMs, Math.max(0, msLeft) / slices)
}

const wait = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms))

/** Waits while `isBusy`, at most so long. */
async function settle(isBusy: () => boolean, msMax: number): Promise<void> {
  const deadline = performance.now() + msMax
  while (isBusy() && performance.now() < deadline) await wait(5)
}

/** `stop` closes the stores. The caller ends the process after `timeoutMs`, should they not close. */
export async function drain(
  guards: Guards,
  listeners: readonly Listener[],
  pace: DrainPace,
  stop: () => Promise<void>,
): Promise<void> {
  const since = performance.now()
  guards.isDraining = true
  for (const listener of listeners) listener.close()
  // What is held gets its PUBACK before its connection ends.
  const { senders } = guards.plugins.ingress
  await settle(() => senders.size > 0, pace.timeoutMs * COMMITS_PART)
  const open = [...guards.open]
  const msLeft = pace.timeoutMs * SLICES_PART - (performance.now() - since)
  const everyMs = sliceEveryMs(open.length, msLeft, pace)
  for (let at = 0; at < open.length; at += pace.sliceConnectionsMax) {
    if (at > 0) await wait(everyMs * (0.5 + Math.random()))
    for (const guard of open.slice(at, at + pace.sliceConnectionsMax)) endGently(guard, 'shutting_down')
  }
  await settle(() => guards.open.size > 0, Math.min(CLOSE_MS_MAX, pace.timeoutMs * CLOSE_PART))
  for (const guard of [...guards.open]) end(guards, guard, 'shutting_down')
  await stop()
}
