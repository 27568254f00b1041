/** What is done to the deployment, kind by kind: how it is struck, and how that heals. */
import { setTimeout as wait } from 'node:timers/promises'
import { askRedis, converse } from '../services/wire.ts'
import { type BrokerProcess, CASSANDRA_NODES, type Deployment } from './deployment.ts'

export interface Strike {
  readonly deployment: Deployment
  /** From 0: whose turn it is, of several. */
  readonly round: number
  readonly pauseMs: number
  /** Resolves when what was acknowledged before the strike has arrived; rejects when it does not in time. */
  drained(): Promise<void>
  ackedCount(): number
}

export interface Kind {
  readonly name: string
  /** Rounds are those of kills, or of pauses. */
  readonly isKill: boolean
  /** The broker whose connections may end. */
  ends(deployment: Deployment): BrokerProcess | undefined
  /** Its work goes on at another one meanwhile: how soon is measured before `heal`. */
  readonly isReplaced: boolean
  strike(strike: Strike): Promise<void>
  /** Resolves when it is there again. */
  heal(strike: Strike): Promise<void>
}

/** Something that can be killed, stopped and started again. */
interface Target {
  kill(): Promise<void>
  start(): Promise<void>
  pause(): void
  resume(): void
}

const targets: Record<string, (deployment: Deployment, round: number) => Target> = {
  'senders-broker': ({ senders }) => senders,
  'recipients-broker': ({ recipients }) => recipients,
  worker: ({ workers }, round) => workers[round % 2 === 0 ? 0 : 1],
  redis: ({ redis }) => ({ ...redis, start: () => redis.revive() }),
  postgres: ({ postgres }) => ({ ...postgres, start: () => postgres.revive() }),
  cassandra({ cassandra }, round) {
    const node = (round % CASSANDRA_NODES) + 1
    return {
      kill: () => cassandra.kill(node),
      start: () => cassandra.revive(node),
      pause: () => cassandra.pause(node),
      resume: () => cassandra.resume(node),
    }
  },
}

const DEAD_MS = 500

function kindsOf(name: string, target: (deployment: Deployment, round: number) => Target): Kind[] {
  const isReplaced = name === 'worker'
  let pausedMs = 0
  return [
    {
      name: `kill-${name}`,
      isKill: true,
      isReplaced,
      ends: (deployment) => [deployment.senders, deployment.recipients].find((each) => each === target(deployment, 0)),
      strike: ({ deployment, round }) => target(deployment, round).kill(),
      async heal({ deployment, round }) {
        await wait(DEAD_MS)
        await target(deployment, round).start()
      },
    },
    {
      name: `pause-${name}`,
      isKill: false,
      isReplaced,
      ends: () => undefined,
      async strike({ deployment, round }) {
        pausedMs = performance.now()
        target(deployment, round).pause()
      },
      async heal({ deployment, round, pauseMs }) {
        await wait(Math.max(0, pausedMs + pauseMs - performance.now()))
        target(deployment, round).resume()
      },
    },
  ]
}

// ---------------------------------------------------------------- Redis full

const MIB = 1024 * 1024
/** More than the server's own growth while it is full, and a share that is far from crowded once space is back. */
const FREE_BYTES = 64 * MIB
const FOREIGN = 'somebody-elses'
const LEFT_MS = 1_000
/** By then all nodes know. */
const KNOWN_MS = 2_500
const WATCHED_MS = 2_000

async function withRedis<T>(
  { redis }: Deployment,
  use: (ask: (...command: string[]) => Promise<string>) => T | Promise<T>,
) {
  const talk = await converse('127.0.0.1', redis.port)
  try {
    return await use((...command) => askRedis(talk, ...command))
  } finally {
    talk.end()
  }
}

function fillRedis(deployment: Deployment): Promise<void> {
  return withRedis(deployment, async (ask) => {
    const used = Number(/used_memory:(\d+)/.exec(await ask('INFO', 'memory'))?.[1])
    await ask('CONFIG', 'SET', 'maxmemory', `${2 * used + FREE_BYTES}`)
    for (let i = 0; ; i++) {
      const said = await ask('APPEND', FOREIGN, 'x'.repeat(i % 2 === 0 ? MIB : 1024))
      if (said.startsWith('-OOM')) return
      if (!said.startsWith(':')) throw new Error(`Redis says ${said}`)
    }
  })
}

const redisFull: Kind = {
  name: 'redis-full',
  isKill: false,
  isReplaced: false,
  ends: () => undefined,
  async strike({ deployment, ackedCount, drained }) {
    // What is accepted meanwhile is left for the time when it is full.
    for (const each of deployment.workers) each.pause()
    await wait(LEFT_MS)
    await fillRedis(deployment)
    for (const each of deployment.workers) each.resume()
    await wait(KNOWN_MS)
    const before = ackedCount()
    await wait(WATCHED_MS)
    const more = ackedCount() - before
    if (more > 0) throw new Error(`${more} messages were acknowledged while Redis was full`)
    await drained()
  },
  async heal({ deployment }) {
    await withRedis(deployment, (ask) => ask('DEL', FOREIGN))
  },
}

/** The bound stays while it is measured how the system goes on. */
export function unbound(deployment: Deployment): Promise<void> {
  return withRedis(deployment, async (ask) => {
    await ask('DEL', FOREIGN)
    await ask('CONFIG', 'SET', 'maxmemory', '0')
  })
}

export const kinds: readonly Kind[] = [
  ...Object.entries(targets).flatMap(([name, target]) => kindsOf(name, target)),
  redisFull,
].toSorted((a, b) => Number(b.isKill) - Number(a.isKill))
