/**
 * A tap on the line of the demo: a proxy in front of the HTTP port that keeps every byte of both directions. Frames of
 * WebSocket clients are masked (RFC 6455, 5.3), so they are unmasked before anything is looked for in them.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface Tap {
  readonly port: number
  /** Bytes that passed. */
  bytes(): number
  /** Which of `texts` passed, in either direction. */
  found(texts: readonly string[]): string[]
  close(): void
}

const HEAD_END = '\r\n\r\n'
const MASK_BYTES = 4

/** The bytes behind the mask: `up` of a connection that became a WebSocket, else `up` as it is. */
function unmasked(up: Buffer): Buffer {
  const head = up.indexOf(HEAD_END)
  if (head < 0 || !/^GET \S*\/ws /.test(up.toString('latin1', 0, head))) return up
  const parts: Buffer[] = [up.subarray(0, head)]
  let at = head + HEAD_END.length
  while (at + 2 <= up.length) {
    const short = (up[at + 1] as number) & 127
    const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0
    const start = at + 2 + lengthBytes + MASK_BYTES
    if (start > up.length) break
    // Of the long form the two high bytes are zero: no frame here is that long.
    const size = lengthBytes === 0 ? short : lengthBytes === 2 ? up.readUInt16BE(at + 2) : up.readUIntBE(at + 4, 6)
    const mask = up.subarray(start - MASK_BYTES, start)
    const body = Buffer.from(up.subarray(start, start + size))
    for (let i = 0; i < body.length; i++) body[i] = (body[i] as number) ^ (mask[i % MASK_BYTES] as number)
    parts.push(body)
    at = start + size
  }
  return Buffer.concat(parts)
}

/** Listens on loopback and hands everything on to `targetPort`, which may be away for a while. */
export async function openTap(targetPort: () => number): Promise<Tap> {
  const lines: { readonly up: Buffer[]; readonly down: Buffer[] }[] = []
  const open = new Set<Socket>()
  const server = createServer((client) => {
    const line = { up: [] as Buffer[], down: [] as Buffer[] }
    lines.push(line)
    const target = connect(targetPort(), '127.0.0.1')
    for (const [from, to, kept] of [
      [client, target, line.up],
      [target, client, line.down],
    ] as const) {
      open.add(from)
      from.on('data', (chunk: Buffer) => {
        kept.push(chunk)
        to.write(chunk)
      })
      from.on('error', () => to.destroy())
      from.on('close', () => {
        open.delete(from)
        to.destroy()
      })
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const all = () => lines.flatMap(({ up, down }) => [unmasked(Buffer.concat(up)), Buffer.concat(down)])
  return {
    port: (server.address() as AddressInfo).port,
    bytes: () => all().reduce((sum, { length }) => sum + length, 0),
    found: (texts) => texts.filter((text) => all().some((bytes) => bytes.includes(text))),
    close() {
      server.close()
      for (const socket of open) socket.destroy()
    },
  }
}
