/**
 * Processes that outlive who started them: known by pid and birth, so that a pid which the system has given to somebody
 * else since is never signalled. A process is meant with all its descendants: PostgreSQL is one to its users.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'

/** A process that was seen alive once. Plain data: it is kept in a file. */
export interface Known {
  readonly pid: number
  /** Boot and time of birth, as the system tells them; compared, never read. */
  readonly born: string
}

interface Row {
  readonly parent: number
  readonly isOver: boolean
  readonly born: string
}

const POLL_MS = 20
const hasProc = existsSync('/proc/self/stat')
const boot = hasProc ? readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim() : ''

function rowOf(pid: number): Row | undefined {
  if (!hasProc) return askedRow(pid)
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name in parentheses may hold anything, also spaces.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    // A zombie has ended; whoever adopted it may never look.
    return { parent: Number(fields[1]), isOver: /[ZX]/.test(fields[0] ?? ''), born: `${boot} ${fields[19]}` }
  } catch {
    return undefined
  }
}

/** Where there is no /proc. */
function askedRow(pid: number): Row | undefined {
  const { stdout } = spawnSync('ps', ['-o', 'state=,ppid=,lstart=', '-p', String(pid)], { encoding: 'utf8' })
  const [, state, parent, born] = /^\s*(\S+)\s+(\d+)\s+(.*\S)/.exec(stdout ?? '') ?? []
  return state === undefined ? undefined : { parent: Number(parent), isOver: state.startsWith('Z'), born: born ?? '' }
}

function allPids(): number[] {
  if (hasProc) return readdirSync('/proc').map(Number).filter(Number.isInteger)
  const { stdout } = spawnSync('ps', ['-A', '-o', 'pid='], { encoding: 'utf8' })
  return (stdout ?? '').trim().split(/\s+/).map(Number)
}

export function identify(pid: number): Known | undefined {
  const row = rowOf(pid)
  return row === undefined ? undefined : { pid, born: row.born }
}

export function isAlive({ pid, born }: Known): boolean {
  const row = rowOf(pid)
  return row !== undefined && !row.isOver && row.born === born
}

function descendantsOf(pid: number): Known[] {
  const rows = allPids().flatMap((each) => {
    const row = rowOf(each)
    return row === undefined ? [] : [{ pid: each, ...row }]
  })
  const below = (parent: number): Known[] =>
    rows
      .filter((row) => row.parent === parent && row.pid !== parent)
      .flatMap(({ pid: child, born }) => [{ pid: child, born }, ...below(child)])
  return below(pid)
}

/** Sent to that process and no other; one that is over is left in peace. */
export function signal(known: Known, name: NodeJS.Signals): void {
  if (!isAlive(known)) return
  try {
    process.kill(known.pid, name)
  } catch (error) {
    // It ended between the look and the signal.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** SIGSTOP for all of it. The parent first: a stopped one makes no more children, nor loses sight of those it has. */
export function pause(known: Known): readonly Known[] {
  signal(known, 'SIGSTOP')
  const all = isAlive(known) ? [known, ...descendantsOf(known.pid)] : []
  for (const each of all) signal(each, 'SIGSTOP')
  return all
}

export function resume(known: Known): void {
  if (!isAlive(known)) return
  for (const each of [...descendantsOf(known.pid), known]) signal(each, 'SIGCONT')
}

/** SIGKILL for all of it at once, as when a machine fails: nothing of it tidies up. Gives what was hit. */
export function killNow(known: Known): readonly Known[] {
  const all = pause(known)
  for (const each of all.toReversed()) signal(each, 'SIGKILL')
  return all
}

/** False: it was still there after that time. */
export async function isGoneWithin(known: Known, limitMs: number): Promise<boolean> {
  const endMs = performance.now() + limitMs
  while (isAlive(known)) {
    if (performance.now() > endMs) return false
    await wait(POLL_MS)
  }
  return true
}

const KILLED_MS_MAX = 10_000

/** Resolves when nothing of it is left. Rejects when the system does not let go of it. */
export async function kill(known: Known): Promise<void> {
  for (const each of killNow(known)) {
    if (!(await isGoneWithin(each, KILLED_MS_MAX))) throw new Error(`process ${each.pid} does not end after SIGKILL`)
  }
}

/** Asks with `name` first, and kills when that took longer than `graceMs`. */
export async function end(known: Known, name: NodeJS.Signals, graceMs: number): Promise<void> {
  // A stopped process does not hear the signal.
  resume(known)
  const below = isAlive(known) ? descendantsOf(known.pid) : []
  signal(known, name)
  if (!(await isGoneWithin(known, graceMs))) await kill(known)
  for (const each of below) await kill(each)
}
