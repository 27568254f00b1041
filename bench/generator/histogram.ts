/**
 * Latencies in one typed array: logarithmic buckets of at most 0.8 % width over whole microseconds, so that recording
 * allocates nothing and costs a few instructions. Values are milliseconds outside.
 */
export type Histogram = { counts: Uint32Array; total: number; maxUs: number }

const EXACT_US = 128
const HALF = EXACT_US / 2
const BUCKETS = EXACT_US + 25 * HALF

export function createHistogram(): Histogram {
  return { counts: new Uint32Array(BUCKETS), total: 0, maxUs: 0 }
}

/** Adds one latency in ms; a negative one counts as zero. */
export function record(histogram: Histogram, ms: number): void {
  const us = ms > 0 ? Math.min(Math.round(ms * 1000), 0x7fffffff) : 0
  if (us > histogram.maxUs) histogram.maxUs = us
  histogram.total++
  let bucket = us
  if (us >= EXACT_US) {
    const shift = 25 - Math.clz32(us)
    bucket = shift * HALF + (us >>> shift)
  }
  histogram.counts[bucket] = (histogram.counts[bucket] as number) + 1
}

/** The latency in ms that `share` (0..1) of the recorded ones do not exceed (bucket's upper end); NaN when empty. */
export function percentileMs(histogram: Histogram, share: number): number {
  if (histogram.total === 0) return Number.NaN
  const rank = Math.max(1, Math.ceil(share * histogram.total))
  let seen = 0
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    seen += histogram.counts[bucket] as number
    if (seen >= rank) return Math.min(upperUs(bucket), histogram.maxUs) / 1000
  }
  return histogram.maxUs / 1000
}

function upperUs(bucket: number): number {
  if (bucket < EXACT_US) return bucket
  const shift = Math.floor(bucket / HALF) - 1
  return (bucket - shift * HALF + 1) * 2 ** shift - 1
}
