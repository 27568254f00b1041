/** The one thing that a killed PostgreSQL leaves outside its folder: the segment of shared memory that marks it as used. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

function linesOf(file: string): string[] {
  try {
    return readFileSync(file, 'latin1').split('\n')
  } catch {
    return []
  }
}

/** Removes it when `folder` is one of a PostgreSQL that was not ended cleanly. Its processes must be gone. */
export function freeSharedMemory(folder: string): void {
  // The seventh line of the lock file has its key and its number; both must be those of a segment that is there.
  const [key, id] = (linesOf(join(folder, 'data', 'postmaster.pid'))[6] ?? '').trim().split(/\s+/)
  const segments = linesOf('/proc/sysvipc/shm').map((line) => line.trim().split(/\s+/))
  const isThere = segments.some((row) => row[0] === key && row[1] === id)
  if (id !== undefined && isThere) spawnSync('ipcrm', ['-m', id])
}
