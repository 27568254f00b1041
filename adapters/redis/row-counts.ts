/**
 * How many rows wait for each device, as a guess (B6): a number of its own for each device that got rows lately. A
 * full server refuses to raise it, as it refuses new messages; who notes rows hands them over again.
 */
import type { RowCounts } from '../../core/ports.ts'
import { type Link, resultsOf } from './connection.ts'
import { rowsKey } from './keys.ts'
import type { Pressure } from './pressure.ts'

/** Longer than any row waits. */
const GUESS_TTL_MS = 35 * 24 * 3_600_000

export function createRowCounts({ redis }: Link, prefix: string, pressure: Pressure): RowCounts {
  return {
    async add(written) {
      if (written.size === 0) return new Map()
      const pipeline = redis.pipeline()
      for (const [device, rows] of written) {
        pipeline.incrby(rowsKey(prefix, device), rows).pexpire(rowsKey(prefix, device), GUESS_TTL_MS)
      }
      const results = await resultsOf(pipeline)
      return new Map([...written.keys()].map((device, i) => [device, Number(results[2 * i])]))
    },
    async set(device, rows) {
      await redis.set(rowsKey(prefix, device), rows, 'PX', GUESS_TTL_MS)
    },
    setFull: (device, isFull) => pressure.setFull(device, isFull),
    fullDevices: (limit) => pressure.fullDevices(limit),
  }
}
