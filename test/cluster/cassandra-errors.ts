/** A way to Cassandra that answers statements with an error of its protocol (version 4) in the node's place. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

const HEADER_BYTES = 9
const EXECUTE = 0x0a
const BATCH = 0x0d
const ERROR = 0x00
const RESPONSE = 0x80
const OPCODE_AT = 4
const LENGTH_AT = 5

const short = (number: number): Buffer => Buffer.from([number >> 8, number & 0xff])
const int = (number: number): Buffer => Buffer.concat([short(number >> 16), short(number & 0xffff)])
const text = (word: string): Buffer => Buffer.concat([short(word.length), Buffer.from(word)])
const ONE = short(1)

/** What stands in the body of each: code, message, and what belongs to the code. */
const BODIES = {
  overloaded: [int(0x1001), text('too many requests')],
  unavailable: [int(0x1000), text('not enough replicas are alive'), ONE, int(1), int(0)],
  writeTimeout: [int(0x1100), text('no replica answered in time'), ONE, int(0), int(1), text('SIMPLE')],
  bootstrapping: [int(0x1002), text('the node is not there yet')],
} as const
export type CassandraError = keyof typeof BODIES
export const cassandraErrors = Object.keys(BODIES) as readonly CassandraError[]

function errorFor(request: Buffer, kind: CassandraError): Buffer {
  const body = Buffer.concat(BODIES[kind])
  const head = Buffer.from(request.subarray(0, HEADER_BYTES))
  head.writeUInt8((request[0] as number) | RESPONSE, 0)
  head.writeUInt8(0, 1)
  head.writeUInt8(ERROR, OPCODE_AT)
  head.writeUInt32BE(body.length, LENGTH_AT)
  return Buffer.concat([head, body])
}

export interface ErringPath {
  readonly port: number
  /** Answer to every statement from now on; undefined: the node answers itself. */
  answer: CassandraError | undefined
  /** How many statements were answered so. */
  answered(): number
  close(): Promise<void>
}

/** Forwards to a port of this machine, frame by frame. */
export async function startErringPath(port: number): Promise<ErringPath> {
  const sockets = new Set<Socket>()
  let answered = 0
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1')
    let rest: Buffer = Buffer.alloc(0)
    for (const [from, into] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from)
      from.on('error', () => undefined)
      from.on('close', () => {
        sockets.delete(from)
        into.destroy()
      })
    }
    far.on('data', (bytes) => void near.write(bytes))
    near.on('data', (bytes) => {
      rest = Buffer.concat([rest, bytes])
      while (rest.length >= HEADER_BYTES) {
        const end = HEADER_BYTES + rest.readUInt32BE(LENGTH_AT)
        if (rest.length < end) return
        const request = rest.subarray(0, end)
        rest = rest.subarray(end)
        const isStatement = request[OPCODE_AT] === EXECUTE || request[OPCODE_AT] === BATCH
        if (path.answer === undefined || !isStatement) far.write(request)
        else {
          answered++
          near.write(errorFor(request, path.answer))
        }
      }
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const path: ErringPath = {
    port: (server.address() as AddressInfo).port,
    answer: undefined,
    answered: () => answered,
    async close() {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    },
  }
  return path
}
