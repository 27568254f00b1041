/**
 * How late the event loop is. Windows of 10 s; readers get the worse of the running and the last one, and disturb
 * nobody.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { LoopDelay } from '../api/metrics.ts'

type IntervalHistogram = ReturnType<typeof monitorEventLoopDelay>

const RESOLUTION_MS = 5
const WINDOW_MS = 10_000

/** The histogram holds the time between two looks; what is above the resolution is lateness. */
function lateness(histogram: IntervalHistogram, percentile: number): number {
  if (histogram.count === 0) return 0
  return Math.max(0, histogram.percentile(percentile) / 1e9 - RESOLUTION_MS / 1_000)
}

const readWindow = (histogram: IntervalHistogram): LoopDelay => ({
  p50: lateness(histogram, 50),
  p99: lateness(histogram, 99),
  p999: lateness(histogram, 99.9),
})

/** Begins to measure. `read` gives seconds. */
export function watchLoopDelay(): { read(): LoopDelay; stop(): void } {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  histogram.enable()
  let last: LoopDelay = { p50: 0, p99: 0, p999: 0 }
  const timer = setInterval(() => {
    last = readWindow(histogram)
    histogram.reset()
  }, WINDOW_MS)
  timer.unref()
  return {
    read() {
      const now = readWindow(histogram)
      return {
        p50: Math.max(now.p50, last.p50),
        p99: Math.max(now.p99, last.p99),
        p999: Math.max(now.p999, last.p999),
      }
    },
    stop() {
      clearInterval(timer)
      histogram.disable()
    },
  }
}
