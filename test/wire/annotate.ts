/**
 * The golden bytes for a reader: hex on the left, what wire.proto says of it on the right, one field a line. Written
 * with the reader of protobufjs, not with ours. `node test/wire/annotate.ts` writes them into docs/wire.md, below the
 * comment `<!-- vector <message>: <name> -->` of each; those without one are added at the end.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import protobuf from 'protobufjs'
import { type Golden, goldenFile } from './golden.ts'
import { contentGoldenFile } from './golden-content.ts'

/** With the names of wire.proto as they are written there. */
const { root } = protobuf.parse(readFileSync(new URL('../../topics/wire.proto', import.meta.url), 'utf8'), {
  keepCase: true,
})
root.resolveAll()

const COMMENT_COLUMN = 62
const ROW_BYTES = 24

interface Line {
  readonly depth: number
  readonly hex: string
  readonly says: string
}

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** A tag and a length by themselves, so that they are seen. */
const spaced = (...parts: readonly Uint8Array[]): string => parts.map(hexOf).join(' ').trim()

function isShown(bytes: Uint8Array): boolean {
  return bytes.length > 0 && bytes.every((byte) => byte >= 0x20 && byte < 0x7f)
}

function saidBytes(bytes: Uint8Array): string {
  return isShown(bytes) ? `"${Buffer.from(bytes).toString()}"` : `${bytes.length} bytes`
}

/** Long values go below their tag, some bytes a line. */
function valueLines(depth: number, head: string, says: string, value: Uint8Array): Line[] {
  if (value.length <= ROW_BYTES - 8) return [{ depth, hex: `${head} ${hexOf(value)}`.trim(), says }]
  const rows: Line[] = [{ depth, hex: head, says }]
  for (let at = 0; at < value.length; at += ROW_BYTES) {
    rows.push({ depth: depth + 1, hex: hexOf(value.subarray(at, at + ROW_BYTES)), says: '' })
  }
  return rows
}

function scalar(reader: protobuf.Reader, field: protobuf.Field): string {
  if (field.resolvedType instanceof protobuf.Enum) {
    const number = reader.uint32()
    return `${field.resolvedType.valuesById[number]}`
  }
  switch (field.type) {
    case 'bool':
      return String(reader.bool())
    case 'fixed32':
      return String(reader.fixed32())
    case 'fixed64':
      return `0x${BigInt(reader.fixed64().toString()).toString(16)}`
    case 'double':
      return String(reader.double())
    default:
      return reader.uint64().toString()
  }
}

function packed(value: Uint8Array): string {
  const reader = protobuf.Reader.create(value)
  const numbers: string[] = []
  while (reader.pos < reader.len) numbers.push(reader.uint64().toString())
  return numbers.join(', ')
}

function delimited(depth: number, field: protobuf.Field, head: string, value: Uint8Array): Line[] {
  const name = field.name
  if (field.resolvedType instanceof protobuf.Type) {
    return [
      { depth, hex: head, says: `${name} (${field.resolvedType.name})` },
      ...fieldLines(depth + 1, field.resolvedType, value),
    ]
  }
  if (field.type === 'string') return valueLines(depth, head, `${name} = "${Buffer.from(value).toString()}"`, value)
  if (field.type === 'bytes') return valueLines(depth, head, `${name} = ${saidBytes(value)}`, value)
  const about = name === 'accepted' ? ', differences of pairs' : ''
  return valueLines(depth, head, `${name} = ${packed(value)}${about}`, value)
}

function fieldLines(depth: number, type: protobuf.Type, bytes: Uint8Array): Line[] {
  const reader = protobuf.Reader.create(bytes)
  const lines: Line[] = []
  while (reader.pos < reader.len) {
    const start = reader.pos
    const tag = reader.uint32()
    const field = type.fieldsById[tag >>> 3] as protobuf.Field
    const tagEnd = reader.pos
    if ((tag & 7) === 2) {
      const value = reader.bytes()
      const valueStart = reader.pos - value.length
      const head = spaced(bytes.subarray(start, tagEnd), bytes.subarray(tagEnd, valueStart))
      lines.push(...delimited(depth, field, head, value))
      continue
    }
    const said = scalar(reader, field)
    const hex = spaced(bytes.subarray(start, tagEnd), bytes.subarray(tagEnd, reader.pos))
    lines.push({ depth, hex, says: `${field.name} = ${said}` })
  }
  return lines
}

/** One golden message as lines; the hex in front of each `#` put together is its bytes. */
export function annotated({ message, hex }: Golden): string[] {
  const type = root.lookupType(`heliograph.wire.v1.${message}`)
  return fieldLines(0, type, Buffer.from(hex, 'hex')).map(({ depth, hex: left, says }) => {
    const line = '  '.repeat(depth) + left
    return says === '' ? line : `${line.padEnd(COMMENT_COLUMN)} # ${'  '.repeat(depth)}${says}`
  })
}

export const wireDocument = new URL('../../docs/wire.md', import.meta.url)

/** Comment above a vector in the document. */
export const markerOf = ({ message, name }: Golden): string => `<!-- vector ${message}: ${name} -->`
export const blockOf = (golden: Golden): string => `\`\`\`text\n${annotated(golden).join('\n')}\n\`\`\``

export function allGoldens(): readonly Golden[] {
  return [goldenFile, contentGoldenFile].flatMap((file) => JSON.parse(readFileSync(file, 'utf8')) as Golden[])
}

/** `document` with every vector as it is now. */
export function withVectors(document: string): string {
  return allGoldens().reduce((text, golden) => {
    const marker = markerOf(golden)
    const start = text.indexOf(marker)
    const title = `**${golden.message}: ${golden.name}**`
    if (start < 0) return `${text.trimEnd()}\n\n${title}\n\n${marker}\n${blockOf(golden)}\n`
    const from = start + marker.length
    const fence = /^\n```text\n.*?\n```/s.exec(text.slice(from))?.[0] ?? ''
    return `${text.slice(0, from)}\n${blockOf(golden)}${text.slice(from + fence.length)}`
  }, document)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(wireDocument, withVectors(readFileSync(wireDocument, 'utf8')))
}
