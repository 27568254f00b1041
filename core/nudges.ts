/**
 * When a shard's turn is asked for (D1): at once where none may be under way, and again when what was appended is not
 * done soon after. Under load turns are under way all the time, and hardly anything is asked.
 */

import { TURN_IDLE_MS } from './cluster.ts'
import type { LowWatermark } from './low-watermark.ts'
import type { Turns } from './ports.ts'

/** A turn is under way still: it looks on for longer than this. */
const IDLE_MS = 0.6 * TURN_IDLE_MS
/** What is not done by then has no turn. */
const LATE_MS = 60

interface Shard {
  /** When something was appended last. */
  appendedMs: number
  /** Its highest number. */
  seq: number
  timer: NodeJS.Timeout | undefined
}

export interface Nudges {
  /** Something was appended to the shard, up to this number. */
  appended(shard: number, seq: number): void
  stop(): void
}

export function createNudges(turns: Pick<Turns, 'nudge'>, watermark: Pick<LowWatermark, 'value'>): Nudges {
  const shards: Shard[] = []

  function look(shard: number, state: Shard): void {
    state.timer = undefined
    if (state.seq <= watermark.value()) return
    turns.nudge(shard)
    lookLater(shard, state)
  }
  function lookLater(shard: number, state: Shard): void {
    state.timer ??= setTimeout(look, LATE_MS, shard, state).unref()
  }
  return {
    appended(shard, seq) {
      const state = shards[shard] ?? { appendedMs: Number.NEGATIVE_INFINITY, seq: 0, timer: undefined }
      shards[shard] = state
      const now = performance.now()
      if (now - state.appendedMs > IDLE_MS) turns.nudge(shard)
      state.appendedMs = now
      state.seq = Math.max(state.seq, seq)
      lookLater(shard, state)
    },
    stop() {
      for (const state of shards) clearTimeout(state?.timer)
    },
  }
}
