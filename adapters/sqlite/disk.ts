/**
 * Watches the free space (C3): below the minimum the intake refuses and the reserve file is given back to the file
 * system, so that acknowledgements and expiry still find room; above it the reserve is made again and intake goes on.
 */
import { open, rm, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { Store } from './store.ts'

const WATCH_EVERY_MS = 1_000
/** Intake goes on only with this much more than the minimum, so that it does not flap. */
const HYSTERESIS_BYTES = 16 * 1024 * 1024

async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}

async function makeReserve(file: string, bytes: number): Promise<void> {
  const known = await stat(file).catch(() => undefined)
  if (known?.size === bytes) return
  const handle = await open(file, 'w')
  try {
    const piece = Buffer.alloc(1 << 20)
    for (let written = 0; written < bytes; written += piece.length) {
      await handle.write(piece, 0, Math.min(piece.length, bytes - written))
    }
  } finally {
    await handle.close()
  }
}

/** Looks once now, then each second. `onChange` hears when intake stops or goes on. Returns how to stop. */
export async function watchDisk(store: Store, folder: string, onChange: (free: number) => void): Promise<() => void> {
  const reserve = join(folder, 'reserve')
  const { diskFreeBytesMin, diskReserveBytes } = store.limits

  async function look(): Promise<void> {
    const free = await freeBytes(folder)
    if (store.refusal === undefined && free < diskFreeBytesMin) {
      store.refusal = 'disk_full'
      await rm(reserve, { force: true })
      onChange(free)
    } else if (store.refusal === 'disk_full') {
      await rm(reserve, { force: true })
      if ((await freeBytes(folder)) < diskFreeBytesMin + diskReserveBytes + HYSTERESIS_BYTES) return
      await makeReserve(reserve, diskReserveBytes)
      store.refusal = undefined
      onChange(free)
    }
  }

  if ((await freeBytes(folder)) >= diskFreeBytesMin + diskReserveBytes) await makeReserve(reserve, diskReserveBytes)
  await look()
  let looking = false
  const timer = setInterval(() => {
    if (looking) return
    looking = true
    look()
      .catch(() => undefined)
      .finally(() => {
        looking = false
      })
  }, WATCH_EVERY_MS)
  timer.unref()
  return () => clearInterval(timer)
}
