/**
 * Nudges that were lost: every process that takes turns looks at all shards by itself, and nudges those in which
 * something waits. So losing every nudge costs half a second, never a message.
 */
import type { EntryLog, Turns } from '../core/ports.ts'

/** One bounded look: one O(1) question for each shard. Rejects when the store is away; the next look asks again. */
export async function recoverTurns(entries: EntryLog, turns: Turns, shards: number): Promise<void> {
  const waiting = await Promise.all(Array.from({ length: shards }, (_, shard) => entries.backlog(shard)))
  waiting.forEach((count, shard) => {
    if (count > 0) turns.nudge(shard)
  })
}
