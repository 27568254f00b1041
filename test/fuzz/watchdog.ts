/**
 * Watches for an input that never ends: the loop that runs it cannot stop itself, so a thread beside it looks every few
 * seconds whether others have begun. It keeps those that have not ended, says so, and kills the process.
 */
import { writeSync } from 'node:fs'
import { isMainThread, Worker, workerData } from 'node:worker_threads'
import { keepFinding } from './corpus.ts'
import { INPUT_BYTES_MAX } from './mutate.ts'

const HUNG_MS = 30_000
const INPUTS_MAX = 8
/** Words: a counter, the target, how many inputs, and the bytes of each. */
const COUNT = 0
const TARGET = 1
const INPUTS = 2
const WORDS = 3 + INPUTS_MAX
const SLOT_BYTES = 2 * INPUT_BYTES_MAX

export interface Watchdog {
  /** Others begin: the inputs of one exec or round. */
  note(target: string, inputs: readonly Uint8Array[]): void
}

interface Shared {
  readonly targets: readonly string[]
  readonly words: Int32Array
  readonly bytes: Uint8Array
}

/** Begins to watch; the process may end under it. */
export function watch(targets: readonly string[]): Watchdog {
  const words = new Int32Array(new SharedArrayBuffer(WORDS * 4))
  const bytes = new Uint8Array(new SharedArrayBuffer(INPUTS_MAX * SLOT_BYTES))
  new Worker(new URL(import.meta.url), { workerData: { targets, words, bytes } satisfies Shared }).unref()
  return {
    note(target, inputs) {
      words[TARGET] = targets.indexOf(target)
      words[INPUTS] = inputs.length
      for (let i = 0; i < inputs.length; i++) {
        const input = (inputs[i] as Uint8Array).subarray(0, SLOT_BYTES)
        bytes.set(input, i * SLOT_BYTES)
        words[INPUTS + 1 + i] = input.length
      }
      Atomics.add(words, COUNT, 1)
    },
  }
}

function look({ targets, words, bytes }: Shared): void {
  let seen = 0
  setInterval(() => {
    const count = Atomics.load(words, COUNT)
    if (count !== seen) {
      seen = count
      return
    }
    if (count === 0) return
    const target = targets[words[TARGET] as number] as string
    for (let i = 0; i < (words[INPUTS] as number); i++) {
      const input = Buffer.from(bytes.subarray(i * SLOT_BYTES, i * SLOT_BYTES + (words[INPUTS + 1 + i] as number)))
      const file = keepFinding(target, `an input that did not end within ${HUNG_MS} ms`, input)
      writeSync(2, `\n${target}: no end; replay: node test/fuzz/main.ts --target ${target} --replay ${file}\n`)
    }
    process.kill(process.pid, 'SIGKILL')
  }, HUNG_MS)
}

if (!isMainThread && (workerData as Partial<Shared> | null)?.words !== undefined) look(workerData as Shared)
