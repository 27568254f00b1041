import * as connects from './connects.ts'
import { refusedConnects } from './connects.ts'
import * as envelopes from './envelopes.ts'
import * as frames from './frames.ts'
import { type Attack, assertAttack, assertNotStored, CANARY, type Scene, startScene } from './scene.ts'
import * as topics from './topics.ts'

void refusedConnects

describe('the server closes the connection, stores nothing, counts and logs it once, and disturbs nobody, after', () => {
  let scene: Scene
  before(async () => {
    scene = await startScene()
  })
  after(async () => {
    assertNotStored(scene.world, CANARY)
    await scene.stop()
  })
  const each = (attacks: readonly Attack[]) => {
    for (const attack of attacks) it(attack.name, () => assertAttack(scene, attack))
  }
  for (const [, list] of [
    ...Object.entries(connects),
    ...Object.entries(frames),
    ...Object.entries(topics),
    ...Object.entries(envelopes),
  ]) {
    if (Array.isArray(list) && 'bytes' in list[0]) each(list)
  }
})
