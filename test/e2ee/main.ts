/**
 * Many random schedules: `node test/e2ee/main.ts --seeds 1000 [--from 1]`. Seeds are consecutive numbers; a failing one
 * is printed with its steps, and `--from <seed> --seeds 1` runs it alone. Ends with 1 when one failed.
 */
import { existsSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { startScene } from './scene.ts'
import { runSchedule } from './schedules.ts'

const PROGRESS_MS = 5_000
const MEMORY_FOLDER = '/dev/shm'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100' },
    from: { type: 'string', default: '1' },
    lanes: { type: 'string', default: '4' },
  },
})
// What a disk does is tested elsewhere; here it would only take time.
if (existsSync(MEMORY_FOLDER)) process.env['TMPDIR'] = MEMORY_FOLDER
const first = Number(values.from)
const startedMs = performance.now()
const last = first + Number(values.seeds) - 1
let [next, passed, failed, messages] = [first, 0, 0, 0]

/** One seed after the other, on a node of its own. */
async function lane(): Promise<void> {
  const scene = await startScene()
  while (next <= last) {
    const seed = next++
    try {
      const sent = await runSchedule(scene, seed)
      messages += sent
      passed++
    } catch (error) {
      failed++
      console.error((error as Error).message)
    }
  }
  await scene.stop()
}

const progress = setInterval(() => {
  console.log(`${passed + failed} seeds, ${messages} messages, ${failed} failed`)
}, PROGRESS_MS)
// Schedules wait most of the time: several side by side.
await Promise.all(Array.from({ length: Number(values.lanes) }, lane))
clearInterval(progress)
const eachMs = Math.round((performance.now() - startedMs) / Math.max(1, passed + failed))
console.log(`${messages} messages, ${eachMs} ms for each seed`)
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
