/**
 * Claims of one process (B4): a map. Everything is synchronous, so claim-then-read and write-then-locate cannot miss
 * each other.
 */
import type { ClaimHolder, Claims, Row } from '../../core/ports.ts'

/** `onAbsent` is called with each row whose device nobody serves. */
export function createClaims(onAbsent: (row: Row) => void = () => undefined): Claims {
  const holders = new Map<string, { holder: ClaimHolder; epoch: number }>()
  let lastEpoch = 0
  return {
    claim(device, holder) {
      const before = holders.get(device)
      lastEpoch++
      holders.set(device, { holder, epoch: lastEpoch })
      before?.holder.onLost('takeover')
      return lastEpoch
    },
    known: () => Promise.resolve(),
    release(device, epoch) {
      if (holders.get(device)?.epoch === epoch) holders.delete(device)
    },
    wake(device, row) {
      const found = holders.get(device)
      if (found === undefined) {
        onAbsent(row)
        return 'away'
      }
      return found.holder.onWake(row) ? 'sent' : 'woken'
    },
    locate: async (devices) => new Set(devices.filter((device) => holders.has(device))),
    evict(device, reason) {
      const found = holders.get(device)
      if (found === undefined) return
      holders.delete(device)
      found.holder.onLost(reason)
    },
  }
}
