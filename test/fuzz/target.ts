/** What a fuzz target is. */
import type { Random } from './random.ts'

/** Something that must not be; its message says what. */
export class Finding extends Error {}

export interface Target {
  readonly name: string
  /** Throws when the input shows a defect; whatever it throws is a finding. */
  run(input: Buffer, random: Random): void
}

/** A target that needs a server. One round may take several inputs, each on a connection of its own. */
export interface LiveTarget {
  readonly name: string
  readonly inputsPerRound: number
  /** Rejects when one of the inputs shows a defect. */
  round(inputs: readonly Buffer[], random: Random): Promise<void>
  stop(): Promise<void>
}

export function check(holds: boolean, what: string): void {
  if (!holds) throw new Finding(what)
}
