/** A promise that was broken: the demo ends with its sentence and exit code 1. */
export class BrokenPromise extends Error {}

/** Throws BrokenPromise with `sentence` unless `kept`. */
export function assertKept(kept: boolean, sentence: string): void {
  if (!kept) throw new BrokenPromise(sentence)
}
