/**
 * Gaps (B6): a device whose inbox was full was skipped while its user got the message on another one. Once there is
 * room again a person's device is told about how many it missed. Counts live in memory: bounded by the devices that
 * are full.
 */
import { appendOwn, gapEnvelope } from '../core/own-envelopes.ts'
import type { Ports } from '../core/ports.ts'

export interface Gaps {
  readonly ports: Ports
  /** Rows not written, by device. */
  readonly skipped: Map<string, number>
}

export function createGaps(ports: Ports): Gaps {
  return { ports, skipped: new Map() }
}

export function noteSkipped(gaps: Gaps, device: string): void {
  gaps.skipped.set(device, (gaps.skipped.get(device) ?? 0) + 1)
}

/** Often, while somebody was skipped: who has room again gets its notice. */
export function tellGaps(gaps: Gaps): void {
  const { ports, skipped } = gaps
  for (const [device, count] of skipped) {
    if (ports.intake.isFull(device)) continue
    skipped.delete(device)
    tellGap(ports, device, count).catch(() => skipped.set(device, count + (skipped.get(device) ?? 0)))
  }
}

async function tellGap(ports: Ports, device: string, count: number): Promise<void> {
  const account = await ports.directory.accountOfDevice(device)
  // The wire has no such notice for a thing; its sender was told, since a thing is its user's only device.
  if (account?.kind === 'person') await appendOwn(ports, [gapEnvelope(ports.intake.shards, device, count)])
}
