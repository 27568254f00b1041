/** Changes to an input, a few at a time: flips, splices, cuts, repeats, and bytes that parsers trip over. */
import type { Random } from './random.ts'

export const INPUT_BYTES_MAX = 4_096

/** Edges of lengths, varints and flags, and what topics are made of. */
const TELLING = Buffer.from([
  0, 1, 2, 3, 4, 5, 8, 16, 32, 64, 127, 128, 129, 254, 255, 0x2f, 0x2b, 0x23, 0x24, 0xc0, 0xed,
])

const scratch = Buffer.alloc(2 * INPUT_BYTES_MAX)

/** A changed copy of `input`; `other` lends pieces. Valid until the next call. */
export function mutate(random: Random, input: Uint8Array, other: Uint8Array): Buffer {
  let length = Math.min(input.length, INPUT_BYTES_MAX)
  scratch.set(input.subarray(0, length))
  for (let left = 1 + random.int(4); left > 0; left--) length = change(random, length, other)
  return scratch.subarray(0, length)
}

function change(random: Random, length: number, other: Uint8Array): number {
  if (length === 0) return insert(random, 0, length, 1 + random.int(8))
  const at = random.int(length)
  switch (random.int(9)) {
    case 0:
      scratch[at] = (scratch[at] as number) ^ (1 << random.int(8))
      return length
    case 1:
      scratch[at] = TELLING[random.int(TELLING.length)] as number
      return length
    case 2:
      scratch[at] = random.int(256)
      return length
    // A length that lies a little.
    case 3:
      scratch[at] = (scratch[at] as number) + (random.once(2) ? 1 : 255)
      return length
    case 4:
      return at
    case 5:
      return remove(at, Math.min(length - at, 1 + random.int(8)), length)
    case 6:
      return insert(random, at, length, 1 + random.int(8))
    case 7:
      return repeat(at, Math.min(length - at, 1 + random.int(32)), length)
    default:
      return splice(random, at, length, other)
  }
}

function remove(at: number, count: number, length: number): number {
  scratch.copyWithin(at, at + count, length)
  return length - count
}

/** Makes room for `count` bytes, as far as there is any; returns how many. */
function widen(at: number, count: number, length: number): number {
  const more = Math.min(count, INPUT_BYTES_MAX - length)
  scratch.copyWithin(at + more, at, length)
  return more
}

function insert(random: Random, at: number, length: number, count: number): number {
  const more = widen(at, count, length)
  for (let i = 0; i < more; i++) scratch[at + i] = random.int(256)
  return length + more
}

function repeat(at: number, count: number, length: number): number {
  const more = widen(at, count, length)
  scratch.copyWithin(at, at + more, at + 2 * more)
  return length + more
}

/** A piece of the other input, in place of what follows or in between. */
function splice(random: Random, at: number, length: number, other: Uint8Array): number {
  if (other.length === 0) return at
  const from = random.int(other.length)
  const piece = other.subarray(from, from + 1 + random.int(other.length - from))
  if (random.once(2)) {
    const count = Math.min(piece.length, INPUT_BYTES_MAX - at)
    scratch.set(piece.subarray(0, count), at)
    return at + count
  }
  const more = widen(at, piece.length, length)
  scratch.set(piece.subarray(0, more), at)
  return length + more
}
