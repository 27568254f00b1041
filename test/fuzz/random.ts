/** Random numbers from a seed (sfc32): the same seed gives the same run. */

export interface Random {
  /** A whole number of 0 to `below` - 1. */
  int(below: number): number
  /** True once in `times`. */
  once(times: number): boolean
  pick<T>(list: readonly T[]): T
}

export function createRandom(seed: number): Random {
  let a = seed | 0
  let b = 0x9e3779b9
  let c = 0x243f6a88
  let counter = 1
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (((c << 21) | (c >>> 11)) + sum) | 0
    return sum >>> 0
  }
  for (let i = 0; i < 12; i++) next()
  const int = (below: number) => Math.floor((next() / 4_294_967_296) * below)
  return { int, once: (times) => int(times) === 0, pick: (list) => list[int(list.length)] as never }
}
