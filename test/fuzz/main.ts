/**
 * The fuzz lane: `node test/fuzz/main.ts --minutes 5 [--seed 7] [--target codec]`, or `--replay <file>` for what it
 * found. Progress every five seconds; a finding is kept in the corpus and ends the run with 1.
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { leakIn } from './acl.ts'
import { keepFinding, readCorpus, readSeeds } from './corpus.ts'
import { openLive } from './live.ts'
import { createRandom, type Random } from './random.ts'
import {
  createConversations,
  createPool,
  type Found,
  fuzz,
  fuzzLive,
  pureTargets,
  replay,
  replayLive,
  runOnce,
  runRound,
} from './runner.ts'
import { Finding, type LiveTarget, type Target } from './target.ts'
import { type Watchdog, watch } from './watchdog.ts'

const PROGRESS_MS = 5_000
/** Targets take turns of this length. */
const SLICE_MS = 2_000
const PURE_BATCH = 1_000
const LIVE_BATCH = 8
const ACL_BATCH = 1_000
const GROWTH_BYTES_MAX = 64 * 1024 * 1024
/** Code is compiled and pools are filled in this time. */
const WARM_UP_MS = 10_000
const TARGETS = [...pureTargets.map(({ name }) => name), 'acl', 'guard']

interface Lane {
  readonly name: string
  execs: number
  ms: number
  /** Gives how many inputs it took. */
  batch(): Promise<number>
}

/** A finding, with the target that made it: what a lane throws. */
class Caught extends Error {
  readonly target: string
  readonly found: Found
  constructor(target: string, found: Found) {
    super(found.error.message)
    this.target = target
    this.found = found
  }
}

/** The conversation lane's inputs under way, for an exception that no promise carries. */
let underWay: { target: string; inputs: readonly Buffer[] } = { target: 'guard', inputs: [] }

function stop(target: string, { error, inputs }: Found): never {
  console.error(`\n${target}: ${error instanceof Finding ? error.message : error.stack}`)
  for (const input of inputs) {
    const file = keepFinding(target, error.message, input)
    console.error(`replay: node test/fuzz/main.ts --target ${target} --replay ${file}`)
  }
  console.error('0 passed, 1 failed')
  process.exit(1)
}

function pureLane(name: string, random: Random, dog: Watchdog): Lane {
  const bare = pureTargets.find((each) => each.name === name)
  if (bare === undefined) throw new Error(`no target is called ${name}; there are ${TARGETS.join(', ')} and all`)
  const target: Target = {
    name,
    run(input, from) {
      dog.note(name, [input])
      bare.run(input, from)
    },
  }
  const pool = createPool(readCorpus(name))
  let isReplayed = false
  return {
    name,
    execs: 0,
    ms: 0,
    async batch() {
      const found = (isReplayed ? undefined : replay(target, random)) ?? fuzz(target, pool, random, PURE_BATCH)
      isReplayed = true
      if (found !== undefined) throw new Caught(name, found)
      return PURE_BATCH
    },
  }
}

function aclLane(random: Random, dog: Watchdog): Lane {
  return {
    name: 'acl',
    execs: 0,
    ms: 0,
    async batch() {
      dog.note('acl', [])
      for (let i = 0; i < ACL_BATCH; i++) {
        const leak = leakIn(random)
        if (leak !== undefined) throw new Caught('acl', { error: new Finding(leak), inputs: [] })
      }
      return ACL_BATCH
    },
  }
}

function liveLane(live: LiveTarget, random: Random, dog: Watchdog): Lane {
  const pool = createConversations(readCorpus(live.name))
  const recording: LiveTarget = {
    ...live,
    round(inputs, from) {
      underWay = { target: live.name, inputs }
      dog.note(live.name, inputs)
      return live.round(inputs, from)
    },
  }
  let isReplayed = false
  return {
    name: live.name,
    execs: 0,
    ms: 0,
    async batch() {
      const old = isReplayed ? undefined : await replayLive(recording, random)
      isReplayed = true
      const found = old ?? (await fuzzLive(recording, pool, random, LIVE_BATCH))
      if (found !== undefined) throw new Caught(live.name, found)
      return LIVE_BATCH * live.inputsPerRound
    },
  }
}

