/** PROXY headers as a load balancer sends them (proxy-protocol.txt, 2.2), made here and not by the server's own code. */

const SIGNATURE = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a])

/** A header of any kind: version and command, family, and what comes behind the length. */
export function header(command: number, family: number, rest: Uint8Array): Buffer {
  return Buffer.concat([SIGNATURE, Buffer.from([command, family, rest.length >> 8, rest.length & 255]), rest])
}

/** A TLV (2.2.3) of type 0x04, which says nothing, with so many bytes in all. */
export function padding(bytes: number): Buffer {
  const tlv = Buffer.alloc(bytes)
  tlv[0] = 0x04
  tlv.writeUInt16BE(bytes - 3, 1)
  return tlv
}

export function tcp4(source: string, more: Uint8Array = Buffer.alloc(0)): Buffer {
  const bytes = source.split('.').map(Number)
  return header(0x21, 0x11, Buffer.concat([Buffer.from([...bytes, 10, 0, 0, 1, 0xc3, 0x50, 0x07, 0x5b]), more]))
}

/** `source` with all of its eight groups. */
export function tcp6(source: string): Buffer {
  const bytes = Buffer.alloc(36)
  source.split(':').forEach((group, i) => {
    bytes.writeUInt16BE(Number.parseInt(group, 16), 2 * i)
  })
  bytes.writeUInt16BE(1, 30)
  return header(0x21, 0x21, bytes)
}

export const local = (): Buffer => header(0x20, 0x00, Buffer.alloc(0))
