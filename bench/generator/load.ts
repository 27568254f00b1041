/** A fleet on its connections: opening, closing, and the counts that every scenario starts from. */
import { closeConnection, openConnection } from './connection.ts'
import type { Fleet, Member } from './fleet.ts'
import { createTraffic, type Traffic, type TrafficOptions, want } from './traffic.ts'
import { type Connection, sendReady } from './turn.ts'

const KEEPALIVE_S = 60
export const CONNECTS_IN_FLIGHT = 100

export type Load = {
  readonly fleet: Fleet
  readonly traffic: Traffic
  readonly senders: (Connection | undefined)[]
  readonly recipients: (Connection | undefined)[]
  /** Why connections ended that nobody here closed. */
  readonly broken: string[]
}

export type LoadOptions = Omit<TrafficOptions, 'pairs' | 'protobuf'>

export function createLoad(fleet: Fleet, options: LoadOptions): Load {
  const traffic = createTraffic({ ...options, pairs: fleet.pairs, protobuf: fleet.path === 'send-request' })
  return { fleet, traffic, senders: [], recipients: [], broken: [] }
}

/** One port, or one for each node: clients are spread over them in turn. */
export type Ports = number | readonly number[]

const portOf = (ports: Ports, i: number): number =>
  typeof ports === 'number' ? ports : (ports[i % ports.length] as number)

/** Opens the sender of every pair. Sessions are persistent, as everywhere in the load. */
export function openSenders(load: Load, ports: Ports): Promise<void> {
  const { traffic, senders } = load
  return openMany(load.fleet.senders.length, async (i) => {
    const member = load.fleet.senders[i] as Member
    const at = common(portOf(ports, i), member)
    senders[i] = watch(load, await openConnection({ ...at, pair: i, traffic, senders }))
  })
}

/** Opens recipients `from` to `to` (all when not given); what waits for them arrives at once. */
export function openRecipients(load: Load, ports: Ports, from = 0, to = load.fleet.recipients.length): Promise<void> {
  const { traffic, senders } = load
  return openMany(to - from, async (i) => {
    const recipient = from + i
    const member = load.fleet.recipients[recipient] as Member
    load.recipients[recipient] = watch(
      load,
      await openConnection({ ...common(portOf(ports, recipient + 1), member), recipient, traffic, senders }),
    )
  })
}

function common(port: number, member: Member): Parameters<typeof openConnection>[0] {
  return { port, login: member.login, filter: member.filter, clean: false, keepaliveS: KEEPALIVE_S }
}

function watch(load: Load, connection: Connection): Connection {
  connection.closed = (reason) => {
    load.broken.push(reason)
  }
  return connection
}

/** Runs `open(0..count-1)`, at most CONNECTS_IN_FLIGHT at a time. Rejects with the first failure. */
export async function openMany(count: number, open: (i: number) => Promise<void>): Promise<void> {
  let next = 0
  const lane = async (): Promise<void> => {
    while (next < count) await open(next++)
  }
  await Promise.all(Array.from({ length: Math.min(count, CONNECTS_IN_FLIGHT) }, lane))
}

export async function closeSenders(load: Load): Promise<void> {
  await closeAll(load.senders)
}

export async function closeRecipients(load: Load): Promise<void> {
  await closeAll(load.recipients)
}

async function closeAll(connections: (Connection | undefined)[]): Promise<void> {
  await Promise.all(connections.filter((connection) => connection !== undefined).map(closeConnection))
  connections.length = 0
}

export async function closeLoad(load: Load): Promise<void> {
  await closeSenders(load)
  await closeRecipients(load)
}

/** Lets every pair send `messages` more, as fast as its slots allow. */
export function wantEach(load: Load, messages: number): void {
  for (let pair = 0; pair < load.fleet.pairs.length; pair++) want(load.traffic, pair, messages)
  sendReady(load.traffic, load.senders)
}

/** Takes back what is still wanted: nothing new is sent from here on. */
export function wantNothing(load: Load): void {
  load.traffic.wanted.fill(0)
}
