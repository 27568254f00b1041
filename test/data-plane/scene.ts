/**
 * What the tests of the data plane share: worlds with a gate in front of the disk, requests as persons send them, and
 * what came down read as a client reads it. Bodies are random bytes of the sizes that ciphertexts have.
 */
import { randomBytes } from 'node:crypto'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Delivery, Receipt, WireError } from '../../topics/codec.ts'
import { decodeDelivery, encodeSendRequest } from '../../topics/codec.ts'
import { retain, WALK_BEGIN } from '../../workers/retention.ts'
import { connect } from '../suites/broker.ts'
import type { Client, Received } from '../world/client.ts'
import type { TestDevice } from '../world/devices.ts'
import { isCluster, shareDeployment } from '../world/profile.ts'
import { startWorld, type World } from '../world/world.ts'

/** Bytes of a 100-character text and of a first message (WIRE.md, sizes). */
export const TEXT_BYTES = 250
export const PREKEY_BYTES = 2_023

/** In front of every commit of a world. */
export interface Gate {
  readonly words: Int32Array
  /** Commits wait from now on. */
  close(): void
  open(): void
  /** The commits that wait, and those to come, fail with this SQLite code until `open`. */
  fail(code: number): void
  /** Resolves when the writer stands at the gate with a commit that it had not when this was called. */
  arrival(): Promise<void>
}

export function createGate(): Gate {
  const words = new Int32Array(new SharedArrayBuffer(8))
  const set = (value: number) => {
    Atomics.store(words, 0, value)
    Atomics.notify(words, 0)
  }
  return {
    words,
    close: () => set(1),
    open: () => set(0),
    fail: set,
    async arrival() {
      const seen = Atomics.load(words, 1)
      await Atomics.waitAsync(words, 1, seen).value
    },
  }
}

export interface SceneOptions {
  readonly env?: Record<string, string>
  readonly folder?: string
  readonly gate?: Gate
  /** Rows leave the tail as soon as they can. */
  readonly settles?: boolean
  readonly tailRowsMax?: number
  readonly refusedHoldMs?: number
}

/** A world whose reserve file is small; rows leave the tail some seconds after they came, as always, or at once. */
export async function startScene(options: SceneOptions = {}): Promise<World> {
  const { env, folder, gate, settles, tailRowsMax, refusedHoldMs } = options
  const limits = {
    ...(settles === true ? { settleAfterMs: 0, moveEveryMs: 5 } : {}),
    ...(tailRowsMax === undefined ? {} : { tailRowsMax }),
  }
  const world = await startWorld({
    env: { DISK_RESERVE_MIB: '1', ...env },
    ...(folder === undefined ? {} : { folder }),
    overrides: {
      limits,
      ...(gate === undefined ? {} : { gate: gate.words }),
      ...(refusedHoldMs === undefined ? {} : { timeouts: { refusedHoldMs } }),
    },
  })
  const { stop } = world
  world.stop = () => {
    running.delete(world)
    gate?.open()
    return stop()
  }
  running.add(world)
  return world
}

const running = new Set<World>()
const copies = new Set<string>()

/** Stops every world that is still there, however its test ended, and removes the copies that were made. */
export async function stopScenes(): Promise<void> {
  for (const world of running) await world.stop()
  for (const copy of copies) rmSync(copy, { recursive: true, force: true })
  copies.clear()
}

/**
 * What the disk of a world holds at this instant, in a folder of its own: what a crash would leave. In a cluster what
 * starts there is another node, which sees what is durable.
 */
export function copyFolder(world: World): string {
  const copy = mkdtempSync(join(tmpdir(), 'heliograph-'))
  copies.add(copy)
  cpSync(world.folder, copy, { recursive: true })
  shareDeployment(world.folder, copy)
  return copy
}

/** Resolves when rows and records have gone where those are that wait long; `facts` of an embedded store say when. */
export async function putAway(world: World, fact: 'tailEntries' | 'tailRows'): Promise<void> {
  const { storage, ports } = world.server.opened
  if (storage === undefined) return until(() => storeFact(world, fact) === 0, 'an empty tail')
  for (let shard = 0; shard < ports.intake.shards; shard++) {
    await until(async () => (await storage.entries.backlog(shard)) === 0, 'the end of the shard')
  }
  // Opening waits until all of it can be read.
  await ports.inbox.open('nobody')
  ports.inbox.close('nobody', 0)
}

export function storeFact(world: World, name: string): number {
  return Number(world.server.opened.storeFacts()[name])
}

/** Resolves when everything that was acknowledged before is durable: commits are in order. */
export async function commit(world: World): Promise<void> {
  const { inbox } = world.server.opened.ports
  await inbox.setSubscribed('commit', true)
  await inbox.setSubscribed('commit', false)
}

/** Resolves when what the client has acknowledged so far is durable. */
export async function acknowledged(world: World, client: Client): Promise<void> {
  await client.ping()
  await commit(world)
}

