/**
 * One process per database: two would use the same message keys twice. The lock is an exclusive transaction on an
 * empty database beside the real one, so the operating system gives it back when the process dies, however it dies.
 */
import { DatabaseSync } from 'node:sqlite'
import { ClientFault } from '../faults.ts'

const SQLITE_BUSY = 5

/** Takes the lock, or throws a ClientFault `locked`. Returns how to give it back. */
export function lockDatabase(file: string): () => void {
  const db = new DatabaseSync(`${file}-lock`)
  try {
    db.exec('PRAGMA busy_timeout = 0; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
  } catch (error) {
    db.close()
    if (((error as { errcode?: number }).errcode ?? 0) % 256 !== SQLITE_BUSY) throw error
    throw new ClientFault('locked', `Another process uses ${file}; end it, or use another folder.`)
  }
  return () => db.close()
}
