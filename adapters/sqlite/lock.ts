/**
 * One process per folder: an exclusive lock on an empty database in it, held as long as the process lives. The kernel
 * gives it back however the process ends, kill -9 included, and of two that start at once one wins.
 */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { ConfigFault } from '../../core/config.ts'

/** How long the lock of a process that is just ending, or of one that tries at the same moment, is waited for. */
const WAIT_MS = 1_000
const SQLITE_BUSY = 5

/** Takes the folder, and gives how to give it back. Throws a ConfigFault when another process has it. */
export function lockFolder(folder: string): () => void {
  const db = new DatabaseSync(join(folder, 'lock'))
  try {
    db.exec(`PRAGMA busy_timeout = ${WAIT_MS}; BEGIN EXCLUSIVE`)
  } catch (error) {
    db.close()
    if ((error as { errcode?: number }).errcode !== SQLITE_BUSY) throw error
    throw new ConfigFault(`Another Heliograph uses the folder ${folder}; stop it first, or set another DATA_DIR.`)
  }
  return () => db.close()
}
