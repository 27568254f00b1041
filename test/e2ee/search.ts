/** Looks for secrets in whatever form they may have left: in text, in files, in the memory of a living process. */
import { createReadStream } from 'node:fs'
import { open, readdir, readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'

export interface Needle {
  /** What it is and how it is written, for people. */
  readonly name: string
  readonly bytes: Buffer
}

const PIECE_BYTES = 8 * 1024 * 1024

/** The characters of base64 that all bits of `bytes` are in, when so many bytes stand before it. */
function base64At(bytes: Buffer, before: 0 | 1 | 2): string {
  const text = Buffer.concat([Buffer.alloc(before), bytes])
    .toString('base64')
    .replace(/=+$/, '')
  const isCut = (before + bytes.length) % 3 !== 0
  return text.slice(Math.ceil((before * 8) / 6), isCut ? -1 : undefined)
}

/** `value` as it is, as hex, and as base64 at every alignment, in both alphabets; a text also as UTF-16. */
export function needlesOf(name: string, value: string | Uint8Array): Needle[] {
  const bytes = Buffer.from(value as Uint8Array)
  const hex = bytes.toString('hex')
  const texts = ([0, 1, 2] as const).flatMap((before) => {
    const text = base64At(bytes, before)
    return [text, text.replaceAll('+', '-').replaceAll('/', '_')]
  })
  const forms: [string, Buffer][] = [
    ['bytes', bytes],
    ...[...new Set([hex, hex.toUpperCase()])].map((text): [string, Buffer] => ['hex', Buffer.from(text)]),
    ...[...new Set(texts)].map((text): [string, Buffer] => ['base64', Buffer.from(text)]),
    ...(typeof value === 'string' ? [['utf16', Buffer.from(value, 'utf16le')] as [string, Buffer]] : []),
  ]
  return forms.map(([form, found]) => ({ name: `${name} as ${form}`, bytes: found }))
}

/** Names of the needles that are in what comes in pieces; one that lies across pieces is found. */
export async function findIn(pieces: AsyncIterable<Buffer> | Iterable<Buffer>, needles: readonly Needle[]) {
  const found = new Set<string>()
  const longest = Math.max(...needles.map(({ bytes }) => bytes.length))
  let tail = Buffer.alloc(0)
  for await (const piece of pieces) {
    const whole = Buffer.concat([tail, piece])
    for (const { name, bytes } of needles) if (!found.has(name) && whole.includes(bytes)) found.add(name)
    tail = Buffer.from(whole.subarray(Math.max(0, whole.length - longest + 1)))
  }
  return [...found].sort()
}

/** In every file below `folder` but those that are named: the needles that are there, by file. */
export async function findInFolder(folder: string, needles: readonly Needle[], except: readonly string[] = []) {
  const found: string[] = []
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (!entry.isFile() || except.includes(entry.name)) continue
    const names = await findIn(createReadStream(path, { highWaterMark: PIECE_BYTES }), needles)
    found.push(...names.map((name) => `${name} in ${relative(folder, path)}`))
  }
  return found
}

export interface Image {
  /** Bytes that were looked at. */
  readonly bytes: number
  readonly found: readonly string[]
}

/**
 * Looks through all memory of a process that it can read itself, heap, stacks and mapped files, while it runs.
 * Undefined: this system does not show it (only Linux does, and only to whoever may trace the process).
 */
export async function findInMemory(pid: number, needles: readonly Needle[]): Promise<Image | undefined> {
  const maps = await readFile(`/proc/${pid}/maps`, 'utf8').catch(() => undefined)
  const memory = await open(`/proc/${pid}/mem`).catch(() => undefined)
  if (maps === undefined || memory === undefined) return undefined
  let bytes = 0
  const piece = Buffer.alloc(PIECE_BYTES)
  async function* piecesOf(from: number, to: number) {
    for (let at = from; at < to; ) {
      // What was unmapped meanwhile cannot be read, and neither can pages of the kernel.
      const read = await memory?.read(piece, 0, Math.min(PIECE_BYTES, to - at), at).catch(() => undefined)
      if (read === undefined || read.bytesRead === 0) return
      bytes += read.bytesRead
      at += read.bytesRead
      yield piece.subarray(0, read.bytesRead)
    }
  }
  try {
    const found = new Set<string>()
    for (const line of maps.split('\n')) {
      const [, from = '', to = '', name = ''] = /^([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \S+ *(.*)$/.exec(line) ?? []
      if (from === '' || name.startsWith('[v')) continue
      const inside = await findIn(piecesOf(Number.parseInt(from, 16), Number.parseInt(to, 16)), needles)
      for (const each of inside) found.add(`${each} in memory`)
    }
    return bytes === 0 ? undefined : { bytes, found: [...found].sort() }
  } finally {
    await memory.close()
  }
}
