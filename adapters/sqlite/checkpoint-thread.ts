/**
 * The checkpoint thread: copies what is in the WAL into the database beside the writer, so that no commit waits for
 * it (C2). A PASSIVE checkpoint copies without the writer's lock; the RESTART behind it holds the lock for the few
 * frames that came meanwhile, and lets the next commit begin the WAL anew, so that the file stays bounded.
 */
import { DatabaseSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'

/** Frames of the WAL (a page each) that are worth a checkpoint: 16 MiB. */
const FRAMES_WORTH = 4_000
const LOOK_EVERY_MS = 200
/** How long RESTART may wait for the lock before it is left for the next time. */
const BUSY_MS = 20

const db = new DatabaseSync(workerData.file)
db.exec(`PRAGMA busy_timeout = ${BUSY_MS}; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0`)
// NOOP (SQLite 3.51) only counts: frames in the WAL, and how many of them are in the database already.
const count = db.prepare('PRAGMA wal_checkpoint(NOOP)')
const passive = db.prepare('PRAGMA wal_checkpoint(PASSIVE)')
const restart = db.prepare('PRAGMA wal_checkpoint(RESTART)')

function look(): void {
  try {
    const { log, checkpointed } = count.get() as { log: number; checkpointed: number }
    if (log - checkpointed < FRAMES_WORTH) return
    passive.get()
    restart.get()
  } catch (error) {
    // A full or failing disk is the writer's to report: it stands in front of PUBACK, this does not.
    parentPort?.postMessage((error as Error).message)
  }
}

const timer = setInterval(look, LOOK_EVERY_MS)
parentPort?.once('message', () => {
  clearInterval(timer)
  db.close()
  parentPort?.close()
})
