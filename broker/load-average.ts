/**
 * Moving averages as Mosquitto shows them under load/: what happened per minute, over the last 1, 5 and 15 minutes.
 * Pure.
 */
const MINUTES = [1, 5, 15] as const

export interface LoadAverage {
  /** Takes the counter's value at `atMs`, a clock that does not go back. */
  update(total: number, atMs: number): void
  /** Per minute, over the last so many minutes. */
  read(): readonly { readonly over: string; readonly perMinute: number }[]
}

export function createLoadAverage(startMs: number): LoadAverage {
  const averages = MINUTES.map(() => 0)
  let lastTotal = 0
  let lastMs = startMs
  return {
    update(total, atMs) {
      const minutes = (atMs - lastMs) / 60_000
      if (minutes <= 0) return
      const perMinute = (total - lastTotal) / minutes
      MINUTES.forEach((over, i) => {
        const kept = Math.exp(-minutes / over)
        averages[i] = perMinute + kept * ((averages[i] as number) - perMinute)
      })
      lastTotal = total
      lastMs = atMs
    },
    read: () => MINUTES.map((over, i) => ({ over: `${over}min`, perMinute: averages[i] as number })),
  }
}
