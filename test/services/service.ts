/** A service is one or more server processes over folders of their own, which a test may kill, pause and start again. */
import { spawn } from 'node:child_process'
import { chmodSync, closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { freeSharedMemory } from './postgres-memory.ts'
import { end, identify, isAlive, type Known, kill, killNow, pause, resume } from './process.ts'

export const serviceNames = ['redis', 'postgres', 'cassandra'] as const
export type ServiceName = (typeof serviceNames)[number]

/** One process of a service: how it is made ready, started and asked. */
export interface Recipe {
  readonly label: string
  /** Its data and its `log`. */
  readonly folder: string
  readonly command: string
  readonly args: readonly string[]
  readonly as?: { readonly uid: number; readonly gid: number } | undefined
  /** Before every start; what is there already stays. */
  prepare?(): Promise<void> | void
  /** Whether it answers as a client needs it. May reject when not. */
  answers(): Promise<boolean>
}

export interface StartOptions {
  /** Kept. Without it a folder is made that goes with the service. */
  readonly dir?: string
  /** Told what is waited for. */
  say?(line: string): void
  /** The service stays when this process ends; otherwise it is killed then. */
  readonly outlives?: boolean
  /** Processes of an earlier start, in the order of the nodes: those that live are taken over. */
  readonly known?: readonly Known[]
  /** Given up, and what was started ended, when it aborts. */
  readonly interrupted?: AbortSignal
  /** Told all processes whenever one was started, before it answers. */
  started?(processes: readonly Known[]): void
}

/** Nodes are counted from 1. */
export interface Service {
  readonly name: ServiceName
  readonly folder: string
  /** The last process of each node that was started, in their order. */
  processes(): readonly Known[]
  /** Undefined: it does not run. */
  pid(node?: number): number | undefined
  /** SIGKILL; resolves when the process is gone. */
  kill(node?: number): Promise<void>
  /** SIGSTOP: what it is sent waits in the kernel. */
  pause(node?: number): void
  resume(node?: number): void
  /** The same port, on the same data; resolves when it answers again. */
  revive(node?: number): Promise<void>
  /** Ends all of it. A folder that was made for it goes too. */
  stop(): Promise<void>
}

export interface Plan {
  readonly name: ServiceName
  readonly folder: string
  readonly isFolderTemporary: boolean
  readonly recipes: readonly Recipe[]
  /** What must hold between the nodes, once each answers. */
  agree?(): Promise<boolean>
}

const START_MS_MAX = 180_000
const PROGRESS_MS = 5_000
const POLL_MS = 50
const LOG_LINES_MAX = 20
/** A clean end of a node that has data to write. */
const GRACE_MS = 20_000
/** PostgreSQL: at once, without waiting for its clients. */
const endSignals: Record<ServiceName, NodeJS.Signals> = { redis: 'SIGTERM', postgres: 'SIGINT', cassandra: 'SIGTERM' }

/** The service's folder: `dir`, or one that others may walk through but not list, for PostgreSQL may be another user. */
export function folderFor(name: ServiceName, { dir }: StartOptions): Pick<Plan, 'folder' | 'isFolderTemporary'> {
  if (dir !== undefined) {
    mkdirSync(dir, { recursive: true })
    return { folder: dir, isFolderTemporary: false }
  }
  return { folder: makeTemporaryFolder(name), isFolderTemporary: true }
}

export function makeTemporaryFolder(what: string): string {
  const folder = mkdtempSync(join(tmpdir(), `heliograph-${what}-`))
  chmodSync(folder, 0o711)
  return folder
}

const logOf = (folder: string): string => join(folder, 'log')

function lastOfLog(folder: string): string {
  if (!existsSync(logOf(folder))) return '(nothing)'
  return readFileSync(logOf(folder), 'utf8').trimEnd().split('\n').slice(-LOG_LINES_MAX).join('\n')
}

async function spawnRecipe(recipe: Recipe, outlives: boolean): Promise<Known> {
  mkdirSync(recipe.folder, { recursive: true })
  await recipe.prepare?.()
  const log = openSync(logOf(recipe.folder), 'a')
  try {
    const child = spawn(recipe.command, recipe.args, {
      cwd: recipe.folder,
      stdio: ['ignore', log, log],
      detached: outlives,
      ...recipe.as,
    })
    const known = child.pid === undefined ? undefined : identify(child.pid)
    // Its end is looked for below, by pid, as it is for one that somebody else has started.
    child.on('error', () => undefined)
    child.unref()
    if (known === undefined) throw new Error(`${recipe.label}: ${recipe.command} could not be started`)
    return known
  } finally {
    closeSync(log)
  }
}

async function untilAnswers(recipe: Recipe, known: Known, { say, interrupted }: StartOptions): Promise<void> {
  const startedMs = performance.now()
  let saidMs = startedMs
  for (;;) {
    interrupted?.throwIfAborted()
    const isUp = await recipe.answers().catch(() => false)
    const nowMs = performance.now()
    // In this order: what answers on the port may be somebody else's when ours has ended.
    if (!isAlive(known)) throw new Error(`${recipe.label} ended before it answered:\n${lastOfLog(recipe.folder)}`)
    if (isUp)
      return say?.(`${recipe.label} answers after ${((nowMs - startedMs) / 1_000).toFixed(1)} s, pid ${known.pid}`)
    if (nowMs - startedMs > START_MS_MAX) {
      throw new Error(`${recipe.label} does not answer after ${START_MS_MAX / 1_000} s:\n${lastOfLog(recipe.folder)}`)
    }
    if (nowMs - saidMs > PROGRESS_MS) {
      saidMs = nowMs
      say?.(`${recipe.label}: no answer yet after ${Math.round((nowMs - startedMs) / 1_000)} s`)
    }
    await wait(POLL_MS)
  }
}

async function untilAgreed(plan: Plan, interrupted: AbortSignal | undefined): Promise<void> {
  const endMs = performance.now() + START_MS_MAX
  while (plan.agree !== undefined && !(await plan.agree().catch(() => false))) {
    interrupted?.throwIfAborted()
    if (performance.now() > endMs) throw new Error(`the nodes of ${plan.name} do not find each other`)
    await wait(POLL_MS)
  }
}

/** What this process has started and must not leave behind. */
const ours = new Set<{ readonly plan: Plan; readonly processes: (Known | undefined)[] }>()
let isGuarded = false

/** From the first start on: this process does not end without taking down what is only its own. */
function guardEnd(): void {
  if (isGuarded) return
  isGuarded = true
  process.on('exit', () => {
    for (const { plan, processes } of ours) {
      for (const known of processes) if (known !== undefined) killNow(known)
      freeSharedMemory(plan.folder)
      if (plan.isFolderTemporary) rmSync(plan.folder, { recursive: true, force: true })
    }
  })
  for (const [name, code] of [['SIGINT', 130] as const, ['SIGTERM', 143] as const, ['SIGHUP', 129] as const]) {
    // Nobody else listens: as it would have ended without us.
    process.on(name, () => {
      if (process.listenerCount(name) === 1) process.exit(code)
    })
  }
}

/**
 * Ends processes of a service, started here or elsewhere, and removes its folder unless it is kept: then they get the time
 * to write what they have. Those that are not there any more are no fault.
 */
export async function endService(plan: Omit<Plan, 'recipes'>, processes: readonly Known[]): Promise<void> {
  const { name, folder, isFolderTemporary } = plan
  const endOne = (known: Known) => (isFolderTemporary ? kill(known) : end(known, endSignals[name], GRACE_MS))
  await Promise.all(processes.map(endOne))
  freeSharedMemory(folder)
  if (isFolderTemporary) rmSync(folder, { recursive: true, force: true })
}

/** Starts node after node, for those of Cassandra that join an empty ring at once may disagree. */
export async function startPlan(plan: Plan, options: StartOptions): Promise<Service> {
  const { outlives = false, known = [] } = options
  const processes: (Known | undefined)[] = plan.recipes.map((_, index) => known[index])
  const here = { plan, processes }
  ours.add(here)
  guardEnd()
  const all = (): Known[] => processes.filter((each) => each !== undefined)
  const nodeAt = (node: number): { recipe: Recipe; known: Known | undefined } => {
    const recipe = plan.recipes[node - 1]
    if (recipe === undefined) throw new Error(`${plan.name} has ${plan.recipes.length} nodes, and no node ${node}`)
    return { recipe, known: processes[node - 1] }
  }
  const revive = async (node = 1): Promise<void> => {
    const { recipe, known: before } = nodeAt(node)
    if (before !== undefined && isAlive(before)) return
    const now = await spawnRecipe(recipe, outlives)
    processes[node - 1] = now
    options.started?.(all())
    await untilAnswers(recipe, now, options)
  }
  const onLiving = (node: number, act: (known: Known) => unknown): unknown => {
    const { known: at } = nodeAt(node)
    return at === undefined ? undefined : act(at)
  }
  const service: Service = {
    name: plan.name,
    folder: plan.folder,
    processes: all,
    pid(node = 1) {
      const { known: at } = nodeAt(node)
      return at !== undefined && isAlive(at) ? at.pid : undefined
    },
    kill: async (node = 1) => void (await onLiving(node, kill)),
    pause: (node = 1) => void onLiving(node, pause),
    resume: (node = 1) => void onLiving(node, resume),
    revive,
    async stop() {
      await endService(plan, all())
      ours.delete(here)
    },
  }
  try {
    for (const [index] of plan.recipes.entries()) await revive(index + 1)
    await untilAgreed(plan, options.interrupted)
  } catch (error) {
    await service.stop()
    throw error
  }
  if (outlives) ours.delete(here)
  return service
}
