/**
 * The load: senders on one broker, recipients on the other, on every path, with recipients that are there and such that come
 * back after a fault; beside them the probes of all shards, in both directions. Whoever loses a connection makes a new one
 * by itself, as an SDK does.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { pairShard } from '../../core/shards.ts'
import {
  allow,
  connectRecipient,
  connectSender,
  createLane,
  isSettled,
  type Lane,
  missing,
  type Path,
  startLoad,
  stateOf,
} from '../flows/kill-lane.ts'
import type { DeviceMaker, TestDevice } from '../world/devices.ts'
import type { Deployment } from './deployment.ts'
import { connectProbe, createProbe, judge, missingOf, type Probe, post } from './probe.ts'

export interface Counts {
  acked: number
  lost: number
  misordered: number
  misdelivered: number
  shownTwice: number
}

export interface Load {
  readonly lanes: readonly Lane[]
  readonly probes: readonly Probe[]
  /** Load on the lanes; recipients that are away leave. */
  begin(): Promise<void>
  /** No new messages on the lanes, and everybody is there again. */
  end(): void
  /** Resolves when all that was sent has arrived and is marked; rejects with what is missing. */
  settle(msMax: number): Promise<void>
  counts(): Counts
  /** Sentences since the last call, at most so many. */
  faults(max: number): string[]
  stop(): void
}

const PATHS = ['raw', 'numbered', 'request'] as const satisfies readonly Path[]
const LANES_PER_PATH = [false, false, true]
const LANE_PER_S = 20
const TICK_MS = 50
const PROBE_EVERY_MS = 200
/** Between two tries of one client to connect. */
const RECONNECT_MS = 200
const POLL_MS = 10
const USERS_MAX = 1_000
/** Of INTAKE_SHARDS. */
export const SHARDS = 8

const keyOf = (user: Uint8Array): string => Buffer.from(user).toString('latin1')

/** Two pairs of persons for each shard. */
async function pairsByShard(person: () => Promise<TestDevice>): Promise<[number, TestDevice, TestDevice][]> {
  const pairs: [number, TestDevice, TestDevice][] = []
  const count = (shard: number) => pairs.filter(([each]) => each === shard).length
  const idle: TestDevice[] = []
  for (let users = 0; pairs.length < 2 * SHARDS && users < USERS_MAX; users++) {
    const one = await person()
    const at = idle.findIndex((other) => count(pairShard(keyOf(one.user), keyOf(other.user), SHARDS)) < 2)
    const [other] = at < 0 ? [] : idle.splice(at, 1)
    if (other === undefined) idle.push(one)
    else pairs.push([pairShard(keyOf(one.user), keyOf(other.user), SHARDS), one, other])
  }
  return pairs
}

async function makeAll({ senders, recipients }: Deployment, devices: DeviceMaker) {
  const run = randomBytes(2).toString('hex')
  let made = 0
  const name = (): string => `${run}${(++made).toString(36)}`
  const owner = await devices.service(name(), `chaos-${run}`)
  const lanes: Lane[] = []
  for (const path of PATHS) {
    for (const isAway of LANES_PER_PATH) {
      const make = () => (path === 'request' ? devices.person(name()) : devices.thing(name(), owner))
      lanes.push(createLane(path, await make(), await make(), isAway))
    }
  }
  const seen = new Set<number>()
  const probes = (await pairsByShard(() => devices.person(name()))).map(([shard, from, to]) => {
    const isBack = seen.has(shard)
    seen.add(shard)
    const [senderAt, recipientAt] = isBack ? [recipients, senders] : [senders, recipients]
    return createProbe(shard, { from, to, senderAt, recipientAt })
  })
  return { lanes, probes }
}

/** Connects again whatever is closed and wanted, until it is stopped. */
function keepConnected(connects: readonly (() => Promise<void>)[]): () => void {
  let isStopped = false
  for (const connect of connects) {
    void (async () => {
      while (!isStopped) {
        // The broker is away, stopped, or does not let it in yet.
        await connect().catch(() => undefined)
        await wait(RECONNECT_MS)
      }
    })()
  }
  return () => {
    isStopped = true
  }
}

export async function until(test: () => boolean, msMax: number): Promise<boolean> {
  const endMs = performance.now() + msMax
  while (!test()) {
    if (performance.now() > endMs) return false
    await wait(POLL_MS)
  }
  return true
}

function countsOf(lanes: readonly Lane[], probes: readonly Probe[]): Counts {
  const sum = (name: 'misordered' | 'misdelivered' | 'shownTwice') =>
    [...lanes, ...probes].reduce((all, { counts }) => all + counts[name], 0)
  return {
    acked: [...lanes, ...probes].reduce((all, { ackedCount }) => all + ackedCount, 0),
    lost:
      lanes.reduce((all, lane) => all + missing(lane), 0) + probes.reduce((all, { counts }) => all + counts.lost, 0),
    misordered: sum('misordered'),
    misdelivered: sum('misdelivered'),
    shownTwice: sum('shownTwice'),
  }
}

export async function startAll(deployment: Deployment): Promise<Load> {
  const { senders, recipients } = deployment
  const { lanes, probes } = await deployment.withDevices((devices) => makeAll(deployment, devices))
  let areAway = false
  const connectLane = async (lane: Lane): Promise<void> => {
    const isWanted = !(areAway && lane.isAway)
    if (isWanted && lane.recipient?.isClosed !== false) await connectRecipient(lane, recipients.port)
  }
  const connects = [
    ...lanes.map((lane) => () => connectLane(lane)),
    ...lanes.map((lane) => async () => {
      if (lane.sender?.isClosed !== false) await connectSender(lane, senders.port)
    }),
    ...probes.map((probe) => () => connectProbe(probe)),
  ]
  // Once, with its reason when it cannot be done.
  for (const connect of connects) await connect()
  const disconnectAll = keepConnected(connects)
  const ticks = setInterval(() => {
    for (const lane of lanes) if (lane.isLoading) allow(lane, Math.ceil((LANE_PER_S * TICK_MS) / 1_000))
  }, TICK_MS)
  let isPosting = true
  const posts = setInterval(() => {
    if (isPosting) for (const probe of probes) post(probe)
  }, PROBE_EVERY_MS)
  let told = 0

  return {
    lanes,
    probes,
    async begin() {
      areAway = true
      for (const lane of lanes) {
        if (lane.isAway && lane.recipient?.isClosed === false) await lane.recipient.disconnect()
        lane.sentMax = lane.sent
        startLoad(lane)
      }
    },
    end() {
      areAway = false
      for (const lane of lanes) lane.isLoading = false
    },
    async settle(msMax) {
      isPosting = false
      const isQuiet = () => lanes.every(isSettled) && probes.every((probe) => missingOf(probe) === 0)
      const isSettledInTime = await until(isQuiet, msMax)
      for (const probe of probes) judge(probe)
      isPosting = true
      if (isSettledInTime) return
      const open = lanes.filter((lane) => !isSettled(lane)).map(stateOf)
      throw new Error(`not settled after ${msMax} ms: ${open.join('; ') || 'probes'}`)
    },
    counts: () => countsOf(lanes, probes),
    faults(max) {
      const all = [...lanes, ...probes].flatMap(({ faults }) => faults)
      const fresh = all.slice(told)
      told = all.length
      return fresh.slice(0, max)
    },
    stop() {
      disconnectAll()
      clearInterval(ticks)
      clearInterval(posts)
      for (const { sender, recipient } of [...lanes, ...probes]) {
        sender?.destroy()
        recipient?.destroy()
      }
    },
  }
}
