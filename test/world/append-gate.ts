/**
 * The gate of a world whose intake has no disk of its own: appends wait in front of it, or fail there. Its words are those
 * that the embedded store's writer looks at (adapters/sqlite/writer-thread.ts), so a test closes either in one way.
 */
import { IntakeFault } from '../../core/envelope.ts'
import type { Intake } from '../../core/ports.ts'

const OPEN = 0
const CLOSED = 1
const STATE = 0
const ARRIVALS = 1

async function pass(words: Int32Array): Promise<void> {
  Atomics.add(words, ARRIVALS, 1)
  Atomics.notify(words, ARRIVALS)
  while (Atomics.load(words, STATE) === CLOSED) await Atomics.waitAsync(words, STATE, CLOSED).value
  if (Atomics.load(words, STATE) !== OPEN)
    throw new IntakeFault('storage_unavailable', 'the gate fails what it is given')
}

/** From now on appends go through the gate, in the order of the calls. */
export function gateAppends(intake: Intake, words: Int32Array): void {
  const append = intake.append.bind(intake)
  let before = Promise.resolve()
  intake.append = (shard, batch) => {
    const passed = before.then(() => pass(words))
    before = passed.catch(() => undefined)
    return passed.then(() => append(shard, batch))
  }
}
