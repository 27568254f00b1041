/** Devices with rows in `settled`, for jobs that walk them. Each step is one look into the primary key. */
import type { Backlog } from '../../core/ports.ts'
import { prepared, type Store } from './store.ts'

const AFTER = 'SELECT device FROM settled WHERE device > ? ORDER BY device LIMIT 1'

export function createBacklog(store: Store): Backlog {
  return {
    deviceAfter: async (device) => prepared(store.reader, AFTER).get(device)?.['device'] as string | undefined,
  }
}
