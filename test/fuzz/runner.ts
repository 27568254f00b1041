/** Runs targets: the corpus first, then mutations of it, some of which are mutated again. */
import { readCorpus, type Seed } from './corpus.ts'
import { mutate } from './mutate.ts'
import type { Random } from './random.ts'
import type { LiveTarget, Target } from './target.ts'
import { codec } from './targets/codec.ts'
import { connect } from './targets/connect.ts'
import { filters } from './targets/filters.ts'
import { frames } from './targets/frames.ts'
import { journal } from './targets/journal.ts'
import { topics } from './targets/topics.ts'

export const pureTargets: readonly Target[] = [connect, filters, frames, codec, topics, journal]

/** What was found, with the inputs that were being taken: one, or those of a round. */
export interface Found {
  readonly error: Error
  readonly inputs: readonly Buffer[]
}

/** Derived inputs that are kept to be mutated again. */
const DERIVED_MAX = 256

export interface Pool {
  /** Valid until the next call. */
  next(random: Random): Buffer
}

/** `headBytes`: so many bytes of an input stay as they are, three times in four. */
export function createPool(seeds: readonly Seed[], headBytes: (input: Buffer) => number = () => 0): Pool {
  const inputs = seeds.map(({ bytes }) => bytes)
  const derived: Buffer[] = []
  // The first ones more often: they are the sound ones, which lead further in.
  const any = (random: Random): Buffer =>
    derived.length > 0 && random.once(4)
      ? random.pick(derived)
      : (inputs[random.int(1 + random.int(inputs.length))] as Buffer)
  return {
    next(random) {
      const input = any(random)
      const head = random.once(4) ? 0 : headBytes(input)
      const rest = mutate(random, input.subarray(head), any(random))
      const made = head === 0 ? rest : Buffer.concat([input.subarray(0, head), rest])
      if (random.once(16)) derived[random.int(Math.min(derived.length + 1, DERIVED_MAX))] = Buffer.from(made)
      return made
    },
  }
}

const asError = (thrown: unknown): Error => (thrown instanceof Error ? thrown : new Error(String(thrown)))

/** One input; gives what was found. */
export function runOnce(target: Target, input: Buffer, random: Random): Found | undefined {
  try {
    target.run(input, random)
    return undefined
  } catch (error) {
    return { error: asError(error), inputs: [Buffer.from(input)] }
  }
}

export function replay(target: Target, random: Random): Found | undefined {
  for (const { bytes } of readCorpus(target.name)) {
    const found = runOnce(target, bytes, random)
    if (found !== undefined) return found
  }
  return undefined
}

/** Mutations, `execs` of them. */
export function fuzz(target: Target, pool: Pool, random: Random, execs: number): Found | undefined {
  for (let left = execs; left > 0; left--) {
    const found = runOnce(target, pool.next(random), random)
    if (found !== undefined) return found
  }
  return undefined
}

export async function runRound(
  target: LiveTarget,
  inputs: readonly Buffer[],
  random: Random,
): Promise<Found | undefined> {
  try {
    await target.round(inputs, random)
    return undefined
  } catch (error) {
    return { error: asError(error), inputs }
  }
}

/** Conversations begin with CONNECT: without a sound one there is not much behind it. */
export function createConversations(seeds: readonly Seed[]): Pool {
  return createPool(seeds, (input) => (input[0] === 0x10 && (input[1] as number) < 128 ? 2 + (input[1] as number) : 0))
}

/** The corpus, a round at a time; the last one is filled up with its first inputs. */
export async function replayLive(target: LiveTarget, random: Random): Promise<Found | undefined> {
  const seeds = readCorpus(target.name).map(({ bytes }) => bytes)
  for (let at = 0; at < seeds.length; at += target.inputsPerRound) {
    const inputs = Array.from({ length: target.inputsPerRound }, (_, i) => seeds[(at + i) % seeds.length] as Buffer)
    const found = await runRound(target, inputs, random)
    if (found !== undefined) return found
  }
  return undefined
}

export async function fuzzLive(
  target: LiveTarget,
  pool: Pool,
  random: Random,
  rounds: number,
): Promise<Found | undefined> {
  for (let left = rounds; left > 0; left--) {
    const inputs = Array.from({ length: target.inputsPerRound }, () => Buffer.from(pool.next(random)))
    const found = await runRound(target, inputs, random)
    if (found !== undefined) return found
  }
  return undefined
}
