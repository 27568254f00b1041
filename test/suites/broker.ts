/**
 * What a suite may do with a broker, whichever it is. A pledge is a promise that a broker keeps or breaks: it is run
 * on a fresh broker, asserts what it saw, and knows nothing of the broker's inside.
 */
import { type Client, type ClientOptions, connectClient, type Received } from '../world/client.ts'

/** A device that may connect. */
export interface Login {
  readonly id: string
  readonly token: string
}

/** Devices that one PUBLISH reaches. */
export interface Crowd {
  readonly members: readonly Login[]
  /** The topic with which `from` reaches all of them. */
  topic(from: Login): string
}

export interface Broker {
  /** Another one after every restart. */
  readonly port: number
  device(id: string): Promise<Login>
  crowd(size: number): Promise<Crowd>
  /** The topic with which `from` reaches `to`. */
  topic(from: Login, to: Login): string
  /** The filters of a device's inbox; the first one is its own alone. */
  filters(of: Login): readonly string[]
  /** From now on it takes so long to decide about a PUBLISH to this device. */
  slow(to: Login, ms: number): Promise<void>
  /** The store takes what it is sent and does not answer until `resumeStore`. */
  stopStore(): Promise<void>
  resumeStore(): Promise<void>
  /** SIGKILL. Resolves when the process is gone. */
  kill(): Promise<void>
  /** Starts again on the same data after `kill`. */
  restart(): Promise<void>
  /** Ends it and removes its data. */
  stop(): Promise<void>
}

export interface Pledge {
  /** A sentence that is true of a broker that keeps it. */
  readonly says: string
  /** Throws an AssertionError that says what it saw when the pledge is broken. */
  keep(broker: Broker): Promise<void>
}

/** Connects a device with a session that outlives the connection. */
export function connect(
  broker: Pick<Broker, 'port'>,
  login: Login,
  options: Partial<ClientOptions> = {},
): Promise<Client> {
  const { id, token } = login
  return connectClient({
    port: broker.port,
    clientId: id,
    username: id,
    password: token,
    clean: false,
    keepalive: 60,
    ...options,
  })
}

/** Connects, subscribes to the inbox, and stays. */
export async function join(broker: Broker, login: Login, options: Partial<ClientOptions> = {}): Promise<Client> {
  const client = await connect(broker, login, options)
  for (const filter of broker.filters(login)) {
    const [granted] = await client.subscribe(filter)
    if (granted !== 1) throw new Error(`${login.id} asked for ${filter} and was granted ${granted}`)
  }
  return client
}

/** The device has subscribed and is gone: from now on its messages wait. */
export async function subscribeAndLeave(broker: Broker, login: Login): Promise<void> {
  const client = await join(broker, login)
  await client.disconnect()
}

/** Publishes all payloads at once and waits for the PUBACKs. */
export async function publishAll(client: Client, topic: string, payloads: readonly string[]): Promise<void> {
  const wanted = pubackCount(client) + payloads.length
  for (const payload of payloads) client.post(topic, payload)
  await client.until((c) => pubackCount(c) >= wanted || c.isClosed, `${payloads.length} PUBACKs`, 20_000)
  if (pubackCount(client) < wanted)
    throw new Error(`the connection ended ${wanted - pubackCount(client)} PUBACKs early`)
}

/**
 * Publishes all payloads and waits until they are stored, whatever a PUBACK says there: until a message that went
 * behind them has reached another device.
 */
export async function publishStored(
  broker: Broker,
  sender: Client,
  from: Login,
  to: Login,
  payloads: readonly string[],
): Promise<void> {
  const witness = await broker.device(`${to.id}witness`)
  const client = await join(broker, witness)
  await publishAll(sender, broker.topic(from, to), payloads)
  await publishAll(sender, broker.topic(from, witness), ['behind'])
  await client.receive(1, 20_000)
  await client.disconnect()
}

/** Packet ids of the PUBACKs that came, in order. */
export function pubackIds(client: Client): number[] {
  return client.packets.flatMap((packet) => (packet.cmd === 'puback' ? [packet.messageId as number] : []))
}

export function pubackCount(client: Client): number {
  return pubackIds(client).length
}

/** Resolves with what came once `count` PUBLISHes did, or once nothing has come for `quietMs`. */
export async function collect(client: Client, count: number, quietMs: number): Promise<readonly Received[]> {
  for (;;) {
    const before = client.received.length
    if (before >= count || client.isClosed) return client.received
    const more = client.until((c) => c.received.length > before || c.isClosed, 'another message', quietMs)
    if (
      !(await more.then(
        () => true,
        () => false,
      ))
    )
      return client.received
  }
}

export function textsOf(received: readonly Received[]): string[] {
  return received.map(({ payload }) => String(payload))
}

/** `prefix 0` to `prefix n-1`. */
export function numbered(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix} ${i}`)
}
