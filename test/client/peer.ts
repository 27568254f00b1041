/** The other side of MQTT connections in a test's hands: a listener that answers only what it was told to. */
import { once } from 'node:events'
import { type AddressInfo, createServer, Socket } from 'node:net'
import type { Packet } from 'mqtt-packet'
import { type Client, clientOn } from '../world/client.ts'

/** How a connection is answered: its CONNECT with CONNACK, its SUBSCRIBE with SUBACK, each at once. */
export interface Manner {
  /** 0 as a rule; undefined: CONNECT is not answered. */
  returnCode?: number | undefined
  sessionPresent?: boolean
  /** 1 as a rule. */
  granted?: number
  /** Written together with CONNACK or, without a session, with SUBACK. */
  together?: Packet[]
}

export interface Peer {
  readonly url: string
  readonly port: number
  manner: Manner
  /** All connections so far, as the peer sees them. */
  readonly connections: Client[]
  /** Resolves with the connection of that index once its CONNECT was read. */
  connection(index: number): Promise<Client>
  stop(): Promise<void>
}

export async function startPeer(manner: Manner = {}): Promise<Peer> {
  const connections: Client[] = []
  const arrivals = new Set<() => void>()
  const server = createServer((socket) => {
    const client = clientOn(socket, false)
    connections.push(client)
    for (const arrived of [...arrivals]) arrived()
    void serve(client, peer)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const peer: Peer = {
    url: `mqtt://127.0.0.1:${port}`,
    port,
    manner,
    connections,
    async connection(index) {
      while (connections.length <= index) {
        await new Promise<void>((resolve) => {
          const arrived = () => {
            arrivals.delete(arrived)
            resolve()
          }
          arrivals.add(arrived)
        })
      }
      const client = connections[index] as Client
      await client.until(({ packets }) => packets.length > 0, 'CONNECT')
      return client
    },
    async stop() {
      for (const { socket } of connections) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
  return peer
}

async function serve(client: Client, { manner }: Peer): Promise<void> {
  const { returnCode = 0, sessionPresent = false, granted = 1, together = [] } = manner
  const find = (cmd: string) => client.packets.find((packet) => packet.cmd === cmd)
  const has = (cmd: string) => client.until(() => find(cmd) !== undefined || client.isClosed, cmd)
  await has('connect')
  if ('returnCode' in manner && manner.returnCode === undefined) return
  client.socket.cork()
  client.send({ cmd: 'connack', returnCode, sessionPresent })
  if (sessionPresent) for (const packet of together) client.send(packet)
  client.socket.uncork()
  if (sessionPresent || returnCode !== 0) return
  await has('subscribe')
  const messageId = find('subscribe')?.messageId
  if (messageId === undefined) return
  client.socket.cork()
  client.send({ cmd: 'suback', messageId, granted: [granted] } as Packet)
  for (const packet of together) client.send(packet)
  client.socket.uncork()
}

/** A PUBLISH from the server. */
export function down(topic: string, payload: string, qos: 0 | 1, messageId?: number, dup = false): Packet {
  return { cmd: 'publish', topic, payload, qos, dup, retain: false, messageId } as Packet
}

/** Packet ids of the PUBACKs that came, in order. */
export function pubacks(client: Client): number[] {
  return client.packets.flatMap((packet) => (packet.cmd === 'puback' ? (packet.messageId as number) : []))
}

/** Counts writes to sockets whose other end is `port`, until `restore`: what TCP merges cannot be counted there. */
export function countWrites(port: number): { readonly writes: Uint8Array[]; restore(): void } {
  const writes: Uint8Array[] = []
  const { write } = Socket.prototype
  Socket.prototype.write = function (this: Socket, ...args: unknown[]) {
    if (this.remotePort === port) writes.push(Uint8Array.from(args[0] as Uint8Array))
    return Reflect.apply(write, this, args) as boolean
  }
  return {
    writes,
    restore() {
      Socket.prototype.write = write
    },
  }
}
