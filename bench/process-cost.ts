/** What processes cost, read from /proc (Linux): run time of every thread, resident memory, busy cores. */
import { readdirSync, readFileSync } from 'node:fs'

const TICKS_PER_S = 100

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // the thread or process ended between listing and reading
  }
}

/** A file of /proc/<pid>; empty when there is no such process. */
export function readProcess(pid: number, file: string): string {
  return read(`/proc/${pid}/${file}`)
}

function threads(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`)
  } catch {
    return []
  }
}

/** The processes given and everything they started, directly or not. */
export function withChildren(pids: readonly number[]): number[] {
  const all = new Set<number>()
  const add = (pid: number): void => {
    if (all.has(pid)) return
    all.add(pid)
    for (const thread of threads(pid)) {
      for (const child of read(`/proc/${pid}/task/${thread}/children`).split(' ')) if (child !== '') add(Number(child))
    }
  }
  pids.forEach(add)
  return [...all]
}

/** Seconds of CPU that the living threads of these processes and their children have used. */
export function cpuSeconds(pids: readonly number[]): number {
  return withChildren(pids).reduce((sum, pid) => sum + threadSeconds(pid), 0)
}

function threadSeconds(pid: number): number {
  let ns = 0
  for (const thread of threads(pid)) ns += Number(read(`/proc/${pid}/task/${thread}/schedstat`).split(' ')[0] || 0)
  return ns / 1e9
}

/** Resident memory of these processes and their children in KiB. */
export function residentKib(pids: readonly number[]): number {
  let kib = 0
  for (const pid of withChildren(pids)) kib += Number(/^VmRSS:\s+(\d+)/m.exec(readProcess(pid, 'status'))?.[1] ?? 0)
  return kib
}

function machineBusySeconds(): number {
  const [, user, nice, system, , , irq, softirq] = (read('/proc/stat').split('\n')[0] ?? '').split(/\s+/).map(Number)
  return ((user ?? 0) + (nice ?? 0) + (system ?? 0) + (irq ?? 0) + (softirq ?? 0)) / TICKS_PER_S
}

export type Cost = {
  wallS: number
  /** CPU of the server's processes. */
  serverS: number
  generatorCores: number
  /** Cores that neither the server nor the generator used. */
  otherCores: number
}

/** Starts measuring; the returned function says what was used since. */
export function startCost(pids: readonly number[]): () => Cost {
  const startedMs = performance.now()
  const server = cpuSeconds(pids)
  const own = threadSeconds(process.pid)
  const machine = machineBusySeconds()
  return () => {
    const wallS = (performance.now() - startedMs) / 1000
    const serverS = cpuSeconds(pids) - server
    const ownS = threadSeconds(process.pid) - own
    const otherS = machineBusySeconds() - machine - serverS - ownS
    return { wallS, serverS, generatorCores: ownS / wallS, otherCores: Math.max(0, otherS / wallS) }
  }
}
