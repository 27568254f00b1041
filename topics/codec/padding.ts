/**
 * Padding of a Content before it is encrypted, so that the length of a ciphertext says no more than steps of 80 bytes.
 * One byte less than a step: AES-CBC adds at least one byte, and lands on the step exactly.
 */
import { limits } from '../limits.ts'

const STEP_BYTES = 80
const MARK = 0x80

/**
 * The steps may become others, but `unpad` refuses every length that is not 80k - 1: clients that are out there can
 * read other sizes only if they are 80k - 1 too.
 */
function paddedSize(contentBytes: number): number {
  // The mark needs one byte, and the last byte of the last step stays free.
  return Math.ceil((contentBytes + 2) / STEP_BYTES) * STEP_BYTES - 1
}

const PADDED_BYTES_MAX = paddedSize(limits.contentBytesMax)

/** `content`, 0x80, and zeros up to a whole number of steps less one byte. RangeError above `contentBytesMax`. */
export function pad(content: Uint8Array): Uint8Array {
  if (content.length > limits.contentBytesMax) {
    throw new RangeError(`a content of ${content.length} bytes; at most ${limits.contentBytesMax} are allowed`)
  }
  const padded = new Uint8Array(paddedSize(content.length))
  padded.set(content)
  padded[content.length] = MARK
  return padded
}

/**
 * The content as a view of `padded`; undefined when the length is none that `pad` makes, or when zeros do not lead
 * back to the mark. More zeros than needed are taken: a sender may hide more. Length is judged first, so the work is
 * bounded.
 */
export function unpad(padded: Uint8Array): Uint8Array | undefined {
  if (padded.length > PADDED_BYTES_MAX || padded.length % STEP_BYTES !== STEP_BYTES - 1) return undefined
  let end = padded.length - 1
  while (end >= 0 && padded[end] === 0) end -= 1
  return end >= 0 && padded[end] === MARK ? padded.subarray(0, end) : undefined
}
