/** Random bytes, asked for in bulk: each asking is a system call, and every message needs some. */
import { randomFillSync } from 'node:crypto'

const pool = Buffer.alloc(4_096)
let used = pool.length

/** Given once. A view of the pool: copy it before the next call. `count`: far below the pool's size. */
export function randomView(count: number): Buffer {
  if (used + count > pool.length) {
    randomFillSync(pool)
    used = 0
  }
  used += count
  return pool.subarray(used - count, used)
}
