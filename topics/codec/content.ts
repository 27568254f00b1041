/** Content, what is inside the ciphertext, as bytes and back. Padding is beside it, in `padding.ts`. */
import type { Content } from './content-plain.ts'
import { content } from './content-schema.ts'
import type { Fields } from './plain.ts'
import { readPlain } from './plain-reader.ts'
import { writePlain } from './plain-writer.ts'
import { newReader, type Reader, readAll, type WireFault } from './reader.ts'

const reader = newReader()

/**
 * A Content as bytes, not padded; `kind` may be left out. RangeError for a number that is negative, not whole or not
 * below 2^53, and for a text that is not well-formed.
 */
export function encodeContent(fields: Fields<Content>): Uint8Array {
  return writePlain(content, fields)
}

/**
 * Reads a Content without its padding: what it does not know it steps over, and a `kind` of a newer version is then
 * undefined. Bytes are views of `bytes`; ids have the length that the sender gave them. A WireFault for what is no
 * protobuf or has text that is not UTF-8; its `stamp` says nothing here.
 */
export function decodeContent(bytes: Uint8Array): Content | WireFault {
  return readAll(reader, bytes, 0, bytes.length, readContent)
}

function readContent(from: Reader): Content {
  return readPlain(from, content, false) as unknown as Content
}
