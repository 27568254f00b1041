import { existsSync } from 'node:fs'
import { type Scene, startScene } from './scene.ts'
import { runSchedule } from './schedules.ts'

const SEEDS = 10
/** What once went wrong: a resend at a device that was put back, and a copy of it that came before that was known. */
const TELLING_SEEDS = [111, 981]
const MEMORY_FOLDER = '/dev/shm'

// More of them: npm run test:schedules -- --seeds 1000
describe('random schedules of cuts, losses, repeats, crashes and restored databases', () => {
  const { TMPDIR } = process.env
  let scene: Scene
  before(async () => {
    if (existsSync(MEMORY_FOLDER)) process.env['TMPDIR'] = MEMORY_FOLDER
    scene = await startScene()
  })
  after(async () => {
    if (TMPDIR === undefined) delete process.env['TMPDIR']
    else process.env['TMPDIR'] = TMPDIR
    await scene.stop()
  })

  for (const seed of [...Array.from({ length: SEEDS }, (_, i) => i + 1), ...TELLING_SEEDS]) {
    it(`end with every message shown once, in one order, everywhere: seed ${seed}`, async () => {
      await runSchedule(scene, seed)
    })
  }
})
