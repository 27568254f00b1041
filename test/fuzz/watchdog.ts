/**
 * Watches for an input that never ends: the loop that runs it cannot stop itself, so a thread beside it looks every few
 * seconds whether another input has begun. It keeps the one that has not ended, says so, and kills the process.
 */
import { Worker, isMainThread, workerData } from 'node:worker_threads'
import { keepFinding } from './corpus.ts'
import { INPUT_BYTES_MAX } from './mutate.ts'

const HUNG_MS = 20_000
const COUNT = 0
const BYTES = 1

export interface Watchdog {
  /** Another input begins. */
  note(input: Uint8Array): void
  stop(): Promise<number>
}

export function watch(target: string): Watchdog {
  const words = new Int32Array(new SharedArrayBuffer(8))
  const copy = new Uint8Array(new SharedArrayBuffer(2 * INPUT_BYTES_MAX))
  const worker = new Worker(new URL(import.meta.url), { workerData: { target, words, copy } })
  worker.unref()
  return {
    note(input) {
      copy.set(input.subarray(0, copy.length))
      words[BYTES] = Math.min(input.length, copy.length)
      words[COUNT] = (words[COUNT] as number) + 1
    },
    stop: () => worker.terminate(),
  }
}

function look(target: string, words: Int32Array, copy: Uint8Array): void {
  let seen = -1
  setInterval(() => {
    const count = Atomics.load(words, COUNT)
    if (count === 0 || count !== seen) {
      seen = count
      return
    }
    const input = Buffer.from(copy.subarray(0, Atomics.load(words, BYTES)))
    const file = keepFinding(target, `an input that did not end within ${HUNG_MS} ms`, input)
    process.stderr.write(`\n${target}: an input does not end; replay: node test/fuzz/main.ts --target ${target} --replay ${file}\n`)
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), 500)
  }, HUNG_MS)
}

if (!isMainThread && workerData?.words !== undefined) {
  const { target, words, copy } = workerData as { target: string; words: Int32Array; copy: Uint8Array }
  look(target, words, copy)
}
