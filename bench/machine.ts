/** The machine that the figures belong to. */
import { closeSync, fdatasyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { removeFolder, temporaryFolder } from './servers/server.ts'

export type Machine = {
  cpu: string
  cores: number
  memoryGib: number
  kernel: string
  /** File system of the folder that holds the servers' data. */
  fileSystem: string
  fdatasyncP50Ms: number
  fdatasyncP99Ms: number
}

const PROBE_MS = 1000
const APPEND_BYTES = 4096

/** Describes this machine; takes a second, in which it appends 4 KiB and calls fdatasync, again and again. */
export function describeMachine(): Machine {
  const folder = temporaryFolder('probe')
  try {
    return {
      cpu: cpus()[0]?.model.trim() ?? 'unknown',
      cores: cpus().length,
      memoryGib: Math.round(totalmem() / 2 ** 30),
      kernel: release(),
      fileSystem: fileSystemOf(folder),
      ...probeSync(folder),
    }
  } finally {
    removeFolder(folder)
  }
}

function fileSystemOf(path: string): string {
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(' '))
  const inside = mounts.filter(([, point = '']) => path.startsWith(point.endsWith('/') ? point : `${point}/`))
  const byDepth = inside.sort(([, a = ''], [, b = '']) => b.length - a.length)
  return byDepth[0]?.[2] ?? 'unknown'
}

function probeSync(folder: string): { fdatasyncP50Ms: number; fdatasyncP99Ms: number } {
  const file = openSync(join(folder, 'probe'), 'a')
  const page = Buffer.alloc(APPEND_BYTES, 1)
  const times: number[] = []
  const endMs = performance.now() + PROBE_MS
  let now = performance.now()
  while (now < endMs) {
    writeSync(file, page)
    const written = performance.now()
    fdatasyncSync(file)
    now = performance.now()
    times.push(now - written)
  }
  closeSync(file)
  times.sort((a, b) => a - b)
  const at = (share: number): number => times[Math.floor(share * (times.length - 1))] ?? Number.NaN
  return { fdatasyncP50Ms: at(0.5), fdatasyncP99Ms: at(0.99) }
}
