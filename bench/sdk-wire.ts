/**
 * What a text is on the wire: a TCP proxy before the server reads the WebSocket frames that pass (RFC 6455, 5.2) and
 * the MQTT packets in them, and notes how long every PUBLISH is. Nothing is changed.
 */
import { createServer, connect as dial, type Socket } from 'node:net'
import { parser } from 'mqtt-packet'

export type Way = 'up' | 'down'
export type Publish = { readonly way: Way; readonly bytes: number }

export type Wire = {
  /** PUBLISH packets since the last time this was asked, in bytes with their MQTT head. */
  take(): Publish[]
  close(): void
}

const HTTP_END = '\r\n\r\n'
const BINARY = 2
const CONTINUATION = 0

/** Calls back with the payload of each frame of data that is complete; the HTTP head before them is left out. */
export function frameReader(onData: (payload: Buffer) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0)
  let isUpgraded = false
  const next = (): Buffer | undefined => {
    if (rest.length < 2) return undefined
    const [first, second] = [rest[0] as number, rest[1] as number]
    const short = second & 127
    const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0
    const isMasked = second >= 128
    const head = 2 + lengthBytes + (isMasked ? 4 : 0)
    if (rest.length < head) return undefined
    const length = short < 126 ? short : short === 126 ? rest.readUInt16BE(2) : Number(rest.readBigUInt64BE(2))
    if (rest.length < head + length) return undefined
    const payload = Buffer.from(rest.subarray(head, head + length))
    if (isMasked) for (const [i, byte] of payload.entries()) payload[i] = byte ^ (rest[head - 4 + (i & 3)] ?? 0)
    rest = rest.subarray(head + length)
    const opcode = first & 15
    return opcode === BINARY || opcode === CONTINUATION ? payload : Buffer.alloc(0)
  }
  return (chunk) => {
    rest = Buffer.concat([rest, chunk])
    if (!isUpgraded) {
      const end = rest.indexOf(HTTP_END)
      if (end < 0) return
      isUpgraded = true
      rest = rest.subarray(end + HTTP_END.length)
    }
    for (let payload = next(); payload !== undefined; payload = next()) onData(payload)
  }
}

/** Notes the PUBLISH packets of one way of one connection. */
function publishReader(onPublish: (bytes: number) => void): (chunk: Buffer) => void {
  const packets = parser({ protocolVersion: 4 })
  packets.on('packet', (packet) => {
    if (packet.cmd !== 'publish') return
    const remaining = packet.length ?? 0
    onPublish(1 + (remaining < 128 ? 1 : remaining < 16_384 ? 2 : 3) + remaining)
  })
  return frameReader((payload) => void packets.parse(payload))
}

/** Listens on `port` and passes everything to the port that `target` names. */
export async function openWire(port: number, target: () => number): Promise<Wire> {
  let noted: Publish[] = []
  const sockets = new Set<Socket>()
  const pass = (from: Socket, to: Socket, way: Way) => {
    sockets.add(from)
    const read = publishReader((bytes) => void noted.push({ way, bytes }))
    from.on('data', (chunk: Buffer) => {
      to.write(chunk)
      read(chunk)
    })
    from.on('error', () => to.destroy())
    from.on('close', () => {
      sockets.delete(from)
      to.end()
    })
  }
  const server = createServer((near) => {
    const far = dial(target(), '127.0.0.1')
    far.setNoDelay(true)
    near.setNoDelay(true)
    pass(near, far, 'up')
    pass(far, near, 'down')
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return {
    take() {
      const taken = noted
      noted = []
      return taken
    },
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