/**
 * A round of retention: of itself there is one twice a second in one process, and one an hour in a cluster, where this
 * walks it. The job that walks is the same in both.
 */
export async function retentionRound(world: World): Promise<void> {
  if (!isCluster) return
  let walk = WALK_BEGIN
  do walk = await retain(walk, world.server.opened.ports)
  while (walk.device !== '')
}

/** Resolves when `test` is true; asked each millisecond, for what no client is told. */
export async function until(test: () => boolean | Promise<boolean>, what: string, timeoutMs = 8_000): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (!(await test())) {
    if (performance.now() > deadline) throw new Error(`no ${what} within ${timeoutMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

let lastStamp = Date.now()
/** Above every one that was given before; the first of `count` that follow each other. */
export function nextStamp(count = 1): number {
  const first = Math.max(lastStamp + 1, Date.now())
  lastStamp = first + count - 1
  return first
}

export interface PairOptions {
  readonly stamp?: number
  readonly body?: Uint8Array
  /** The sender's other devices. */
  readonly own?: readonly TestDevice[]
  readonly afterSeq?: number
  readonly expiresInS?: number
  readonly scope?: 0 | 1 | 2
}

/** A SendRequest to all devices of a person. */
export function pairRequest(to: readonly TestDevice[], options: PairOptions = {}): Uint8Array {
  const { stamp = nextStamp(), body = randomBytes(TEXT_BYTES), own = [], afterSeq = 0, expiresInS = 0 } = options
  const entry = ({ number, registrationId }: TestDevice) => ({ device: number, registrationId, whisper: body })
  return encodeSendRequest({
    stamp,
    pair: { peer: (to[0] as TestDevice).user, devices: to.map(entry), own: own.map(entry), scope: options.scope ?? 0 },
    afterSeq,
    expiresInS,
  })
}

/** Publishes a request to all devices of a person and resolves with its stamp, once PUBACK is there. */
export async function send(client: Client, from: TestDevice, to: readonly TestDevice[], options: PairOptions = {}) {
  const stamp = options.stamp ?? nextStamp()
  await client.publish(outOf(from), pairRequest(to, { ...options, stamp }))
  return stamp
}

export const outOf = ({ id }: TestDevice): string => `d/${id}/out`
export const inOf = ({ id }: TestDevice): string => `d/${id}/in`

/** A device at whatever listens there, subscribed. */
export async function attendAt(port: number, device: TestDevice): Promise<Client> {
  const client = await connect({ port }, device)
  await client.subscribe(inOf(device))
  return client
}

/** Connects a person's device, subscribed. */
export async function attend(world: World, device: TestDevice, options: Parameters<World['connect']>[1] = {}) {
  const client = await world.connect(device, options)
  const filter = device.kind === 'person' ? inOf(device) : `d/${device.id}/from/#`
  await client.subscribe(filter)
  return client
}

export type Down = Delivery & { readonly packet: Received }

/** Everything that came, decoded, in order. */
export function deliveries(client: Client): Down[] {
  return client.received.map((packet) => {
    const delivery = decodeDelivery(packet.payload)
    if (delivery.fault) throw new Error(`cannot be read: ${packet.topic}`)
    return Object.assign(delivery, { packet })
  })
}

export const messages = (client: Client): Down[] => deliveries(client).filter(({ whisper }) => whisper !== undefined)
export const receipts = (client: Client): Receipt[] =>
  deliveries(client).flatMap((down) => [...(down.receipts?.items ?? [])])
export const errorsOf = (client: Client): WireError[] => deliveries(client).flatMap(({ error }) => error ?? [])

/** Stamp → seq of every `accepted` that came. */
export function accepted(client: Client): Map<number, number> {
  const pairs = receipts(client).flatMap(({ accepted: list }) => [...list])
  const found = new Map<number, number>()
  for (let i = 0; i < pairs.length; i += 2) found.set(pairs[i] as number, pairs[i + 1] as number)
  return found
}

export const deliveredUpTo = (client: Client): number => Math.max(0, ...receipts(client).map((item) => item.delivered))
export const expiredSeqs = (client: Client): number[] => receipts(client).flatMap(({ expired }) => [...expired])

/** Resolves when so many messages came. */
export async function receiveMessages(client: Client, count: number): Promise<Down[]> {
  await client.until(() => messages(client).length >= count, `${count} messages`)
  return messages(client)
}

/** Resolves when the inbox was read to its end. */
export async function caughtUp(client: Client): Promise<void> {
  await client.until(() => deliveries(client).some((down) => down.caughtUp !== undefined), 'caught-up marker')
}

/** PUBLISHes and PUBACKs in the order in which they came, as short texts; PUBLISHes by `name`. */
export function order(client: Client, name: (packet: Received) => string): string[] {
  return client.packets.flatMap((packet) => {
    if (packet.cmd === 'puback') return `puback ${packet.messageId}`
    return packet.cmd === 'publish' ? name(packet as unknown as Received) : []
  })
}
