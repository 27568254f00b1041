import assert from 'node:assert/strict'
import { assertFiles, runStorm } from '../storm/storm.ts'

describe('a storm of reconnects', function () {
  this.timeout(180_000)

  it('brings 300 devices of a node that is killed to the other one, each with all that waits for it', async () => {
    const result = await runStorm({ devices: 300, rows: 3, secondsMax: 60, say: () => undefined })
    const { lost, misdelivered, seconds, tries } = result
    assert.deepEqual({ lost, misdelivered }, { lost: 0, misdelivered: 0 })
    assert.ok(seconds < 60, JSON.stringify(result))
    assert.ok(tries >= 300)
  })

  it('says what to raise when there are too few open files for it', () => {
    assertFiles(100)
    assert.throws(() => assertFiles(10_000_000_000), /10000000000 devices need .* but ulimit -n is \d+: raise it/)
  })
})