async function replayFile(target: string, file: string, random: Random): Promise<void> {
  const inputs = readSeeds(readFileSync(file, 'utf8')).map(({ bytes }) => bytes)
  const pure = pureTargets.find(({ name }) => name === target)
  const live = pure === undefined ? await openLive() : undefined
  for (const input of inputs) {
    const found =
      pure === undefined ? await runRound(live as LiveTarget, [input], random) : runOnce(pure, input, random)
    if (found === undefined) continue
    console.error(found.error.stack)
    process.exit(1)
  }
  await live?.stop()
  console.log(`${inputs.length} inputs, nothing found`)
}

/** Resident bytes after a collection, without what V8 keeps empty for the next garbage. */
function residentBytes(): number {
  setFlagsFromString('--expose-gc')
  ;(runInNewContext('gc') as () => void)()
  const { rss, heapTotal, heapUsed } = process.memoryUsage()
  return rss - heapTotal + heapUsed
}

function report(lanes: readonly Lane[], startedMs: number): void {
  const parts = lanes.map(
    ({ name, execs, ms }) => `${name} ${execs} (${ms === 0 ? 0 : Math.round((execs / ms) * 1_000)}/s)`,
  )
  const rssMib = Math.round(process.memoryUsage().rss / 1024 / 1024)
  console.log(`${Math.round((performance.now() - startedMs) / 1_000)} s  ${parts.join('  ')}  rss ${rssMib} MiB`)
}

/** The lanes take turns until the time is over. Throws what is Caught. */
async function run(lanes: readonly Lane[], minutes: number): Promise<void> {
  const startedMs = performance.now()
  const endMs = startedMs + minutes * 60_000
  let progressMs = startedMs + PROGRESS_MS
  let warmBytes = 0
  for (let turn = 0; performance.now() < endMs; turn++) {
    const lane = lanes[turn % lanes.length] as Lane
    const fromMs = performance.now()
    const untilMs = Math.min(endMs, fromMs + SLICE_MS)
    while (performance.now() < untilMs) lane.execs += await lane.batch()
    lane.ms += performance.now() - fromMs
    if (performance.now() < progressMs) continue
    progressMs += PROGRESS_MS
    report(lanes, startedMs)
    const isWarm = turn >= lanes.length && performance.now() - startedMs > WARM_UP_MS
    if (isWarm && warmBytes === 0) warmBytes = residentBytes()
    else if (warmBytes > 0) checkGrowth(warmBytes, lane.name)
  }
  report(lanes, startedMs)
}

function checkGrowth(warmBytes: number, target: string): void {
  const grown = residentBytes() - warmBytes
  if (grown <= GROWTH_BYTES_MAX) return
  throw new Caught(target, {
    error: new Finding(`the process has grown by ${Math.round(grown / 1024 / 1024)} MiB`),
    inputs: [],
  })
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '1' },
      seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
      target: { type: 'string', default: 'all' },
      replay: { type: 'string' },
    },
  })
  const random = createRandom(Number(values.seed))
  if (values.replay !== undefined) return replayFile(values.target, values.replay, random)
  console.log(`seed ${values.seed}`)
  const names = values.target === 'all' ? TARGETS : [values.target]
  const live = names.includes('guard') ? await openLive() : undefined
  const dog = watch(TARGETS)
  const lanes = names.map((name) => {
    if (name === 'acl') return aclLane(random, dog)
    return name === 'guard' ? liveLane(live as LiveTarget, random, dog) : pureLane(name, random, dog)
  })
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: Error) => stop(underWay.target, { error, inputs: underWay.inputs }))
  }
  try {
    await run(lanes, Number(values.minutes))
  } catch (error) {
    if (error instanceof Caught) stop(error.target, error.found)
    throw error
  }
  await live?.stop()
  console.log(`${lanes.length} passed, 0 failed`)
}

await main()
