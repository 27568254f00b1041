/** Varints of protobuf up to 2^53 - 1 (WIRE R3), as numbers: no BigInt on the hot path. */

const TWO_28 = 268_435_456

/** Bytes of a varint: 1..8. `value` is a safe integer, not negative. */
export function varintSize(value: number): number {
  if (value < TWO_28) return value < 128 ? 1 : value < 16_384 ? 2 : value < 2_097_152 ? 3 : 4
  const high = Math.floor(value / TWO_28)
  return high < 128 ? 5 : high < 16_384 ? 6 : high < 2_097_152 ? 7 : 8
}

/** Writes a varint at `at`; returns the offset behind it. The caller has made room for `varintSize(value)` bytes. */
export function writeVarint(target: Uint8Array, at: number, value: number): number {
  let rest = value
  if (value >= TWO_28) {
    rest = Math.floor(value / TWO_28)
    const low = value - rest * TWO_28
    target[at] = (low & 127) | 128
    target[at + 1] = ((low >>> 7) & 127) | 128
    target[at + 2] = ((low >>> 14) & 127) | 128
    target[at + 3] = (low >>> 21) | 128
    at += 4
  }
  while (rest >= 128) {
    target[at++] = (rest & 127) | 128
    rest >>>= 7
  }
  target[at++] = rest
  return at
}
